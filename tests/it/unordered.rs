//! Requests that give up input order: parts as endpoints, and rows before all files are read.

use std::path::{Path, PathBuf};

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::{Float64Type, Int64Type};
use arrow_flight::{Action, FlightClient, FlightDescriptor, Ticket};
use futures::TryStreamExt;
use murre::table::layout::PartitionBy;
use tonic::Code;

use crate::harness::{Store, entities, get, rows, upload};

const DRIVERS: i64 = 100;

/// A table of one file for each of four buckets.
async fn bucketed() -> Store {
    let by = PartitionBy::Bucket {
        column: "driver_id".to_owned(),
        buckets: 4,
    };
    let features = rows((0..DRIVERS).map(|driver| (driver, 10, driver as f64)));
    Store::new(&[features], vec![by]).await
}

fn request(upload: &str, ordered: bool) -> String {
    let entity = serde_json::json!({ "upload": upload });
    let historical =
        serde_json::json!({ "features": ["stats:value"], "entity": entity, "ordered": ordered });
    serde_json::json!({ "historical": historical }).to_string()
}

async fn uploaded(client: &mut FlightClient) -> String {
    upload(client, entities((0..DRIVERS).map(|driver| (driver, 12)))).await
}

async fn tickets(client: &mut FlightClient, command: String) -> Vec<Ticket> {
    let descriptor = FlightDescriptor::new_cmd(command);
    let info = client.get_flight_info(descriptor).await.unwrap();
    assert_eq!(info.total_records, DRIVERS);
    assert_eq!(info.ordered, info.endpoint.len() == 1);
    let endpoints = info.endpoint.into_iter();
    endpoints.map(|endpoint| endpoint.ticket.unwrap()).collect()
}

fn pairs(batches: &[RecordBatch]) -> Vec<(i64, Option<i64>)> {
    let pairs = |batch: &RecordBatch| {
        let drivers = batch["driver_id"].as_primitive::<Int64Type>().clone();
        let values = batch["value"].as_primitive::<Float64Type>().clone();
        let values: Vec<_> = values
            .iter()
            .map(|value| value.map(|value| value as i64))
            .collect();
        drivers
            .values()
            .iter()
            .copied()
            .zip(values)
            .collect::<Vec<_>>()
    };
    batches.iter().flat_map(pairs).collect()
}

async fn rows_of(client: &mut FlightClient, ticket: Ticket) -> Vec<(i64, Option<i64>)> {
    let stream = client.do_get(ticket).await.unwrap();
    pairs(&stream.try_collect::<Vec<_>>().await.unwrap())
}

async fn explain(client: &mut FlightClient, ticket: &Ticket) -> String {
    let action = Action::new("explain", ticket.ticket.clone());
    let results = client.do_action(action).await.unwrap();
    let parts: Vec<_> = results.try_collect().await.unwrap();
    String::from_utf8(parts.concat()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_endpoints_together_are_the_ordered_answer() {
    let server = bucketed().await.serve_kept().await;
    let mut client = server.client().await;
    let id = uploaded(&mut client).await;
    let ordered = get(&mut client, request(&id, true)).await.unwrap();
    let expected: Vec<_> = (0..DRIVERS).map(|driver| (driver, Some(driver))).collect();
    assert_eq!(pairs(&[ordered]), expected);
    assert_eq!(tickets(&mut client, request(&id, true)).await.len(), 1);

    let tickets = tickets(&mut client, request(&id, false)).await;
    assert_eq!(tickets.len(), 4);
    let mut found = Vec::new();
    for ticket in tickets {
        let text = explain(&mut client, &ticket).await;
        assert!(text.contains("files: 4 total, 3 pruned"), "{text}");
        assert!(text.contains(", 1 read\n"), "{text}");
        found.extend(rows_of(&mut client, ticket).await);
    }
    assert_ne!(found, expected, "bucket by bucket");
    found.sort_unstable();
    assert_eq!(found, expected);

    let mut in_turn = rows_of(&mut client, Ticket::new(request(&id, false))).await;
    in_turn.sort_unstable();
    assert_eq!(in_turn, expected, "one DoGet has all parts");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_rows_leave_before_the_last_file_is_read() {
    let store = bucketed().await;
    std::fs::remove_file(file_of_bucket(store.path(), 3)).unwrap();
    let server = store.serve_kept().await;
    let mut client = server.client().await;
    let id = uploaded(&mut client).await;
    let ticket = Ticket::new(request(&id, false));
    let mut stream = client.do_get(ticket).await.unwrap();
    let mut arrived = 0;
    let error = loop {
        match stream.try_next().await {
            Ok(batch) => arrived += batch.expect("an error ends the stream").num_rows(),
            Err(error) => break error.to_string(),
        }
    };
    assert!(arrived > 0, "rows of the buckets that are there");
    assert!(error.contains("is missing"), "{error}");
    let ordered = get(&mut client, request(&id, true)).await.unwrap_err();
    assert!(ordered.to_string().contains("is missing"), "{ordered}");
}

fn file_of_bucket(folder: &Path, bucket: u32) -> PathBuf {
    let partition = format!("driver_id_bucket={bucket}");
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let is_parquet = path.extension().is_some_and(|end| end == "parquet");
            if is_parquet && path.to_string_lossy().contains(&partition) {
                return path;
            }
            if path.is_dir() {
                folders.push(path);
            }
        }
    }
    PathBuf::new()
}

#[tokio::test(flavor = "multi_thread")]
async fn parts_that_are_not_the_flights_are_refused() {
    let server = bucketed().await.serve_kept().await;
    let mut client = server.client().await;
    let id = uploaded(&mut client).await;
    let pinned = |part: u32, parts: u32| {
        let mut request: serde_json::Value = serde_json::from_str(&request(&id, false)).unwrap();
        request["pins"] = serde_json::json!({
            "version": 1, "part": part, "parts": parts, "issued_at": "2026-01-01T00:00:00Z",
            "divided_by": "bucket[4] of `driver_id`",
        });
        Ticket::new(request.to_string())
    };
    for (part, parts, code) in [
        (4, 4, Code::InvalidArgument),
        (0, 0, Code::InvalidArgument),
        (2, 3, Code::Aborted),
        (0, 5, Code::Aborted),
    ] {
        let refused = client.do_get(pinned(part, parts)).await.unwrap_err();
        let found = match &refused {
            arrow_flight::error::FlightError::Tonic(status) => status.code(),
            _ => Code::Unknown,
        };
        assert_eq!(found, code, "part {part} of {parts}: {refused}");
    }
    assert!(!rows_of(&mut client, pinned(3, 4)).await.is_empty());
}
