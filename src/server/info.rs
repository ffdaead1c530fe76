//! What can be had and what it would look like, without running anything: GetFlightInfo, GetSchema, ListFlights.
//!
//! A command is planned; its ticket is the request with the plan's pins, so that it reads the same snapshots whenever
//! and wherever it is redeemed. It has no location: any replica serves it. A path describes a feature view, which has
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
use crate::model::{EntitySource, HistoricalRequest, Pins, Principal, TableName, TablePin};

/// Feature views whose schemas are looked up at the same time.
const LISTED_AT_ONCE: usize = 4;
const UNKNOWN: i64 = -1;

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
    tables: BTreeMap<TableName, TablePin>,
}

impl Planned {
    fn of(plan: &HistoricalPlan) -> Self {
        Self {
            schema: plan.schema(),
            rows: plan.rows(),
            tables: plan.tables().clone(),
        }
    }
}

fn planned(
    request: HistoricalRequest,
    plan: Planned,
    issued_at: DateTime<Utc>,
) -> Result<FlightInfo> {
    let ordered = !matches!(request.entity, EntitySource::Range(_));
    let pins = Pins {
        tables: plan.tables,
        part: 0,
        parts: 1,
        ordered,
        issued_at,
    };
    let ticket = ticket::encode(&HistoricalRequest {
        pins: Some(pins),
        ..request
    });
    let endpoint = FlightEndpoint::new().with_ticket(Ticket::new(ticket));
    Ok(sized(with_schema(plan.schema)?, plan.rows)
        .with_endpoint(endpoint)
        .with_ordered(ordered))
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
            pins: None,
        }
    }

    fn plan(rows: Option<u64>) -> Planned {
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
        let info = planned(request(entity.clone()), plan(rows), DateTime::UNIX_EPOCH).unwrap();
        assert_eq!(
            (info.total_records, info.total_bytes, info.ordered),
            (total, -1, ordered)
        );
        let [endpoint] = info.endpoint.as_slice() else {
            panic!("one endpoint: {info}")
        };
        assert!(endpoint.location.is_empty());
        let tables = plan(rows).tables;
        let pins = Pins {
            tables,
            part: 0,
            parts: 1,
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

    #[test]
    fn the_schema_is_the_one_that_is_sent() {
        let info = planned(request(staged()), plan(None), DateTime::UNIX_EPOCH).unwrap();
        let expected = Schema::new(vec![Field::new("city", DataType::Utf8, true)]);
        assert_eq!(info.try_decode_schema().unwrap(), expected);
    }

    #[test]
    fn a_view_has_a_schema_but_nothing_to_get() {
        let info = describe(plan(None).schema).unwrap();
        assert!(info.endpoint.is_empty() && info.total_records == -1 && info.total_bytes == -1);
    }
}
