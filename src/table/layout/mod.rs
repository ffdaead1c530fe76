//! How a table's rows are laid out in files, and therefore which files a scan can leave out. Pure functions: no I/O.

use iceberg::spec::{
    NullOrder, Schema, SortDirection, SortField, SortOrder, Transform, UnboundPartitionSpec,
};

use crate::error::{Error, Result};
use crate::model::TimeWindow;

mod buckets;
mod keys;
mod narrow;
mod prune;
#[cfg(test)]
mod tests;

pub use buckets::{bucket_counts, buckets_of};
pub use keys::SortedKeys;
pub use narrow::KeysByBucket;
pub use prune::prune;

/// What a scan may leave out. The default leaves out nothing; a filter never promises that only matching rows come.
#[derive(Clone, Debug, Default)]
pub struct ScanFilter {
    /// Field id of the event timestamp, and the instants that matter. A row without a timestamp matters only if the
    /// window is unbounded.
    pub timestamp: Option<(i32, TimeWindow)>,
    /// One per join key column: a row matters only if each of its key columns is in the column's set.
    pub keys: Vec<KeyFilter>,
}

/// The values of one join key column that matter.
#[derive(Clone, Debug)]
pub struct KeyFilter {
    /// Field id of the column.
    pub field_id: i32,
    /// The values.
    pub values: SortedKeys,
}

/// One field of a table's partition spec.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PartitionBy {
    /// By hash of a key column.
    Bucket {
        /// Column name.
        column: String,
        /// Number of buckets.
        buckets: u32,
    },
    /// By day of a timestamp or date column.
    Day {
        /// Column name.
        column: String,
    },
    /// By hour of a timestamp column.
    Hour {
        /// Column name.
        column: String,
    },
}

impl PartitionBy {
    fn column(&self) -> &str {
        match self {
            Self::Bucket { column, .. } | Self::Day { column } | Self::Hour { column } => column,
        }
    }

    fn transform(&self) -> Transform {
        match self {
            Self::Bucket { buckets, .. } => Transform::Bucket(*buckets),
            Self::Day { .. } => Transform::Day,
            Self::Hour { .. } => Transform::Hour,
        }
    }

    fn field_name(&self) -> String {
        match self {
            Self::Bucket { column, .. } => format!("{column}_bucket"),
            Self::Day { column } => format!("{column}_day"),
            Self::Hour { column } => format!("{column}_hour"),
        }
    }
}

/// The partition spec of a new table; no fields is unpartitioned.
///
/// # Errors
/// [`Error::InvalidRequest`] if the schema has no such column or a field repeats.
pub fn partition_spec(schema: &Schema, fields: &[PartitionBy]) -> Result<UnboundPartitionSpec> {
    let mut spec = UnboundPartitionSpec::builder();
    for field in fields {
        spec = spec
            .add_partition_field(
                field_id(schema, field.column())?,
                field.field_name(),
                field.transform(),
            )
            .map_err(|error| Error::invalid("partition_by", error.message()))?;
    }
    Ok(spec.build())
}

/// The sort order of a new table: ascending by these columns, nulls first.
///
/// # Errors
/// [`Error::InvalidRequest`] if the schema has no such column.
pub fn sort_order(schema: &Schema, columns: &[String]) -> Result<SortOrder> {
    let mut order = SortOrder::builder();
    for column in columns {
        order.with_sort_field(SortField {
            source_id: field_id(schema, column)?,
            transform: Transform::Identity,
            direction: SortDirection::Ascending,
            null_order: NullOrder::First,
        });
    }
    order
        .build(schema)
        .map_err(Error::iceberg("build sort order"))
}

fn field_id(schema: &Schema, column: &str) -> Result<i32> {
    let unknown = || Error::invalid("column", format!("the schema has no column `{column}`"));
    schema.field_id_by_name(column).ok_or_else(unknown)
}
