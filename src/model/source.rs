//! Where a feature view's rows come from. How they are read is `table`'s business.

use std::collections::BTreeMap;

use super::TableName;

/// The place that holds the rows; a closed set.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum SourceLocation {
    /// An Iceberg table.
    Iceberg(TableName),
    /// Parquet files outside of any table.
    Parquet(ParquetLocation),
    /// A kind of source that definitions may name and this server cannot read, in their words.
    Unsupported(String),
}

/// One Parquet file, or a folder of them whose files have the same columns.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ParquetLocation {
    /// An absolute path, `file:///path` or `s3://bucket/key`.
    pub uri: String,
    /// Where the bucket is, if not where the environment says.
    pub s3_endpoint: Option<String>,
}

impl SourceLocation {
    /// What pins, reports and messages call it: Parquet files are a table of the catalog `parquet` named by their uri.
    pub fn table_name(&self) -> TableName {
        let of = |catalog: &str, name: &str| TableName {
            catalog: catalog.to_owned(),
            namespace: Vec::new(),
            name: name.to_owned(),
        };
        match self {
            Self::Iceberg(name) => name.clone(),
            Self::Parquet(files) => of("parquet", &files.uri),
            Self::Unsupported(kind) => of("unsupported", kind),
        }
    }
}

/// A place, and the meaning of its columns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FeatureSource {
    /// The place.
    pub location: SourceLocation,
    /// Event timestamp column, by the name after `field_mapping` or, where no such name exists, in the source.
    pub timestamp_field: String,
    /// Column that breaks ties between rows of one event time; the later wins.
    pub created_timestamp_column: Option<String>,
    /// Source column name to feature or join key name. Entries for absent columns are ignored.
    pub field_mapping: BTreeMap<String, String>,
}

impl FeatureSource {
    /// The feature-side name of a source column.
    pub fn mapped_name<'a>(&'a self, source_column: &'a str) -> &'a str {
        self.field_mapping
            .get(source_column)
            .map_or(source_column, String::as_str)
    }
}
