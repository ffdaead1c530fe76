//! Online tables through a real connection: the binary form of every request, and channels that nobody closes.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{ArrayRef, AsArray, BinaryArray, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::Float64Type;
use arrow_flight::decode::FlightRecordBatchStream;
use arrow_flight::encode::{FlightDataEncoder, FlightDataEncoderBuilder};
use arrow_flight::error::FlightError;
use arrow_flight::{Action, FlightClient, FlightData, FlightDescriptor, Ticket};
use bytes::Bytes;
use futures::stream::{self, BoxStream, Stream, StreamExt};
use futures::{TryFutureExt, TryStreamExt};
use murre::clock;
use murre::proto::v1::key_value::Value;
use murre::proto::v1::request::Kind;
use murre::proto::v1::{
    FeatureViewDefinition, KeptView, KeyColumn, KeyValue, OnlineRequest, Request, TeardownRequest,
    TypedName, UpdateRequest, WriteRequest,
};
use prost::Message;
use serde_json::{Value as Json, json};
use tokio::sync::mpsc;

use crate::harness::{Store, TestServer, rows};

const PROJECT: &str = "elsewhere";

fn encoded(kind: Kind) -> Bytes {
    let request = Request {
        project: Some(PROJECT.to_owned()),
        kind: Some(kind),
        ..Request::default()
    };
    request.encode_to_vec().into()
}

fn definition() -> FeatureViewDefinition {
    let named = |name: &str, kind: &str| TypedName {
        name: name.to_owned(),
        r#type: kind.to_owned(),
    };
    FeatureViewDefinition {
        join_keys: vec![named("driver_id", "INT64")],
        features: vec![named("value", "DOUBLE")],
        ttl: None,
        version: None,
    }
}

fn online() -> OnlineRequest {
    OnlineRequest {
        features: vec!["speeds:value".to_owned()],
        ..OnlineRequest::default()
    }
}

fn keys(keys: impl IntoIterator<Item = i64>) -> RecordBatch {
    let keys: ArrayRef = Arc::new(Int64Array::from_iter_values(keys));
    RecordBatch::try_from_iter([("driver_id", keys)]).unwrap()
}

fn values(batch: &RecordBatch) -> Vec<Option<f64>> {
    let column = batch.column_by_name("value").unwrap();
    column.as_primitive::<Float64Type>().iter().collect()
}

/// Messages of batches that come when they come, under a command.
fn messages(
    command: Bytes,
    batches: impl Stream<Item = RecordBatch> + Send + 'static,
) -> BoxStream<'static, Result<FlightData, FlightError>> {
    let encoder = FlightDataEncoderBuilder::new()
        .with_schema(keys([]).schema())
        .with_flight_descriptor(Some(FlightDescriptor::new_cmd(command)));
    encoder.build(batches.map(Ok)).boxed()
}

/// The messages of the write that is called `first`.
fn first_write(
    batches: impl Stream<Item = Result<RecordBatch, FlightError>> + Send + 'static,
) -> FlightDataEncoder {
    let command = encoded(Kind::Write(WriteRequest {
        feature_view: "speeds".to_owned(),
        to: "online".to_owned(),
        idempotency_key: Some("first".to_owned()),
        definition: Some(definition()),
    }));
    FlightDataEncoderBuilder::new()
        .with_flight_descriptor(Some(FlightDescriptor::new_cmd(command)))
        .build(batches)
}

async fn write(client: &mut FlightClient, batch: RecordBatch) -> Json {
    let data = first_write(stream::once(async { Ok(batch) }));
    let mut replies = client.do_put(data).await.unwrap();
    let reply = replies.try_next().await.unwrap().unwrap();
    serde_json::from_slice(&reply.app_metadata).unwrap()
}

async fn act(client: &mut FlightClient, action: &str, kind: Kind) -> Json {
    let action = Action::new(action, encoded(kind));
    let mut results = client.do_action(action).await.unwrap();
    serde_json::from_slice(&results.try_next().await.unwrap().unwrap()).unwrap()
}

/// A channel whose keys come from the other half.
async fn channel(
    client: &mut FlightClient,
) -> (mpsc::Sender<RecordBatch>, FlightRecordBatchStream) {
    let (up, mut waiting) = mpsc::channel(1);
    let batches = stream::poll_fn(move |context| waiting.poll_recv(context));
    let opened = client.do_exchange(messages(encoded(Kind::Online(online())), batches));
    (up, opened.await.unwrap())
}

async fn ask(
    (up, down): &mut (mpsc::Sender<RecordBatch>, FlightRecordBatchStream),
    batch: RecordBatch,
) -> RecordBatch {
    up.send(batch).await.unwrap();
    down.try_next().await.unwrap().expect("a batch for a batch")
}

