//! Feast's feature services with their log destinations, and its saved datasets.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::{Decoder, Sources, iceberg, messages, source, view};
use crate::model::{FeatureService, FeatureSource, LogDestination, Projection, SourceLocation};
use crate::proto::feast::core;
use crate::proto::feast::core::data_source::{CustomSourceOptions, FileOptions};
use crate::proto::feast::core::logging_config::{Destination, FileDestination};
use crate::proto::feast::core::saved_dataset_storage::Kind;

/// A service, and its log as a data source with its name.
pub(super) type Logged = (FeatureService, Option<(String, FeatureSource)>);

impl Decoder {
    pub(super) fn services(
        &self,
        objects: &[Bytes],
        sources: &mut Sources<'_>,
    ) -> Result<Vec<Logged>, String> {
        let services = messages::<core::FeatureService>("feature service", objects)?;
        let specs = services.into_iter().filter_map(|service| service.spec);
        let own = specs.filter(|spec| self.owns(&spec.project));
        Ok(own.map(|spec| self.service(spec, sources)).collect())
    }

    fn service(&self, spec: core::FeatureServiceSpec, sources: &mut Sources<'_>) -> Logged {
        let log = spec
            .logging_config
            .and_then(|config| self.log(config, sources));
        let (name, logging) = log.unzip();
        let source = logging
            .as_ref()
            .map(|log| source::nameless(log.location.clone()));
        let service = FeatureService {
            name: spec.name,
            projections: spec.features.into_iter().map(projection).collect(),
            logging,
        };
        (service, name.zip(source))
    }

    /// Where a service logs to, by the name that its destination has as a data source.
    fn log(
        &self,
        config: core::LoggingConfig,
        sources: &mut Sources<'_>,
    ) -> Option<(String, LogDestination)> {
        let to = |name: &str, location, partition_by| {
            let destination = LogDestination {
                location,
                partition_by,
            };
            Some((name.to_owned(), destination))
        };
        match config.destination {
            Some(Destination::FileDestination(file)) => {
                let location = self.files(&log_file(&file));
                to(&file.path, location, file.partition_by)
            }
            Some(Destination::CustomDestination(custom)) => {
                let (name, location) = custom_place(&json(&custom.config), &custom.kind, sources);
                to(&name, location, Vec::new())
            }
            None => {
                let words = "logging destination of another offline store";
                to(
                    words,
                    SourceLocation::Unsupported(words.to_owned()),
                    Vec::new(),
                )
            }
        }
    }

    /// The places of saved datasets, by the name that each has as a data source and by the dataset's own.
    pub(super) fn saved_datasets(
        &self,
        objects: &[Bytes],
        sources: &mut Sources<'_>,
    ) -> Result<BTreeMap<String, FeatureSource>, String> {
        let datasets = messages::<core::SavedDataset>("saved dataset", objects)?;
        let specs = datasets.into_iter().filter_map(|dataset| dataset.spec);
        let mut named = BTreeMap::new();
        for spec in specs.filter(|spec| self.owns(&spec.project)) {
            let kind = spec.storage.and_then(|storage| storage.kind);
            let (name, location) = self.storage(kind, sources);
            let place = source::nameless(location);
            named.insert(spec.name, place.clone());
            named.insert(name, place);
        }
        named.remove("");
        Ok(named)
    }

    fn storage(&self, kind: Option<Kind>, sources: &mut Sources<'_>) -> (String, SourceLocation) {
        match kind {
            Some(Kind::FileStorage(options)) => (options.uri.clone(), self.files(&options)),
            Some(Kind::CustomStorage(CustomSourceOptions { configuration })) => {
                custom_place(&configuration, "custom saved dataset storage", sources)
            }
            None => {
                let words = "saved dataset storage of another offline store";
                (String::new(), SourceLocation::Unsupported(words.to_owned()))
            }
        }
    }
}

fn projection(projection: core::FeatureViewProjection) -> Projection {
    let alias = projection.feature_view_name_alias;
    Projection {
        view: projection.feature_view_name,
        alias: (!alias.is_empty()).then_some(alias),
        features: view::listed(projection.feature_columns),
        join_key_map: projection.join_key_map,
    }
}

fn log_file(file: &FileDestination) -> FileOptions {
    FileOptions {
        uri: file.path.clone(),
        s3_endpoint_override: file.s3_endpoint_override.clone(),
        file_format: None,
    }
}

/// A plug-in's place: an Iceberg table if its options are ours. Its name is the one that a source of it has.
fn custom_place(options: &[u8], kind: &str, sources: &mut Sources<'_>) -> (String, SourceLocation) {
    let unsupported = |words: String| SourceLocation::Unsupported(words);
    match iceberg::Options::parse(options) {
        Ok(options) => {
            let place = sources.iceberg(&options);
            let location = place.unwrap_or_else(|error| unsupported(error.to_string()));
            (options.default_name(), location)
        }
        Err(_) => (String::new(), unsupported(kind.to_owned())),
    }
}

/// A custom destination's options as JSON: as one `configuration`, or key by key.
fn json(config: &BTreeMap<String, String>) -> Vec<u8> {
    match config.get("configuration") {
        Some(json) => json.clone().into_bytes(),
        None => serde_json::json!(config).to_string().into_bytes(),
    }
}
