//! `[[feature_service]]`

use super::{Site, unknown};
use crate::model::{FeatureService, FeatureView, Projection};
use crate::registry::toml::raw::{RawProjection, RawService};

pub(super) fn feature_service(
    raw: RawService,
    views: &[FeatureView],
    site: &mut Site<'_>,
) -> FeatureService {
    site.name(&["name"], &raw.name);
    if raw.features.is_empty() {
        site.refuse(&["features"], "must name at least one feature view");
    }
    let mut projections: Vec<Projection> = Vec::new();
    for (index, raw) in raw.features.into_iter().enumerate() {
        let projection = projection(raw, index, views, site);
        let name = name_in_service(&projection);
        if projections
            .iter()
            .any(|other| name_in_service(other) == name)
        {
            let message = format!(
                "`{name}` appears more than once in this feature service; give one an alias"
            );
            site.refuse(&["features", &index.to_string()], message);
        }
        projections.push(projection);
    }
    FeatureService {
        logging: None,
        name: raw.name,
        projections,
    }
}

fn name_in_service(projection: &Projection) -> &str {
    projection.alias.as_deref().unwrap_or(&projection.view)
}

fn projection(
    raw: RawProjection,
    index: usize,
    views: &[FeatureView],
    site: &mut Site<'_>,
) -> Projection {
    let index = index.to_string();
    let at = |key| ["features", &index, key];
    if let Some(alias) = &raw.alias {
        site.name(&at("alias"), alias);
        if views.iter().any(|view| view.name == *alias) {
            site.refuse(
                &at("alias"),
                format!("`{alias}` is the name of a feature view"),
            );
        }
    }
    match views.iter().find(|view| view.name == raw.view) {
        Some(view) => {
            check_features(&raw, &index, view, site);
            check_join_key_map(&raw, &index, view, site);
        }
        None => site.refuse(
            &at("view"),
            unknown(
                "feature view",
                &raw.view,
                views.iter().map(|view| &view.name),
            ),
        ),
    }
    Projection {
        view: raw.view,
        alias: raw.alias,
        features: raw.features,
        join_key_map: raw.join_key_map,
    }
}

fn check_features(raw: &RawProjection, index: &str, view: &FeatureView, site: &mut Site<'_>) {
    let Some(features) = &raw.features else {
        return;
    };
    if features.is_empty() {
        site.refuse(
            &["features", index, "features"],
            "must not be empty; without it all features are meant",
        );
    }
    for (number, feature) in features.iter().enumerate() {
        let path = ["features", index, "features", &number.to_string()];
        if features[..number].contains(feature) {
            site.refuse(&path, format!("`{feature}` is listed more than once"));
        } else if let Some(known) = view
            .features
            .as_ref()
            .filter(|known| !known.contains(feature))
        {
            site.refuse(
                &path,
                unknown(&format!("feature of `{}`:", view.name), feature, known),
            );
        }
    }
}

fn check_join_key_map(raw: &RawProjection, index: &str, view: &FeatureView, site: &mut Site<'_>) {
    for (key, column) in &raw.join_key_map {
        let path = ["features", index, "join_key_map", key];
        if column.is_empty() {
            site.refuse(&path, "must not be empty");
        }
        if !view.join_keys.contains(key) {
            site.refuse(
                &path,
                unknown(
                    &format!("join key of `{}`:", view.name),
                    key,
                    &view.join_keys,
                ),
            );
        }
    }
}