#[tokio::test(flavor = "multi_thread")]
async fn every_request_has_a_binary_form() {
    let server = Store::without_table().serve_kept().await;
    let mut client = server.client().await;
    let made = act(
        &mut client,
        "update",
        Kind::Update(UpdateRequest {
            keep: vec![KeptView {
                feature_view: "speeds".to_owned(),
                definition: Some(definition()),
            }],
            ..UpdateRequest::default()
        }),
    );
    assert_eq!(
        made.await,
        json!({"created": ["online.elsewhere_speeds"], "evolved": [], "dropped": []})
    );
    let sent = rows([(1, 1, 0.5), (2, 1, 1.5)]);
    let written = write(&mut client, sent.clone()).await;
    assert_eq!(
        (&written["rows"], &written["replayed"]),
        (&json!(2), &json!(false))
    );
    let again = write(&mut client, sent).await;
    assert_eq!(again["replayed"], json!(true));
    assert_eq!(again["snapshot_id"], written["snapshot_id"]);

    let values_of = [Value::Int(2), Value::Text("1".to_owned()), Value::Int(3)];
    let column = values_of.map(|value| KeyValue { value: Some(value) });
    let with_keys = OnlineRequest {
        entity_keys: [(
            "driver_id".to_owned(),
            KeyColumn {
                values: column.into(),
            },
        )]
        .into(),
        include_status: true,
        token: written["token"].as_str().map(str::to_owned),
        ..online()
    };
    let ticket = Ticket::new(encoded(Kind::Online(with_keys)));
    let answer = client.do_get(ticket).and_then(|mut answer| async move {
        let batch = answer.try_next().await?;
        Ok(batch.unwrap())
    });
    let answer = answer.await.unwrap();
    assert_eq!(values(&answer), [Some(1.5), Some(0.5), None]);
    let statuses = StringArray::from(vec!["PRESENT", "PRESENT", "NOT_FOUND"]);
    assert_eq!(
        answer.column_by_name("value__status").unwrap().as_string(),
        &statuses
    );

    let mut open = channel(&mut client).await;
    assert_eq!(values(&ask(&mut open, keys([1])).await), [Some(0.5)]);
    drop(open);

    let gone = act(
        &mut client,
        "teardown",
        Kind::Teardown(TeardownRequest {
            feature_views: vec!["speeds".to_owned()],
        }),
    );
    assert_eq!(gone.await["dropped"], json!(["online.elsewhere_speeds"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn channels_end_when_the_server_does() {
    let server: TestServer = Store::without_table().serve_kept().await;
    let mut client = server.client().await;
    write(&mut client, rows([(1, 1, 0.5)])).await;
    let mut open = channel(&mut client).await;
    assert_eq!(values(&ask(&mut open, keys([1])).await), [Some(0.5)]);
    let (_up, mut down) = open;
    let (stopped, ended) = tokio::join!(server.stop(), down.try_next());
    // A call that the end of the drain cuts off would end in an error.
    assert!(matches!(ended, Ok(None)), "{ended:?}");
    stopped.unwrap();
}

/// Rows of a megabyte each.
fn large(keys: impl Iterator<Item = i64>) -> impl Iterator<Item = RecordBatch> {
    let bytes = vec![7_u8; 1 << 20];
    keys.map(move |key| {
        let row = rows([(key, 1, 0.0)]);
        let blob: ArrayRef = Arc::new(BinaryArray::from_vec(vec![&bytes]));
        let (schema, own) = (row.schema(), row.columns().iter().cloned());
        let columns = schema.fields().iter().map(|it| it.name().as_str()).zip(own);
        RecordBatch::try_from_iter(columns.chain([("blob", blob)])).unwrap()
    })
}

fn parquet_files(folder: &Path) -> usize {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return 0;
    };
    let paths = entries.flatten().map(|entry| entry.path());
    paths
        .map(|path| match path.is_dir() {
            true => parquet_files(&path),
            false => usize::from(path.extension().is_some_and(|it| it == "parquet")),
        })
        .sum()
}

async fn until(what: &str, holds: impl Fn() -> bool) {
    let mut tries = 0..2_000;
    while !holds() {
        assert!(tries.next().is_some(), "never came to {what}");
        clock::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_write_leaves_nothing() {
    let store = Store::without_table();
    let server = store.serve().await;
    let mut client = server.client().await;
    // More than the server holds before it writes the first file, and then no end.
    let data = first_write(stream::iter(large(0..80).map(Ok)).chain(stream::pending()));
    let call = tokio::spawn(async move {
        let _open = client.do_put(data).await;
        std::future::pending::<()>().await;
    });
    let files = || parquet_files(store.path());
    until("files of the first rows", || files() > 0).await;
    call.abort();
    until("no files", || files() == 0).await;
    let mut client = server.client().await;
    let written = write(&mut client, rows([(1, 1, 0.5)])).await;
    assert_eq!(
        (&written["rows"], &written["replayed"]),
        (&json!(1), &json!(false))
    );
}
