//! The calls of Feast's clients, message by message: three calls up to 0.66, one from 0.67 on, one for side effects.

#![expect(
    clippy::disallowed_types,
    clippy::panic,
    reason = "this test reads raw statuses, and a wrong answer has nobody to tell"
)]

use arrow::array::{ArrayRef, AsArray, RecordBatch, StringArray};
use arrow::datatypes::Float64Type;
use arrow_flight::encode::FlightDataEncoderBuilder;
use arrow_flight::error::FlightError;
use arrow_flight::{FlightClient, FlightData, FlightDescriptor, Ticket};
use futures::{Stream, TryStreamExt, stream};
use serde_json::{Value, json};
use std::sync::Arc;
use tonic::{Code, Status};

use crate::harness::{Store, TestServer, entities, rows};

/// What the clients send where no table is needed.
fn marker() -> RecordBatch {
    let column: ArrayRef = Arc::new(StringArray::from_iter_values(["m", "o", "c", "k"]));
    RecordBatch::try_from_iter([("key", column)]).unwrap()
}

fn command(id: u32, api: &str, rest: Value) -> String {
    let mut command = json!({ "command_id": format!("{id:032}"), "api": api });
    let (all, rest) = (command.as_object_mut().unwrap(), rest.as_object().unwrap());
    all.extend(rest.clone());
    command.to_string()
}

fn history(id: u32, refs: &[&str], rest: Value) -> String {
    let mut body = json!({
        "feature_view_names": ["stats"], "name_aliases": [null], "feature_refs": refs,
        "project": "test", "full_feature_names": false,
    });
    body.as_object_mut()
        .unwrap()
        .extend(rest.as_object().unwrap().clone());
    command(id, "get_historical_features", body)
}

/// A table as pyarrow sends it: in DoExchange the descriptor comes alone first.
fn messages(
    command: &str,
    table: RecordBatch,
    alone: bool,
) -> impl Stream<Item = Result<FlightData, FlightError>> + Send + use<> {
    let descriptor = FlightDescriptor::new_cmd(command.to_owned());
    let first = FlightData::new().with_descriptor(descriptor.clone());
    let data = FlightDataEncoderBuilder::new()
        .with_schema(table.schema())
        .with_flight_descriptor((!alone).then_some(descriptor))
        .build(stream::once(async { Ok::<_, FlightError>(table) }));
    use futures::StreamExt;
    stream::iter(alone.then_some(Ok(first))).chain(data)
}

async fn put(
    client: &mut FlightClient,
    command: &str,
    table: RecordBatch,
) -> Result<(), FlightError> {
    let replies = client.do_put(messages(command, table, false)).await?;
    let replies: Vec<_> = replies.try_collect().await?;
    assert!(replies.is_empty(), "Feast reads no metadata");
    Ok(())
}

async fn ticket(client: &mut FlightClient, command: &str) -> Result<Ticket, FlightError> {
    let descriptor = FlightDescriptor::new_cmd(command.to_owned());
    let info = client.get_flight_info(descriptor).await?;
    assert_eq!((info.total_records, info.total_bytes), (-1, -1));
    let [endpoint] = info.endpoint.as_slice() else {
        panic!("one endpoint: {info}")
    };
    assert!(endpoint.location.is_empty());
    Ok(endpoint.ticket.clone().unwrap())
}

async fn get(client: &mut FlightClient, ticket: Ticket) -> Result<Vec<RecordBatch>, FlightError> {
    client.do_get(ticket).await?.try_collect().await
}

/// The three calls.
async fn by_three_calls(
    client: &mut FlightClient,
    command: &str,
    table: RecordBatch,
) -> Result<Vec<RecordBatch>, FlightError> {
    put(client, command, table).await?;
    let ticket = ticket(client, command).await?;
    get(client, ticket).await
}

async fn by_exchange(
    client: &mut FlightClient,
    command: &str,
    table: RecordBatch,
) -> Result<Vec<RecordBatch>, FlightError> {
    client
        .do_exchange(messages(command, table, true))
        .await?
        .try_collect()
        .await
}

fn status(error: FlightError) -> Status {
    match error {
        FlightError::Tonic(status) => *status,
        other => panic!("{other}"),
    }
}

/// Class and message of the exception that a client raises.
fn exception(status: &Status) -> Option<(String, String)> {
    let (_, detail) = status.message().split_once("Flight error: ")?;
    let detail: Value = serde_json::from_str(detail).unwrap();
    assert_eq!(detail["module"], "feast.errors");
    let text = |key: &str| detail[key].as_str().unwrap().to_owned();
    Some((text("class"), text("message")))
}

