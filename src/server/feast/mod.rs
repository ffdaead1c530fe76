//! Feast's remote offline store protocol: the only module that speaks Feast's wire.
//!
//! A command is a JSON object with an `api`. Clients up to 0.66 read in three calls, DoPut, GetFlightInfo and DoGet, which
//! all carry the same command; later ones read in one DoExchange. Side effects are one DoPut in every version. Commands
//! become the requests of [`crate::model`]; nothing below knows that Feast asked.
//!
//! - `command`: the JSON. `dates`: its instants. `request`, `views`: commands to requests.
//! - `upload`: the table that comes with a command. `staged`: the same between the calls of the older protocol.
//! - `read`, `write`: what the commands do. `errors`: failures in the words that become Feast's exceptions.

mod command;
mod dates;
mod errors;
mod read;
mod request;
mod staged;
#[cfg(test)]
mod tests;
mod upload;
mod views;
mod write;

use arrow_flight::{FlightData, FlightInfo, PutResult};
use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt};

use super::Services;
use super::encode::{self, Encoding};
use super::ipc_guard::GuardedStream;
use crate::error::Result;
use crate::ingest::Rows;
use crate::model::Principal;
use command::{Call, Command};
use upload::Upload;

/// A side effect is done when this returns; the table of a read is kept for the calls that follow.
pub(super) async fn put(
    services: &Services,
    principal: &Principal,
    bytes: &Bytes,
    upload: GuardedStream,
) -> Result<BoxStream<'static, Result<PutResult>>> {
    let upload = Upload::new(upload);
    let done = try_put(services, principal, bytes, &upload).await;
    // The client looks for an error only when it has sent everything.
    upload.drain().await;
    done.map(|()| stream::empty().boxed())
        .map_err(errors::reworded)
}

async fn try_put(
    services: &Services,
    principal: &Principal,
    bytes: &Bytes,
    upload: &Upload,
) -> Result<()> {
    match Command::decode(bytes)?.call {
        Call::Read(read) => staged::keep(services, principal, bytes, &read, upload).await,
        Call::Write(write) => write::run(services, principal, &write, upload).await,
    }
}

/// Where the rows of a command that was put before can be had. Nothing is planned: DoGet follows at once.
pub(super) async fn info(
    services: &Services,
    principal: &Principal,
    bytes: &Bytes,
) -> Result<FlightInfo> {
    staged::info(services, principal, bytes)
        .await
        .map_err(errors::reworded)
}

/// The rows of a command that was put before. What was put is kept until all rows have been sent.
pub(super) async fn get(
    services: &Services,
    principal: &Principal,
    bytes: &Bytes,
    encoding: &Encoding,
) -> Result<BoxStream<'static, Result<FlightData>>> {
    staged::rows(services, principal, bytes)
        .await
        .map(|rows| staged::removed_at_end(services, principal, bytes, sent(rows, encoding)))
        .map_err(errors::reworded)
}

/// The rows of a command whose table comes on the same call.
pub(super) async fn exchange(
    services: &Services,
    principal: &Principal,
    bytes: &Bytes,
    upload: GuardedStream,
    encoding: &Encoding,
) -> Result<BoxStream<'static, Result<FlightData>>> {
    let upload = Upload::new(upload);
    let rows = try_exchange(services, principal, bytes, &upload).await;
    upload.drain().await;
    rows.map(|rows| sent(rows, encoding))
        .map_err(errors::reworded)
}

async fn try_exchange(
    services: &Services,
    principal: &Principal,
    bytes: &Bytes,
    upload: &Upload,
) -> Result<Rows> {
    let read = Command::decode(bytes)?.into_read()?;
    let (frame, _memory) = upload.frame(services, &read).await?;
    read::rows(services, principal, &read, frame).await
}

fn sent(rows: Rows, encoding: &Encoding) -> BoxStream<'static, Result<FlightData>> {
    encode::flight_data(encoding, rows.schema, rows.batches)
        .map(|message| message.map_err(errors::reworded))
        .boxed()
}
