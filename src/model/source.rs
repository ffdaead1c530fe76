//! Where a feature view's rows come from. How they are read is `table`'s business.

use std::collections::BTreeMap;

use super::TableName;

/// The place that holds the rows; a closed set.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum SourceLocation {
    /// An Iceberg table.
    Iceberg(TableName),
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
