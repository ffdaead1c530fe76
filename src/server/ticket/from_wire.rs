//! Wire messages to the model, refusing what cannot be served and naming the field.

mod online;

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use pbjson_types::Timestamp;

use super::PINS_VERSION;
use crate::error::{Error, Result};
use crate::model::{
    EntitySource, FeatureRef, FeatureSelection, FlightPart, HistoricalRequest, Pins, Request,
    SnapshotId, TableName, TablePin, TimeRange, UploadId,
};
use crate::proto::v1;
use crate::proto::v1::entity_source::Source;
use crate::proto::v1::request::Kind;

/// Checks a whole request.
pub(super) fn request(wire: v1::Request) -> Result<Request> {
    let project = wire.project.filter(|name| !name.is_empty());
    match (wire.kind, wire.pins) {
        (Some(Kind::Historical(wire)), pins) => {
            historical(wire, project, pins).map(Request::Historical)
        }
        (Some(kind), Some(_)) => {
            let kind = unpinned(kind, project)?.kind();
            let message = format!("expected no pins beside `{kind}`");
            Err(Error::invalid("pins", message))
        }
        (Some(kind), None) => unpinned(kind, project),
        (None, _) => Err(Error::invalid(
            "request",
            "expected one of `historical`, `upload_entities`, `online`, `write`, `update`, `teardown`",
        )),
    }
}

fn unpinned(kind: Kind, project: Option<String>) -> Result<Request> {
    match kind {
        Kind::Historical(wire) => historical(wire, project, None).map(Request::Historical),
        Kind::UploadEntities(_) => Ok(Request::UploadEntities { project }),
        Kind::Online(wire) => online::online(wire, project).map(Request::Online),
        Kind::Write(wire) => online::write(wire, project).map(Request::Write),
        Kind::Update(wire) => online::update(wire, project).map(Request::Update),
        Kind::Teardown(wire) => online::teardown(wire, project).map(Request::Teardown),
    }
}

fn historical(
    wire: v1::HistoricalRequest,
    project: Option<String>,
    wire_pins: Option<v1::Pins>,
) -> Result<HistoricalRequest> {
    Ok(HistoricalRequest {
        project,
        features: selection("historical", wire.features, wire.feature_service)?,
        full_feature_names: wire.full_feature_names,
        entity: wire.entity.map_or(Ok(EntitySource::Attached), entity)?,
        ordered: wire.ordered.unwrap_or(true),
        pins: wire_pins.map(pins).transpose()?,
    })
}

fn selection(
    kind: &str,
    features: Vec<String>,
    service: Option<String>,
) -> Result<FeatureSelection> {
    match (features.is_empty(), service) {
        (false, None) => refs(kind, &features).map(FeatureSelection::Refs),
        (true, Some(name)) => {
            non_empty(&format!("{kind}.feature_service"), name).map(FeatureSelection::Service)
        }
        (true, None) => Err(Error::invalid(
            format!("{kind}.features"),
            "expected at least one `view:feature`, or a `feature_service`",
        )),
        (false, Some(_)) => Err(Error::invalid(
            format!("{kind}.feature_service"),
            "expected either `features` or `feature_service`, not both",
        )),
    }
}

fn refs(kind: &str, features: &[String]) -> Result<Vec<FeatureRef>> {
    let parse = |(i, text): (usize, &String)| {
        text.parse().map_err(|_: Error| {
            Error::invalid(
                format!("{kind}.features[{i}]"),
                format!("expected `view:feature`, found `{text}`"),
            )
        })
    };
    features.iter().enumerate().map(parse).collect()
}

fn entity(wire: v1::EntitySource) -> Result<EntitySource> {
    match wire.source {
        Some(Source::Upload(id)) => {
            non_empty("historical.entity.upload", id).map(|id| EntitySource::Staged(UploadId(id)))
        }
        Some(Source::Ipc(bytes)) if bytes.is_empty() => Err(Error::invalid(
            "historical.entity.ipc",
            "expected an Arrow IPC stream, found no bytes",
        )),
        Some(Source::Ipc(bytes)) => Ok(EntitySource::Inline(bytes)),
        Some(Source::Range(wire)) => range(&wire).map(EntitySource::Range),
        Some(Source::Sql(query)) => {
            non_empty("historical.entity.sql", query).map(EntitySource::Sql)
        }
        None => Err(Error::invalid(
            "historical.entity",
            "expected one of `upload`, `ipc`, `range`, `sql`",
        )),
    }
}

fn range(wire: &v1::TimeRange) -> Result<TimeRange> {
    let start = instant("historical.entity.range.start", wire.start)?;
    let end = instant("historical.entity.range.end", wire.end)?;
    if end < start {
        let message = format!(
            "expected a time not before `start`, {}, found {}",
            rfc3339(start),
            rfc3339(end)
        );
        return Err(Error::invalid("historical.entity.range.end", message));
    }
    Ok(TimeRange { start, end })
}

fn pins(wire: v1::Pins) -> Result<Pins> {
    if wire.version != PINS_VERSION {
        let message = format!(
            "expected version {PINS_VERSION}, found {}; plan the request again",
            wire.version
        );
        return Err(Error::invalid("pins.version", message));
    }
    Ok(Pins {
        part: part(wire.part, wire.parts, wire.divided_by)?,
        tables: table_pins(wire.tables)?,
        ordered: wire.ordered,
        issued_at: instant("pins.issued_at", wire.issued_at)?,
    })
}

fn part(number: u32, count: u32, divided_by: String) -> Result<FlightPart> {
    if count == 0 {
        let message = "expected at least 1, found 0";
        return Err(Error::invalid("pins.parts", message));
    }
    if number >= count {
        let message = format!("expected less than {count}, found {number}");
        return Err(Error::invalid("pins.part", message));
    }
    Ok(FlightPart {
        number,
        count,
        divided_by,
    })
}

fn table_pins(wire: Vec<v1::TablePin>) -> Result<BTreeMap<TableName, TablePin>> {
    let mut tables = BTreeMap::new();
    for (i, wire) in wire.into_iter().enumerate() {
        let pin = TablePin {
            snapshot: wire.snapshot_id.map(SnapshotId),
            schema_id: wire.schema_id,
        };
        let name = TableName {
            catalog: wire.catalog,
            namespace: wire.namespace,
            name: wire.name,
        };
        // Parquet files have no namespace.
        let known = !name.catalog.is_empty() && !name.name.is_empty();
        if !known || tables.insert(name, pin).is_some() {
            return Err(Error::invalid(
                format!("pins.tables[{i}]"),
                "expected a full table name, each table once",
            ));
        }
    }
    Ok(tables)
}

fn instant(field: &str, wire: Option<Timestamp>) -> Result<DateTime<Utc>> {
    let wire = wire.ok_or_else(|| Error::invalid(field, "expected a timestamp"))?;
    u32::try_from(wire.nanos)
        .ok()
        .filter(|nanos| *nanos < 1_000_000_000)
        .and_then(|nanos| DateTime::from_timestamp(wire.seconds, nanos))
        .ok_or_else(|| Error::invalid(field, "the timestamp is out of range"))
}

fn non_empty(field: &str, text: String) -> Result<String> {
    if text.is_empty() {
        Err(Error::invalid(
            field,
            "expected a name, found an empty string",
        ))
    } else {
        Ok(text)
    }
}

fn rfc3339(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(chrono::SecondsFormat::AutoSi, true)
}
