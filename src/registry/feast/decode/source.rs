//! Feast's data sources: where rows are, or in words why this server cannot read them.

use std::collections::BTreeMap;

use super::{Decoder, iceberg};
use crate::catalog::CatalogHandle;
use crate::error::Result;
use crate::model::{FeatureSource, ParquetLocation, SourceLocation};
use crate::proto::feast::core::data_source::{FileOptions, Options, SourceType};
use crate::proto::feast::core::file_format::Format;
use crate::proto::feast::core::{DataSource, FileFormat};
use crate::source_rules::SourceRules;

/// Reads data sources, and keeps the catalogs known that they describe.
#[derive(Debug)]
pub(in crate::registry::feast) struct Sources<'a> {
    decoder: &'a Decoder,
    /// What a client may name; nothing limits the operator's own registry.
    rules: Option<&'a SourceRules>,
    catalogs: BTreeMap<String, CatalogHandle>,
}

impl<'a> Sources<'a> {
    /// Sources of the operator's registry.
    pub(in crate::registry::feast) fn trusted(decoder: &'a Decoder) -> Self {
        Self {
            decoder,
            rules: None,
            catalogs: BTreeMap::new(),
        }
    }

    /// Sources that a client describes.
    pub(in crate::registry::feast) fn sent(decoder: &'a Decoder, rules: &'a SourceRules) -> Self {
        Self {
            rules: Some(rules),
            ..Self::trusted(decoder)
        }
    }

    /// The catalogs that the sources so far describe.
    pub(in crate::registry::feast) fn into_catalogs(self) -> impl Iterator<Item = CatalogHandle> {
        self.catalogs.into_values()
    }

    /// The place and columns of a source, or of the batch source inside it.
    ///
    /// # Errors
    /// [`Error::NotAllowed`](crate::error::Error::NotAllowed) for a client's source that the rules do not allow.
    pub(in crate::registry::feast) fn feature_source(
        &mut self,
        source: &DataSource,
    ) -> Result<FeatureSource> {
        let source = batch_source(source);
        Ok(FeatureSource {
            location: self.location(source)?,
            ..columns(source)
        })
    }

    /// As [`Sources::feature_source`] for the operator's sources, which nothing forbids.
    pub(super) fn trusted_source(&mut self, source: &DataSource) -> FeatureSource {
        let source = batch_source(source);
        let location = self.location(source);
        FeatureSource {
            location: location
                .unwrap_or_else(|error| SourceLocation::Unsupported(error.to_string())),
            ..columns(source)
        }
    }

    fn location(&mut self, source: &DataSource) -> Result<SourceLocation> {
        match &source.options {
            Some(Options::FileOptions(options)) => Ok(self.decoder.files(options)),
            Some(Options::CustomOptions(options)) => self.custom(source, &options.configuration),
            None => Ok(SourceLocation::Unsupported(kind(source))),
        }
    }

    fn custom(&mut self, source: &DataSource, configuration: &[u8]) -> Result<SourceLocation> {
        let kind = kind(source);
        let declared = source.r#type() == SourceType::BatchIceberg
            || matches!(kind.as_str(), "IcebergSource" | "UnityCatalogSource");
        match iceberg::Options::parse(configuration) {
            Ok(options) => self.iceberg(&options),
            Err(fault) if declared => Ok(SourceLocation::Unsupported(format!(
                "{kind} with faulty options ({fault})"
            ))),
            Err(_) => Ok(SourceLocation::Unsupported(kind)),
        }
    }

    /// The place of an Iceberg table that a source, a saved dataset or a log destination describes.
    pub(super) fn iceberg(&mut self, options: &iceberg::Options) -> Result<SourceLocation> {
        let (location, catalog) = options.open(self.decoder, self.rules)?;
        let named = catalog.map(|handle| (handle.name.clone(), handle));
        self.catalogs.extend(named);
        Ok(location)
    }
}

impl Decoder {
    /// Parquet files by Feast's path: remote locations as they are, other paths from the repository's folder.
    pub(super) fn files(&self, options: &FileOptions) -> SourceLocation {
        let unsupported = |words: String| SourceLocation::Unsupported(words);
        if options.file_format.as_ref().is_some_and(is_delta) {
            return unsupported("FileSource in Delta format".to_owned());
        }
        let uri = match options.uri.split_once("://") {
            _ if options.uri.is_empty() => {
                return unsupported("FileSource without a path".to_owned());
            }
            Some(("s3" | "file", _)) => options.uri.clone(),
            Some((scheme, _)) => return unsupported(format!("FileSource in `{scheme}` storage")),
            None => self.repo.join(&options.uri).to_string_lossy().into_owned(),
        };
        let endpoint = &options.s3_endpoint_override;
        SourceLocation::Parquet(ParquetLocation {
            uri,
            s3_endpoint: filled(endpoint),
        })
    }
}

/// The source with the rows: a push or stream source has one inside.
fn batch_source(mut source: &DataSource) -> &DataSource {
    while let Some(inner) = &source.batch_source {
        source = inner;
    }
    source
}

/// The name of the source with the rows; one without a name goes by its path.
pub(super) fn name(source: &DataSource) -> String {
    let source = batch_source(source);
    match &source.options {
        Some(Options::FileOptions(options)) if source.name.is_empty() => options.uri.clone(),
        _ => source.name.clone(),
    }
}

/// A source's columns, without its place.
fn columns(source: &DataSource) -> FeatureSource {
    FeatureSource {
        timestamp_field: source.timestamp_field.clone(),
        created_timestamp_column: filled(&source.created_timestamp_column),
        field_mapping: source.field_mapping.clone(),
        ..nameless(SourceLocation::Unsupported(String::new()))
    }
}

/// A place whose columns have no particular meaning.
pub(super) fn nameless(location: SourceLocation) -> FeatureSource {
    FeatureSource {
        location,
        timestamp_field: String::new(),
        created_timestamp_column: None,
        field_mapping: BTreeMap::new(),
    }
}

fn filled(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

fn is_delta(format: &FileFormat) -> bool {
    matches!(format.format, Some(Format::DeltaFormat(_)))
}

/// The Python class of a source, without its modules.
fn kind(source: &DataSource) -> String {
    let class = source
        .data_source_class_type
        .rsplit('.')
        .next()
        .unwrap_or_default();
    if !class.is_empty() {
        return class.to_owned();
    }
    match source.r#type() {
        SourceType::Invalid => "source of a kind that this server does not know",
        SourceType::BatchFile => "FileSource without a path",
        SourceType::BatchBigquery => "BigQuerySource",
        SourceType::StreamKafka => "KafkaSource without a batch source",
        SourceType::StreamKinesis => "KinesisSource without a batch source",
        SourceType::BatchRedshift => "RedshiftSource",
        SourceType::CustomSource => "custom source",
        SourceType::RequestSource => "RequestSource",
        SourceType::BatchSnowflake => "SnowflakeSource",
        SourceType::PushSource => "PushSource without a batch source",
        SourceType::BatchTrino => "TrinoSource",
        SourceType::BatchSpark => "SparkSource",
        SourceType::BatchAthena => "AthenaSource",
        SourceType::BatchIceberg => "IcebergSource without options",
    }
    .to_owned()
}
