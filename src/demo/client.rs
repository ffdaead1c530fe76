//! The demo's client: does over loopback exactly what any Arrow Flight client would do.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use arrow::array::RecordBatch;
use arrow_flight::encode::FlightDataEncoderBuilder;
use arrow_flight::error::FlightError;
use arrow_flight::{Action, FlightClient, FlightDescriptor, Ticket};
use futures::{TryStreamExt, stream};
use tonic::transport::Endpoint;

use crate::error::{Error, Result};

/// What the retrieval brought and what it took.
pub(super) struct Retrieval {
    pub(super) batches: Vec<RecordBatch>,
    pub(super) took: Duration,
    pub(super) explained: String,
}

/// Uploads the entity dataframe, retrieves `features` for it, and asks what was read.
pub(super) async fn retrieve(
    address: SocketAddr,
    entities: RecordBatch,
    features: &[&str],
) -> Result<Retrieval> {
    let endpoint = Endpoint::from_shared(format!("http://{address}")).map_err(failed)?;
    let mut client = FlightClient::new(endpoint.connect().await.map_err(failed)?);
    let started = Instant::now();
    let upload = upload(&mut client, entities).await?;
    let request = request(&upload, features);
    let result = client
        .do_get(Ticket::new(request.clone()))
        .await
        .map_err(failed)?;
    let batches = result.try_collect().await.map_err(failed)?;
    let took = started.elapsed();
    let explained = explain(&mut client, request).await?;
    Ok(Retrieval {
        batches,
        took,
        explained,
    })
}

fn request(upload: &str, features: &[&str]) -> String {
    serde_json::json!({ "historical": { "features": features, "entity": { "upload": upload } } })
        .to_string()
}

async fn upload(client: &mut FlightClient, entities: RecordBatch) -> Result<String> {
    let descriptor = FlightDescriptor::new_cmd(r#"{"upload_entities": {}}"#);
    let data = FlightDataEncoderBuilder::new()
        .with_schema(entities.schema())
        .with_flight_descriptor(Some(descriptor))
        .build(stream::once(async { Ok::<_, FlightError>(entities) }));
    let mut replies = client.do_put(data).await.map_err(failed)?;
    let reply = replies.try_next().await.map_err(failed)?;
    let reply = reply.ok_or_else(|| Error::internal("upload the demo's entities", "no reply"))?;
    let result: serde_json::Value = serde_json::from_slice(&reply.app_metadata).map_err(failed)?;
    Ok(result["upload"].as_str().unwrap_or_default().to_owned())
}

async fn explain(client: &mut FlightClient, request: String) -> Result<String> {
    let results = client
        .do_action(Action::new("explain", request))
        .await
        .map_err(failed)?;
    let parts: Vec<_> = results.try_collect().await.map_err(failed)?;
    Ok(parts
        .iter()
        .map(|part| String::from_utf8_lossy(part))
        .collect())
}

fn failed(error: impl std::fmt::Display) -> Error {
    Error::internal("run the demo's client", error)
}
