//! What can be had and what it would look like, without running anything: GetFlightInfo, GetSchema, ListFlights.
//!
//! A command is planned; its ticket is the request with the plan's pins, so that it reads the same snapshots whenever
//! and wherever it is redeemed. It has no location: any replica serves it. Unordered rows may be divided into several
//! endpoints. A path describes a feature view, which has
//! rows only as part of a request and therefore no endpoints.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use arrow::ipc::writer::IpcWriteOptions;
use arrow_flight::{
    Criteria, FlightDescriptor, FlightEndpoint, FlightInfo, SchemaAsIpc, SchemaResult, Ticket,
};
use chrono::{DateTime, Utc};
use futures::stream::{self, BoxStream, StreamExt};

use super::descriptor::{Target, target};
use super::{Services, encode, feast, historical, ticket};
use crate::error::{Error, Result};
use crate::historical::HistoricalPlan;
use crate::model::{
    EntitySource, FlightPart, HistoricalRequest, Pins, Principal, TableName, TablePin,
};

/// Feature views whose schemas are looked up at the same time.
const LISTED_AT_ONCE: usize = 4;
const UNKNOWN: i64 = -1;
/// Bytes of a dataframe inside a request that may be in each of the flight's tickets.
const MAX_REPEATED_BYTES: usize = 64 * 1024;

/// Plans a command, or describes a feature view.
pub(crate) async fn flight_info(
    services: &Services,
    principal: &Principal,
    descriptor: FlightDescriptor,
) -> Result<FlightInfo> {
    let info = match target(&descriptor)? {
        Target::View(name) => describe(services.historical.view_schema(name).await?)?,
        Target::Command(bytes) if ticket::is_feast(bytes) => {
            feast::info(services, principal, bytes).await?
        }
        Target::Command(bytes) => {
            let request = historical::decode(bytes)?;
            let plan = historical::plan(services, principal, &request).await?;
            planned(request, Planned::of(&plan), services.clock.now().into())?
        }
    };
    Ok(info.with_descriptor(descriptor))
}

/// The schema alone.
pub(crate) async fn schema(
    services: &Services,
    principal: &Principal,
    descriptor: FlightDescriptor,
) -> Result<SchemaResult> {
    let schema = match target(&descriptor)? {
        Target::View(name) => services.historical.view_schema(name).await?,
        Target::Command(bytes) => {
            historical::plan(services, principal, &historical::decode(bytes)?)
                .await?
                .schema()
        }
    };
    let options = IpcWriteOptions::default();
    SchemaAsIpc::new(&encode::schema_on_wire(schema), &options)
        .try_into()
        .map_err(Error::arrow("encode a schema"))
}

/// The feature views whose names start with the criteria's expression.
pub(crate) async fn list(
    services: &Arc<Services>,
    criteria: Criteria,
) -> Result<BoxStream<'static, Result<FlightInfo>>> {
    let prefix = std::str::from_utf8(&criteria.expression).map_err(|error| Error::Malformed {
        what: "criteria",
        message: error.to_string(),
    })?;
    let registry = services.registry.current().await?;
    let names: Vec<String> = registry
        .feature_views()
        .map(|view| view.name.clone())
        .filter(|name| name.starts_with(prefix))
        .collect();
    let services = Arc::clone(services);
    Ok(stream::iter(names)
        .map(move |name| listed(Arc::clone(&services), name))
        .buffered(LISTED_AT_ONCE)
        .boxed())
}

/// A view whose table cannot be read is listed without a schema: it must not hide the others.
async fn listed(services: Arc<Services>, name: String) -> Result<FlightInfo> {
    let info = match services.historical.view_schema(&name).await {
        Ok(schema) => describe(schema)?,
        Err(error) => {
            tracing::warn!(
                view = name,
                error = error.to_string(),
                "listed without a schema"
            );
            sized(FlightInfo::new(), None)
        }
    };
    Ok(info.with_descriptor(FlightDescriptor::new_path(vec![name])))
}

fn describe(schema: SchemaRef) -> Result<FlightInfo> {
    Ok(sized(with_schema(schema)?, None))
}

/// What a plan tells about its result.
struct Planned {
    schema: SchemaRef,
    rows: Option<u64>,
    ordered: bool,
    parts: Vec<FlightPart>,
    tables: BTreeMap<TableName, TablePin>,
}

impl Planned {
    fn of(plan: &HistoricalPlan) -> Self {
        Self {
            schema: plan.schema(),
            rows: plan.rows(),
            ordered: plan.ordered(),
            parts: plan.parts(),
            tables: plan.tables(),
        }
    }
}

fn planned(
    request: HistoricalRequest,
    plan: Planned,
    issued_at: DateTime<Utc>,
) -> Result<FlightInfo> {
    let ordered = plan.ordered;
    let endpoint = |part: &FlightPart| {
        let pins = Pins {
            tables: plan.tables.clone(),
            part: part.clone(),
            ordered,
            issued_at,
        };
        let ticket = ticket::encode(&HistoricalRequest {
            pins: Some(pins),
            ..request.clone()
        });
        FlightEndpoint::new().with_ticket(Ticket::new(ticket))
    };
    let mut info = sized(with_schema(plan.schema)?, plan.rows).with_ordered(ordered);
    info.endpoint = match can_be_divided(&request.entity) {
        true => plan.parts.iter().map(endpoint).collect(),
        false => vec![endpoint(&FlightPart::whole())],
    };
    Ok(info)
}

