//! Requests of the online side, and writes.

use std::time::Duration;

use super::{non_empty, selection};
use crate::error::{Error, Result};
use crate::model::{
    DeclaredFeature, KeyField, KeyValue, OnlineDefinition, OnlineKeys, OnlineRequest,
    TeardownRequest, Ttl, UpdateRequest, ViewVersion, WriteRequest, WriteTarget,
};
use crate::proto::v1;
use crate::proto::v1::key_value::Value;

pub(super) fn online(wire: v1::OnlineRequest, project: Option<String>) -> Result<OnlineRequest> {
    Ok(OnlineRequest {
        project,
        features: selection("online", wire.features, wire.feature_service)?,
        full_feature_names: wire.full_feature_names,
        keys: match (wire.entity_keys.is_empty(), wire.entity_ipc.is_empty()) {
            (true, true) => OnlineKeys::Attached,
            (false, true) => {
                OnlineKeys::Columns(wire.entity_keys.into_iter().map(column).collect())
            }
            (true, false) => OnlineKeys::Ipc(wire.entity_ipc),
            (false, false) => {
                let message = "expected either `entity_keys` or `entity_ipc`, not both";
                return Err(Error::invalid("online.entity_ipc", message));
            }
        },
        include_timestamps: wire.include_timestamps,
        include_status: wire.include_status,
        ignore_ttl: wire.ignore_ttl,
        token: wire.token.as_deref().map(str::parse).transpose()?,
    })
}

fn column((name, column): (String, v1::KeyColumn)) -> (String, Vec<KeyValue>) {
    let value = |value: v1::KeyValue| match value.value {
        None => KeyValue::Null,
        Some(Value::Int(value)) => KeyValue::Int(value),
        Some(Value::Text(value)) => KeyValue::Text(value),
    };
    (name, column.values.into_iter().map(value).collect())
}

pub(super) fn write(wire: v1::WriteRequest, project: Option<String>) -> Result<WriteRequest> {
    let (view, definition) = view_of("write", wire.feature_view, wire.definition)?;
    Ok(WriteRequest {
        project,
        view,
        to: match wire.to.as_str() {
            "online" => WriteTarget::Online,
            "offline" => WriteTarget::Offline,
            other => {
                let message = format!("expected `online` or `offline`, found `{other}`");
                return Err(Error::invalid("write.to", message));
            }
        },
        idempotency_key: wire
            .idempotency_key
            .map(|key| non_empty("write.idempotency_key", key))
            .transpose()?,
        definition,
    })
}

pub(super) fn update(wire: v1::UpdateRequest, project: Option<String>) -> Result<UpdateRequest> {
    let keep = |(i, kept): (usize, v1::KeptView)| {
        view_of(
            &format!("update.keep[{i}]"),
            kept.feature_view,
            kept.definition,
        )
    };
    let keep = wire.keep.into_iter().enumerate().map(keep);
    Ok(UpdateRequest {
        project,
        keep: keep.collect::<Result<_>>()?,
        delete: names("update.delete", wire.delete)?
            .iter()
            .map(|name| ViewVersion::parse(name))
            .collect(),
        dry_run: wire.dry_run,
    })
}

pub(super) fn teardown(
    wire: v1::TeardownRequest,
    project: Option<String>,
) -> Result<TeardownRequest> {
    Ok(TeardownRequest {
        project,
        views: names("teardown.feature_views", wire.feature_views)?,
    })
}

fn names(field: &str, names: Vec<String>) -> Result<Vec<String>> {
    let name = |(i, name)| non_empty(&format!("{field}[{i}]"), name);
    names.into_iter().enumerate().map(name).collect()
}

/// A version may stand behind the name or in the definition.
fn view_of(
    field: &str,
    name: String,
    definition: Option<v1::FeatureViewDefinition>,
) -> Result<(ViewVersion, Option<OnlineDefinition>)> {
    let mut view = ViewVersion::parse(&non_empty(&format!("{field}.feature_view"), name)?);
    let field = format!("{field}.definition");
    let version = definition.as_ref().and_then(|it| it.version);
    match (view.version, version) {
        (Some(named), Some(defined)) if named != defined => {
            let message = format!("expected {named}, as in the view's name, found {defined}");
            return Err(Error::invalid(format!("{field}.version"), message));
        }
        _ => view.version = view.version.or(version),
    }
    let definition = definition.map(|it| self::definition(&field, it));
    Ok((view, definition.transpose()?))
}

fn definition(field: &str, wire: v1::FeatureViewDefinition) -> Result<OnlineDefinition> {
    let key = |(i, key): (usize, v1::TypedName)| {
        let field = format!("{field}.join_keys[{i}]");
        let key_type = key.r#type.parse().map_err(|error| match error {
            Error::InvalidRequest { message, .. } => {
                Error::invalid(format!("{field}.type"), message)
            }
            other => other,
        })?;
        Ok(KeyField {
            name: non_empty(&format!("{field}.name"), key.name)?,
            key_type,
        })
    };
    let feature = |(i, feature): (usize, v1::TypedName)| {
        Ok(DeclaredFeature {
            name: non_empty(&format!("{field}.features[{i}].name"), feature.name)?,
            type_name: feature.r#type.to_ascii_uppercase(),
        })
    };
    let join_keys = wire.join_keys.into_iter().enumerate().map(key);
    let features = wire.features.into_iter().enumerate().map(feature);
    Ok(OnlineDefinition {
        join_keys: join_keys.collect::<Result<_>>()?,
        features: features.collect::<Result<_>>()?,
        ttl: Ttl::new(wire.ttl.map_or(Ok(Duration::ZERO), |ttl| {
            Duration::try_from(ttl).map_err(|_| {
                Error::invalid(
                    format!("{field}.ttl"),
                    "expected a length of time of zero or more",
                )
            })
        })?),
    })
}
