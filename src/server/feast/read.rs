//! The commands that read.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringArray};
use futures::stream::{self, StreamExt, TryStreamExt};

use super::command::{Described, Historical, Pull, Read};
use super::{errors, request};
use crate::error::{Error, Result};
use crate::historical::{EntityFrame, HistoricalPlan};
use crate::ingest::Rows;
use crate::model::{EntitySource, Principal, SourceRows, UploadId};
use crate::registry::feast::sent_source;
use crate::server::Services;

/// Where a read's entity dataframe is.
#[derive(Debug)]
pub(super) enum Frame {
    /// There is none.
    None,
    /// Here.
    Attached(EntityFrame),
    /// In the staging area.
    Staged(UploadId),
}

/// Plans a read and starts it.
pub(super) async fn rows(
    services: &Services,
    principal: &Principal,
    read: &Read,
    frame: Frame,
) -> Result<Rows> {
    match read {
        Read::Historical(command) => historical(services, principal, command, frame).await,
        Read::Pull(rows, command) => pull(services, *rows, command).await,
        Read::Columns(described) => columns(services, described).await,
    }
}

async fn historical(
    services: &Services,
    principal: &Principal,
    command: &Historical,
    frame: Frame,
) -> Result<Rows> {
    let registry = services.registry.current().await?;
    let (entity, attached) = match frame {
        Frame::None => (None, None),
        Frame::Attached(frame) => (Some(EntitySource::Attached), Some(frame)),
        Frame::Staged(id) => (Some(EntitySource::Staged(id)), None),
    };
    let now = services.clock.now().into();
    let request = request::historical(command, &registry, entity, now)?;
    let plan = services
        .historical
        .plan(principal, &request, attached)
        .await?;
    started(&plan)
}

async fn pull(services: &Services, rows: SourceRows, command: &Pull) -> Result<Rows> {
    let registry = services.registry.current().await?;
    let request = request::source(rows, command, &registry)?;
    let plan = services.historical.plan_source(&request).await;
    started(&plan.map_err(|error| missing_join_key(error, command))?)
}

/// Feast has a class of its own for this.
fn missing_join_key(error: Error, command: &Pull) -> Error {
    match &error {
        Error::TableColumnNotFound { column, .. } if command.join_key_columns.contains(column) => {
            errors::of_class("FeastJoinKeysDuringMaterialization", error)
        }
        _ => error,
    }
}

fn started(plan: &HistoricalPlan) -> Result<Rows> {
    Ok(Rows {
        schema: plan.schema(),
        batches: plan.execute()?.map_err(Error::from).boxed(),
    })
}

async fn columns(services: &Services, described: &Described) -> Result<Rows> {
    let catalogs = services.tables.catalogs();
    let sent = sent_source(&described.data_source_proto, &services.rules, catalogs)?;
    request::check_readable(&sent.name, &sent.source)?;
    let columns = services.tables.column_types(&sent.source.location).await?;
    let (names, types): (Vec<String>, Vec<String>) = columns.into_iter().unzip();
    let column = |values: Vec<String>| Arc::new(StringArray::from(values)) as ArrayRef;
    let batch = RecordBatch::try_from_iter([("name", column(names)), ("type", column(types))])
        .map_err(Error::arrow("list columns"))?;
    Ok(Rows {
        schema: batch.schema(),
        batches: stream::once(async { Ok(batch) }).boxed(),
    })
}