/// A query would run anew for each part and find other rows; a large dataframe would travel in each ticket.
fn can_be_divided(entity: &EntitySource) -> bool {
    match entity {
        EntitySource::Staged(_) => true,
        EntitySource::Inline(bytes) => bytes.len() <= MAX_REPEATED_BYTES,
        EntitySource::Range(_) | EntitySource::Sql(_) | EntitySource::Attached => false,
    }
}

fn with_schema(schema: SchemaRef) -> Result<FlightInfo> {
    FlightInfo::new()
        .try_with_schema(&encode::schema_on_wire(schema))
        .map_err(Error::arrow("encode a schema"))
}

fn sized(info: FlightInfo, rows: Option<u64>) -> FlightInfo {
    let records = rows
        .and_then(|rows| i64::try_from(rows).ok())
        .unwrap_or(UNKNOWN);
    info.with_total_records(records).with_total_bytes(UNKNOWN)
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::{DataType, Field, Schema};
    use rstest::rstest;

    use super::*;
    use crate::model::{FeatureSelection, Request, SnapshotId, TimeRange, UploadId};

    fn request(entity: EntitySource) -> HistoricalRequest {
        let features = FeatureSelection::Service("s".to_owned());
        HistoricalRequest {
            project: None,
            features,
            full_feature_names: true,
            entity,
            ordered: true,
            pins: None,
        }
    }

    fn plan(rows: Option<u64>, ordered: bool) -> Planned {
        let dictionary = DataType::Dictionary(Box::new(DataType::Int8), Box::new(DataType::Utf8));
        let schema = Arc::new(Schema::new(vec![Field::new("city", dictionary, true)]));
        let pin = TablePin {
            snapshot: Some(SnapshotId(7)),
            schema_id: 1,
        };
        let tables = BTreeMap::from([(TableName::parse("default", "demo.t").unwrap(), pin)]);
        Planned {
            schema,
            rows,
            ordered,
            parts: vec![FlightPart::whole()],
            tables,
        }
    }

    fn staged() -> EntitySource {
        EntitySource::Staged(UploadId("ID".to_owned()))
    }

    fn range() -> EntitySource {
        EntitySource::Range(TimeRange {
            start: DateTime::UNIX_EPOCH,
            end: DateTime::UNIX_EPOCH,
        })
    }

    #[rstest]
    #[case(staged(), Some(3), 3, true)]
    #[case(range(), None, -1, false)]
    #[case(staged(), Some(u64::MAX), -1, true)]
    fn the_ticket_is_the_request_with_the_plans_pins(
        #[case] entity: EntitySource,
        #[case] rows: Option<u64>,
        #[case] total: i64,
        #[case] ordered: bool,
    ) {
        let info = planned(
            request(entity.clone()),
            plan(rows, ordered),
            DateTime::UNIX_EPOCH,
        )
        .unwrap();
        assert_eq!(
            (info.total_records, info.total_bytes, info.ordered),
            (total, -1, ordered)
        );
        let [endpoint] = info.endpoint.as_slice() else {
            panic!("one endpoint: {info}")
        };
        assert!(endpoint.location.is_empty());
        let tables = plan(rows, ordered).tables;
        let pins = Pins {
            tables,
            part: FlightPart::whole(),
            ordered,
            issued_at: DateTime::UNIX_EPOCH,
        };
        let expected = Request::Historical(HistoricalRequest {
            pins: Some(pins),
            ..request(entity)
        });
        assert_eq!(
            ticket::decode(&endpoint.ticket.as_ref().unwrap().ticket).unwrap(),
            expected
        );
    }

    fn part(number: u32) -> FlightPart {
        FlightPart {
            number,
            count: 2,
            divided_by: "bucket[2] of `k`".to_owned(),
        }
    }

    #[rstest]
    #[case(staged(), 2)]
    #[case(EntitySource::Inline(vec![0; MAX_REPEATED_BYTES].into()), 2)]
    #[case(EntitySource::Inline(vec![0; MAX_REPEATED_BYTES + 1].into()), 1)]
    #[case(EntitySource::Sql("SELECT 1".to_owned()), 1)]
    fn parts_have_endpoints_where_each_finds_the_same_rows(
        #[case] entity: EntitySource,
        #[case] expected: u32,
    ) {
        let plan = Planned {
            parts: vec![part(0), part(1)],
            ..plan(Some(3), false)
        };
        let info = planned(request(entity), plan, DateTime::UNIX_EPOCH).unwrap();
        let pinned = |endpoint: &FlightEndpoint| {
            let ticket = &endpoint.ticket.as_ref().unwrap().ticket;
            match ticket::decode(ticket).unwrap() {
                Request::Historical(request) => request.pins.unwrap().part,
                other => panic!("{}", other.kind()),
            }
        };
        let parts: Vec<FlightPart> = info.endpoint.iter().map(pinned).collect();
        match expected {
            1 => assert_eq!(parts, [FlightPart::whole()]),
            _ => assert_eq!(parts, [part(0), part(1)]),
        }
        assert!(!info.ordered && info.total_records == 3);
    }

    #[test]
    fn the_schema_is_the_one_that_is_sent() {
        let info = planned(request(staged()), plan(None, true), DateTime::UNIX_EPOCH).unwrap();
        let expected = Schema::new(vec![Field::new("city", DataType::Utf8, true)]);
        assert_eq!(info.try_decode_schema().unwrap(), expected);
    }

    #[test]
    fn a_view_has_a_schema_but_nothing_to_get() {
        let info = describe(plan(None, true).schema).unwrap();
        assert!(info.endpoint.is_empty() && info.total_records == -1 && info.total_bytes == -1);
    }
}
