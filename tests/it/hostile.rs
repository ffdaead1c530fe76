//! Mutated bytes over a real connection: the server answers, stays, and keeps nothing.
//!
//! The decoders have their own tests with 10,000 mutations each; here the same happens through the transport.

use arrow_flight::encode::FlightDataEncoderBuilder;
use arrow_flight::error::FlightError;
use arrow_flight::flight_service_client::FlightServiceClient;
use arrow_flight::{FlightData, FlightDescriptor, Ticket};
use bytes::Bytes;
use futures::{TryStreamExt, stream};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::harness::{Store, entities, get, request, rows, upload};

const MUTATIONS: usize = 2_000;
/// What caches, the allocator and other tests of this process may keep.
const SLACK_BYTES: u64 = 128 << 20;

/// Feast's calls: a read with a table, a read without, two side effects.
const FEAST_COMMANDS: [&str; 4] = [
    r#"{"command_id": "0123456789abcdef", "api": "get_historical_features", "feature_view_names": ["stats"],
        "name_aliases": [null], "feature_refs": ["stats:value"], "project": "test", "full_feature_names": false}"#,
    r#"{"command_id": "0123456789abcdef", "api": "pull_latest_from_table_or_query", "data_source_name": "stats",
        "join_key_columns": ["driver_id"], "feature_name_columns": ["value"], "timestamp_field": "event_timestamp",
        "created_timestamp_column": null, "start_date": "2026-01-01T00:00:00", "end_date": "2026-02-01T00:00:00"}"#,
    r#"{"command_id": "0123456789abcdef", "api": "offline_write_batch", "feature_view_names": ["no_such_view"],
        "name_aliases": [null], "progress": null}"#,
    r#"{"command_id": "0123456789abcdef", "api": "validate_data_source",
        "data_source_proto": "{\"type\": \"BATCH_FILE\", \"fileOptions\": {\"uri\": \"nowhere.parquet\"}}"}"#,
];

async fn messages(command: impl Into<Bytes>) -> Vec<FlightData> {
    let frame = entities((0..64).map(|key| (key, key)));
    FlightDataEncoderBuilder::new()
        .with_schema(frame.schema())
        .with_flight_descriptor(Some(FlightDescriptor::new_cmd(command)))
        .build(stream::once(async { Ok::<_, FlightError>(frame) }))
        .try_collect()
        .await
        .unwrap()
}

fn mutated(bytes: &[u8], random: &mut StdRng) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for _ in 0..random.random_range(1..=4) {
        if bytes.is_empty() {
            break;
        }
        let at = random.random_range(0..bytes.len());
        bytes[at] = random.random();
    }
    if random.random_ratio(1, 8) {
        bytes.truncate(random.random_range(0..=bytes.len()));
    }
    bytes
}

fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let kib: Option<u64> = line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok());
    kib.unwrap_or(0) * 1024
}

#[tokio::test(flavor = "multi_thread")]
async fn mutated_uploads_and_tickets_leave_the_server_well() {
    let store = Store::new(&[rows([(1, 10, 1.0)])], Vec::new()).await;
    let server = store.serve().await;
    let mut client = server.client().await;
    let mut raw = FlightServiceClient::new(server.channel().await);
    let mut random = StdRng::seed_from_u64(7);
    let originals = messages(r#"{"upload_entities": {}}"#).await;
    let before = resident_bytes();

    for _ in 0..MUTATIONS {
        let mut messages = originals.clone();
        let victim = random.random_range(0..messages.len());
        match random.random_bool(0.5) {
            true => {
                messages[victim].data_header =
                    mutated(&originals[victim].data_header, &mut random).into()
            }
            false => {
                messages[victim].data_body =
                    mutated(&originals[victim].data_body, &mut random).into()
            }
        }
        if let Ok(reply) = raw.do_put(stream::iter(messages)).await {
            let _ = reply.into_inner().try_collect::<Vec<_>>().await;
        }
    }
    let id = upload(&mut client, entities([(1, 12)])).await;
    let valid = request(&id, &["stats:value"]);
    for _ in 0..MUTATIONS {
        let ticket = Ticket::new(mutated(valid.as_bytes(), &mut random));
        if let Ok(rows) = client.do_get(ticket).await {
            let _ = rows.try_collect::<Vec<_>>().await;
        }
    }

    assert_eq!(
        get(&mut client, valid).await.unwrap().num_rows(),
        1,
        "the server still serves"
    );
    let grown = resident_bytes().saturating_sub(before);
    assert!(grown < SLACK_BYTES, "{grown} bytes were kept");
}

#[tokio::test(flavor = "multi_thread")]
async fn mutated_feast_commands_leave_the_server_well() {
    let store = Store::new(&[rows([(1, 10, 1.0)])], Vec::new()).await;
    let server = store.serve().await;
    let mut client = server.client().await;
    let mut raw = FlightServiceClient::new(server.channel().await);
    let mut random = StdRng::seed_from_u64(11);

    for command in FEAST_COMMANDS {
        for _ in 0..MUTATIONS / 4 {
            let command = mutated(command.as_bytes(), &mut random);
            let table = messages(command.clone()).await;
            if let Ok(reply) = raw.do_put(stream::iter(table.clone())).await {
                let _ = reply.into_inner().try_collect::<Vec<_>>().await;
            }
            if let Ok(reply) = raw.do_exchange(stream::iter(table)).await {
                let _ = reply.into_inner().try_collect::<Vec<_>>().await;
            }
            if let Ok(rows) = client.do_get(Ticket::new(command)).await {
                let _ = rows.try_collect::<Vec<_>>().await;
            }
        }
    }

    let id = upload(&mut client, entities([(1, 12)])).await;
    let rows = get(&mut client, request(&id, &["stats:value"])).await;
    assert_eq!(rows.unwrap().num_rows(), 1, "the server still serves");
}
