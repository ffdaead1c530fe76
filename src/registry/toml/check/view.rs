//! `[[feature_view]]`

use std::collections::BTreeMap;

use super::{Site, unknown};
use crate::error::Error;
use crate::model::{Entity, FeatureSource, FeatureView, SourceLocation, TableName};
use crate::registry::toml::raw::RawView;

pub(super) fn feature_view(
    raw: RawView,
    entities: &[Entity],
    catalogs: &[String],
    site: &mut Site<'_>,
) -> FeatureView {
    site.name(&["name"], &raw.name);
    if raw.timestamp_field.is_empty() {
        site.refuse(&["timestamp_field"], "must not be empty");
    }
    let join_keys = join_keys(&raw.entities, entities, site);
    check_features(raw.features.as_deref(), &join_keys, site);
    check_mapping(&raw.field_mapping, site);
    let table = table(&raw, catalogs, site);
    FeatureView {
        name: raw.name,
        join_keys,
        source: FeatureSource {
            location: SourceLocation::Iceberg(table),
            timestamp_field: raw.timestamp_field,
            created_timestamp_column: raw.created_timestamp_column,
            field_mapping: raw.field_mapping,
        },
        ttl: raw.ttl,
        features: raw.features,
    }
}

fn join_keys(names: &[String], entities: &[Entity], site: &mut Site<'_>) -> Vec<String> {
    let mut keys: Vec<String> = Vec::new();
    for (index, name) in names.iter().enumerate() {
        let path = ["entities", &index.to_string()];
        if names[..index].contains(name) {
            site.refuse(&path, format!("`{name}` is listed more than once"));
            continue;
        }
        let Some(entity) = entities.iter().find(|entity| entity.name == *name) else {
            site.refuse(
                &path,
                unknown("entity", name, entities.iter().map(|entity| &entity.name)),
            );
            continue;
        };
        for key in &entity.join_keys {
            if keys.contains(&key.name) {
                site.refuse(
                    &path,
                    format!("join key `{}` is another entity's too", key.name),
                );
            } else {
                keys.push(key.name.clone());
            }
        }
    }
    keys
}

fn check_features(features: Option<&[String]>, join_keys: &[String], site: &mut Site<'_>) {
    let Some(features) = features else { return };
    site.list(
        "features",
        features,
        "must not be empty; without it every other column is a feature",
    );
    for (index, feature) in features.iter().enumerate() {
        if join_keys.contains(feature) {
            site.refuse(
                &["features", &index.to_string()],
                format!("`{feature}` is a join key"),
            );
        }
    }
}

fn check_mapping(mapping: &BTreeMap<String, String>, site: &mut Site<'_>) {
    let mut sources: BTreeMap<&str, &str> = BTreeMap::new();
    for (source, target) in mapping {
        if let Some(other) = sources.insert(target, source) {
            let message =
                format!("columns `{other}` and `{source}` would both be named `{target}`");
            site.refuse(&["field_mapping", source], message);
        }
    }
}

fn table(raw: &RawView, catalogs: &[String], site: &mut Site<'_>) -> TableName {
    let catalog = catalog(raw.catalog.as_deref(), catalogs, site);
    TableName::parse(&catalog, &raw.table).unwrap_or_else(|error| {
        let message = match error {
            Error::InvalidRequest { message, .. } => message,
            other => other.to_string(),
        };
        site.refuse(&["table"], message);
        TableName {
            catalog,
            namespace: Vec::new(),
            name: raw.table.clone(),
        }
    })
}

fn catalog(named: Option<&str>, catalogs: &[String], site: &mut Site<'_>) -> String {
    match (named, catalogs) {
        (Some(name), _) => {
            if !catalogs.iter().any(|known| known == name) {
                site.refuse(&["catalog"], unknown("catalog", name, catalogs));
            }
            name.to_owned()
        }
        (None, [only]) => only.clone(),
        (None, _) => {
            let message = format!(
                "`catalog` is missing: several are configured (`{}`)",
                catalogs.join("`, `")
            );
            site.refuse(&[], message);
            String::new()
        }
    }
}
