//! The main job, end to end: upload, join, download.

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::{Float64Type, Int64Type};
use arrow_flight::{Action, FlightDescriptor, Ticket};
use futures::TryStreamExt;
use murre::table::layout::PartitionBy;

use crate::harness::{Store, entities, get, request, rows, upload};

fn values(batch: &RecordBatch) -> Vec<Option<f64>> {
    batch["value"]
        .as_primitive::<Float64Type>()
        .iter()
        .collect()
}

fn buckets() -> Vec<PartitionBy> {
    vec![PartitionBy::Bucket {
        column: "driver_id".to_owned(),
        buckets: 4,
    }]
}

#[tokio::test(flavor = "multi_thread")]
async fn every_row_comes_back_in_order_with_the_value_known_at_its_time() {
    let features = rows([(1, 10, 1.0), (1, 20, 2.0), (2, 10, 3.0), (1, 20, 2.5)]);
    let server = Store::new(&[features], buckets()).await;
    let server_running = server.serve().await;
    let mut client = server_running.client().await;
    let frame = entities([(1, 20), (3, 20), (1, 9), (2, 34), (2, 35), (1, 19), (1, 20)]);
    let id = upload(&mut client, frame.clone()).await;
    let result = get(&mut client, request(&id, &["stats:value"]))
        .await
        .unwrap();
    assert_eq!(
        result["driver_id"].as_primitive::<Int64Type>(),
        frame["driver_id"].as_primitive::<Int64Type>()
    );
    let expected = [Some(2.5), None, None, Some(3.0), None, Some(1.0), Some(2.5)];
    assert_eq!(
        values(&result),
        expected,
        "ttl is a day, both ends count; of equal times the greater value wins"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ticket_reads_the_snapshot_it_was_made_for() {
    let store = Store::new(&[rows([(1, 10, 1.0)])], Vec::new()).await;
    let server = store.serve().await;
    let mut client = server.client().await;
    let id = upload(&mut client, entities([(1, 12)])).await;
    let command = request(&id, &["stats:value"]);
    let info = client
        .get_flight_info(FlightDescriptor::new_cmd(command.clone()))
        .await
        .unwrap();
    assert_eq!(info.total_records, 1);
    append_row(&store, rows([(1, 11, 7.0)])).await;
    let ticket = info.endpoint[0].ticket.clone().unwrap();
    let pinned: Vec<RecordBatch> = client
        .do_get(ticket)
        .await
        .unwrap()
        .try_collect()
        .await
        .unwrap();
    assert_eq!(values(&pinned[0]), [Some(1.0)]);
    assert_eq!(
        values(&get(&mut client, command).await.unwrap()),
        [Some(7.0)],
        "a new request sees the new row"
    );
}

async fn append_row(store: &Store, batch: RecordBatch) {
    use murre::table::{commit::append, write::write};
    let catalogs = murre::catalog::Catalogs::connect(&store.config().catalogs).unwrap();
    let name = murre::model::TableName::parse("default", "t.stats").unwrap();
    let table = catalogs.load_table(&name).await.unwrap();
    append(&catalogs, &name, write(&table, &[batch]).await.unwrap())
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn explain_counts_what_was_pruned_and_matched() {
    let old = rows((0..100).map(|key| (key, 1, 1.0)));
    let new = rows((0..100).map(|key| (key, 100, 2.0)));
    let store = Store::new(&[old, new], buckets()).await;
    let server = store.serve().await;
    let mut client = server.client().await;
    let id = upload(&mut client, entities([(7, 101), (1_000, 101)])).await;
    let action = Action::new("explain", request(&id, &["stats:value"]));
    let parts: Vec<_> = client
        .do_action(action)
        .await
        .unwrap()
        .try_collect()
        .await
        .unwrap();
    let text = String::from_utf8(parts.concat()).unwrap();
    assert!(text.contains("files: 8 total"), "{text}");
    assert!(
        text.contains("(time 4, partition "),
        "the old commit's four files are out of the window: {text}"
    );
    assert!(text.contains("matched: 1 of 2 rows"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_data_file_is_an_error_and_never_a_short_result() {
    let store = Store::new(&[rows([(1, 10, 1.0)]), rows([(2, 10, 2.0)])], Vec::new()).await;
    let victim = data_files(&store).pop().unwrap();
    std::fs::remove_file(&victim).unwrap();
    let server = store.serve().await;
    let mut client = server.client().await;
    let id = upload(&mut client, entities([(1, 12), (2, 12)])).await;
    let error = get(&mut client, request(&id, &["stats:value"]))
        .await
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("is missing") && error.contains("t.stats"),
        "{error}"
    );
}

fn data_files(store: &Store) -> Vec<std::path::PathBuf> {
    let mut folders = vec![store.path().join("warehouse")];
    let mut files = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => folders.push(path),
                false if path.extension().is_some_and(|end| end == "parquet") => files.push(path),
                false => {}
            }
        }
    }
    files
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_names_are_answered_with_near_ones() {
    let store = Store::new(&[rows([(1, 10, 1.0)])], Vec::new()).await;
    let server = store.serve().await;
    let mut client = server.client().await;
    let id = upload(&mut client, entities([(1, 12)])).await;
    for (feature, message) in [
        ("stat:value", "did you mean `stats`?"),
        ("stats:valu", "did you mean `value`?"),
    ] {
        let error = client
            .do_get(Ticket::new(request(&id, &[feature])))
            .await
            .unwrap_err()
            .to_string();
        assert!(error.contains(message), "{error}");
    }
}