fn values(batches: &[RecordBatch]) -> Vec<Option<f64>> {
    let column = |batch: &RecordBatch| {
        batch["value"]
            .as_primitive::<Float64Type>()
            .iter()
            .collect::<Vec<_>>()
    };
    batches.iter().flat_map(column).collect()
}

async fn served() -> (Store, TestServer, FlightClient) {
    let features = rows([(1, 10, 1.0), (1, 20, 2.0), (2, 10, 3.0)]);
    let store = Store::new(&[features], Vec::new()).await;
    let server = store.serve().await;
    let client = server.client().await;
    (store, server, client)
}

#[tokio::test(flavor = "multi_thread")]
async fn both_protocols_answer_the_same_rows() {
    let (_store, _server, mut client) = served().await;
    let frame = || entities([(1, 21), (3, 20), (2, 11), (1, 11)]);
    let expected = [Some(2.0), None, Some(3.0), Some(1.0)];
    let old = history(1, &["stats:value"], json!({}));
    assert_eq!(
        values(&by_three_calls(&mut client, &old, frame()).await.unwrap()),
        expected
    );
    let new = history(2, &["stats@v4:value"], json!({}));
    assert_eq!(
        values(&by_exchange(&mut client, &new, frame()).await.unwrap()),
        expected
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_result_without_rows_still_has_its_schema() {
    let (_store, _server, mut client) = served().await;
    let frame = entities([]);
    let command = history(1, &["stats:value"], json!({ "full_feature_names": true }));
    let mut rows = client
        .do_exchange(messages(&command, frame, true))
        .await
        .unwrap();
    assert!(rows.try_next().await.unwrap().is_none());
    let schema = rows.schema().unwrap();
    let names: Vec<_> = schema
        .fields()
        .iter()
        .map(|field| field.name().as_str())
        .collect();
    assert_eq!(names, ["driver_id", "event_timestamp", "stats__value"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn dates_take_the_place_of_the_table() {
    let (_store, _server, mut client) = served().await;
    let dates =
        || json!({ "start_date": "1970-01-01T09:00:00", "end_date": "1970-01-01T10:00:00+00:00" });
    let mut new = values(
        &by_exchange(
            &mut client,
            &history(1, &["stats:value"], dates()),
            marker(),
        )
        .await
        .unwrap(),
    );
    new.sort_by(|a, b| a.partial_cmp(b).unwrap());
    assert_eq!(new, [Some(1.0), Some(3.0)]);
    let old = by_three_calls(
        &mut client,
        &history(2, &["stats:value"], dates()),
        marker(),
    )
    .await;
    assert_eq!(values(&old.unwrap()).len(), 2);
    for (id, exchange) in [(3, true), (4, false)] {
        let neither = history(id, &["stats:value"], json!({}));
        let error = match exchange {
            true => by_exchange(&mut client, &neither, marker())
                .await
                .unwrap_err(),
            false => put(&mut client, &neither, marker()).await.unwrap_err(),
        };
        let status = status(error);
        assert_eq!(status.code(), Code::InvalidArgument);
        assert!(
            status.message().contains("expected an entity dataframe"),
            "{status}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_is_kept_until_its_rows_were_delivered() {
    let (_store, server, mut client) = served().await;
    let never_put = history(1, &["stats:value"], json!({}));
    assert_eq!(
        status(ticket(&mut client, &never_put).await.unwrap_err()).code(),
        Code::NotFound
    );
    let error = get(&mut client, Ticket::new(never_put)).await.unwrap_err();
    assert_eq!(status(error).code(), Code::NotFound);

    let wrong = history(2, &["stats:nothing"], json!({}));
    for _ in 0..2 {
        let error = match ticket(&mut client, &wrong).await {
            Ok(ticket) => get(&mut client, ticket).await.unwrap_err(),
            Err(_) => by_three_calls(&mut client, &wrong, entities([(1, 21)]))
                .await
                .unwrap_err(),
        };
        let status = status(error);
        assert_eq!(exception(&status), None, "a KeyError, not one of Feast's");
        assert!(status.message().contains("nothing"), "{status}");
    }
    assert!(
        ticket(&mut client, &wrong).await.is_ok(),
        "a failed DoGet leaves the upload"
    );

    let right = history(3, &["stats:value"], json!({}));
    assert!(
        by_three_calls(&mut client, &right, entities([(1, 21)]))
            .await
            .is_ok()
    );
    let mut other = server.client().await;
    assert_eq!(
        status(ticket(&mut other, &right).await.unwrap_err()).code(),
        Code::NotFound
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_arrive_as_feasts_own() {
    let (_store, _server, mut client) = served().await;
    let frame = || entities([(1, 21)]);
    let no_time =
        RecordBatch::try_from_iter([("driver_id", Arc::clone(frame().column(0)))]).unwrap();
    let no_key =
        RecordBatch::try_from_iter([("event_timestamp", Arc::clone(frame().column(1)))]).unwrap();
    let value = history(1, &["stats:value"], json!({}));
    let pull = |name: &str| {
        command(
            5,
            "pull_latest_from_table_or_query",
            json!({
                "data_source_name": name, "join_key_columns": ["driver_id"], "feature_name_columns": ["value"],
                "timestamp_field": "event_timestamp", "created_timestamp_column": null,
                "start_date": "1970-01-01T00:00:00", "end_date": "1970-01-02T00:00:00",
            }),
        )
    };
    let cases = [
        (
            history(2, &["stat:value"], json!({})),
            frame(),
            "FeatureViewNotFoundException",
        ),
        (
            history(3, &["other:f"], json!({ "feature_view_names": ["other"] })),
            frame(),
            "FeatureViewNotFoundException",
        ),
        (
            history(4, &["stats:value"], json!({ "project": "prod" })),
            frame(),
            "ProjectObjectNotFoundException",
        ),
        (value.clone(), no_time, "EntityTimestampInferenceException"),
        (value, no_key, "FeastEntityDFMissingColumnsError"),
        (
            pull("nowhere"),
            marker(),
            "DataSourceObjectNotFoundException",
        ),
    ];
    for (command, table, class) in cases {
        let status = status(by_exchange(&mut client, &command, table).await.unwrap_err());
        assert_eq!(
            exception(&status).map(|(class, _)| class).as_deref(),
            Some(class),
            "{status}"
        );
    }
    let logs = command(
        6,
        "write_logged_features",
        json!({ "feature_service_name": "none" }),
    );
    let status = status(put(&mut client, &logs, frame()).await.unwrap_err());
    assert_eq!(
        exception(&status).unwrap().0,
        "FeatureServiceNotFoundException"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_upload_is_received_to_its_end() {
    let (_store, _server, mut client) = served().await;
    let large = entities((0..2_000_000).map(|key| (key, 1)));
    let batch = command(
        1,
        "offline_write_batch",
        json!({
            "feature_view_names": ["nothing"], "name_aliases": [null], "progress": null,
        }),
    );
    let error = status(put(&mut client, &batch, large.clone()).await.unwrap_err());
    assert_eq!(exception(&error).unwrap().0, "FeatureViewNotFoundException");
    let writes = command(2, "persist", json!({}));
    let error = status(by_exchange(&mut client, &writes, large).await.unwrap_err());
    assert_eq!(error.message(), "persist: missing field `retrieve_func`");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_with_a_side_effect_has_no_rows() {
    let (_store, _server, mut client) = served().await;
    let validate = command(
        1,
        "validate_data_source",
        json!({ "data_source_proto": "{}" }),
    );
    let error = status(
        by_exchange(&mut client, &validate, marker())
            .await
            .unwrap_err(),
    );
    assert_eq!(error.code(), Code::InvalidArgument);
    assert!(
        error
            .message()
            .starts_with("command.api: it has a side effect"),
        "{error}"
    );
    assert!(ticket(&mut client, &validate).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn another_server_finishes_what_one_began() {
    let store = Store::new(&[rows([(1, 10, 1.0)])], Vec::new()).await;
    let mut config = store.config();
    config.staging.url = format!("file://{}/staging", store.path().display());
    let one = TestServer::start(config.clone()).await;
    let other = TestServer::start(config).await;
    let command = history(1, &["stats:value"], json!({}));
    put(&mut one.client().await, &command, entities([(1, 12)]))
        .await
        .unwrap();
    let ticket = ticket(&mut other.client().await, &command).await.unwrap();
    let rows = get(&mut other.client().await, ticket).await.unwrap();
    assert_eq!(values(&rows), [Some(1.0)]);
    let left = std::fs::read_dir(store.path().join("staging"))
        .unwrap()
        .count();
    assert_eq!(left, 0, "delivered uploads are removed");
}
