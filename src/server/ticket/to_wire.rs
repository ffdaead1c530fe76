//! The model to wire messages; the inverse of `from_wire` for the requests that tickets hold.

use super::PINS_VERSION;
use crate::model::{
    EntitySource, FeatureSelection, HistoricalRequest, Pins, TableName, TablePin, TimeRange,
    ViewSelection,
};
use crate::proto::v1;
use crate::proto::v1::entity_source::Source;
use crate::proto::v1::request::Kind;

/// A whole request.
pub(super) fn request(request: &HistoricalRequest) -> v1::Request {
    v1::Request {
        kind: Some(Kind::Historical(historical(request))),
        project: request.project.clone(),
        pins: request.pins.as_ref().map(pins),
    }
}

fn historical(request: &HistoricalRequest) -> v1::HistoricalRequest {
    let (features, feature_service) = match &request.features {
        FeatureSelection::Refs(refs) => (refs.iter().map(ToString::to_string).collect(), None),
        FeatureSelection::Service(name) => (Vec::new(), Some(name.clone())),
        FeatureSelection::Views(views) => (views.iter().flat_map(refs_of).collect(), None),
    };
    v1::HistoricalRequest {
        features,
        feature_service,
        full_feature_names: request.full_feature_names,
        entity: entity(&request.entity),
        ordered: (!request.ordered).then_some(false),
    }
}

/// Refs by alias: the own dialect names views by their names or aliases alone.
fn refs_of(view: &ViewSelection) -> impl Iterator<Item = String> {
    let name = view.alias.as_ref().unwrap_or(&view.view);
    view.features
        .iter()
        .map(move |feature| format!("{name}:{feature}"))
}

fn entity(entity: &EntitySource) -> Option<v1::EntitySource> {
    let source = match entity {
        EntitySource::Staged(id) => Source::Upload(id.0.clone()),
        EntitySource::Inline(bytes) => Source::Ipc(bytes.clone()),
        EntitySource::Range(TimeRange { start, end }) => Source::Range(v1::TimeRange {
            start: Some((*start).into()),
            end: Some((*end).into()),
        }),
        EntitySource::Sql(query) => Source::Sql(query.clone()),
        EntitySource::Attached => return None,
    };
    Some(v1::EntitySource {
        source: Some(source),
    })
}

fn pins(pins: &Pins) -> v1::Pins {
    v1::Pins {
        version: PINS_VERSION,
        tables: pins
            .tables
            .iter()
            .map(|(name, pin)| table_pin(name, *pin))
            .collect(),
        part: pins.part.number,
        parts: pins.part.count,
        ordered: pins.ordered,
        issued_at: Some(pins.issued_at.into()),
        divided_by: pins.part.divided_by.clone(),
    }
}

fn table_pin(name: &TableName, pin: TablePin) -> v1::TablePin {
    v1::TablePin {
        catalog: name.catalog.clone(),
        namespace: name.namespace.clone(),
        name: name.name.clone(),
        snapshot_id: pin.snapshot.map(|snapshot| snapshot.0),
        schema_id: pin.schema_id,
    }
}
