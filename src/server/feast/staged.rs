//! The protocol of clients up to 0.66, where a read's table comes with one call and its rows leave with another.
//!
//! The calls have nothing in common but the command, so the table is staged under a name made of the command and whoever
//! sent it. A command that needs no table needs no state: its GetFlightInfo and DoGet are served whether it was put or not.

use arrow::datatypes::Schema;
use arrow_flight::{FlightData, FlightDescriptor, FlightEndpoint, FlightInfo, Ticket};
use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt, TryStreamExt};

use super::command::{Call, Command, Read};
use super::read::{self, Frame};
use super::request::no_entity;
use super::upload::{Upload, takes_frame};
use crate::error::{Error, Result};
use crate::ingest::Rows;
use crate::model::Principal;
use crate::server::Services;
use crate::staging::UploadName;

/// DoPut: keeps the table, if it is one.
pub(super) async fn keep(
    services: &Services,
    principal: &Principal,
    bytes: &Bytes,
    read: &Read,
    upload: &Upload,
) -> Result<()> {
    let schema = upload.schema().await?;
    if takes_frame(read, &schema) {
        let name = UploadName::new(principal, bytes);
        let kept = services
            .staging
            .put_named(principal, &name, schema, upload.batches());
        return kept.await.map(|_| ());
    }
    match read {
        Read::Historical(command) if !command.has_range_or_sql() => Err(no_entity()),
        Read::Historical(_) | Read::Pull(..) | Read::Columns(_) => Ok(()),
    }
}

/// GetFlightInfo: a ticket, which is the command itself.
pub(super) async fn info(
    services: &Services,
    principal: &Principal,
    bytes: &Bytes,
) -> Result<FlightInfo> {
    frame(services, principal, bytes).await?;
    let endpoint = FlightEndpoint::new().with_ticket(Ticket::new(bytes.clone()));
    let info = FlightInfo::new()
        .try_with_schema(&Schema::empty())
        .map_err(Error::arrow("encode a schema"))?;
    Ok(info
        .with_descriptor(FlightDescriptor::new_cmd(bytes.clone()))
        .with_endpoint(endpoint)
        .with_total_records(-1)
        .with_total_bytes(-1))
}

/// DoGet: the rows.
pub(super) async fn rows(
    services: &Services,
    principal: &Principal,
    bytes: &Bytes,
) -> Result<Rows> {
    let (read, frame) = frame(services, principal, bytes).await?;
    read::rows(services, principal, &read, frame).await
}

/// A read and what was staged for it.
///
/// # Errors
/// [`Error::UploadNotFound`] if it needs an entity dataframe and there is none.
async fn frame(services: &Services, principal: &Principal, bytes: &Bytes) -> Result<(Read, Frame)> {
    let command = Command::decode(bytes)?;
    let Call::Read(Read::Historical(historical)) = &command.call else {
        return Ok((command.into_read()?, Frame::None));
    };
    let name = UploadName::new(principal, bytes);
    match services.staging.find_named(&name).await? {
        Some(id) => Ok((command.into_read()?, Frame::Staged(id))),
        None if historical.has_range_or_sql() => Ok((command.into_read()?, Frame::None)),
        None => Err(Error::UploadNotFound {
            id: command.id,
            reason: "this command was never put, or has expired".to_owned(),
        }),
    }
}

/// The messages; when the last one has been taken, what was staged for them is removed.
pub(super) fn removed_at_end(
    services: &Services,
    principal: &Principal,
    bytes: &Bytes,
    messages: BoxStream<'static, Result<FlightData>>,
) -> BoxStream<'static, Result<FlightData>> {
    let staging = std::sync::Arc::clone(&services.staging);
    let name = UploadName::new(principal, bytes);
    let state = (messages, staging, name);
    let messages = stream::try_unfold(state, async |(mut messages, staging, name)| {
        if let Some(message) = messages.try_next().await? {
            return Ok(Some((message, (messages, staging, name))));
        }
        if let Err(error) = staging.remove_named(&name).await {
            tracing::warn!(%error, "a finished upload stays until it expires");
        }
        Ok(None)
    });
    messages.boxed()
}
