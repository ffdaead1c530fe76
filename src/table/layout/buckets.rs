//! What a table's files and an entity dataframe's rows can be divided by alike: Iceberg's buckets of a key column.

use std::collections::BTreeSet;

use arrow::array::{Array, ArrayRef, AsArray, Int32Array};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int32Type, TimeUnit};
use iceberg::spec::Transform;
use iceberg::transform::create_transform_function;

use crate::table::files::{FileEntry, FileIndex};

/// The numbers of buckets of a column that all files are partitioned into; none where there are no files.
pub fn bucket_counts(files: &FileIndex, field_id: i32) -> BTreeSet<u32> {
    let mut files = files.files.iter();
    let Some(first) = files.next() else {
        return BTreeSet::new();
    };
    let mut counts: BTreeSet<u32> = counts_of(first, field_id).collect();
    for file in files {
        counts.retain(|count| counts_of(file, field_id).any(|other| other == *count));
    }
    counts
}

fn counts_of(file: &FileEntry, field_id: i32) -> impl Iterator<Item = u32> {
    let fields = file.partition_spec.fields().iter();
    fields
        .filter(move |field| field.source_id == field_id)
        .filter_map(|field| match field.transform {
            Transform::Bucket(count) => Some(count),
            _ => None,
        })
}

/// The bucket of each value, null for null; `None` for a type that scans are not pruned by.
pub fn buckets_of(values: &ArrayRef, count: u32) -> Option<Int32Array> {
    if count == 0 {
        return None;
    }
    let hashed = cast(values, &hashed_as(values.data_type())?).ok()?;
    let transform = create_transform_function(&Transform::Bucket(count)).ok()?;
    let buckets = transform.transform(hashed).ok()?;
    buckets.as_primitive_opt::<Int32Type>().cloned()
}

/// Iceberg hashes by value, not by type.
fn hashed_as(data_type: &DataType) -> Option<DataType> {
    use DataType::{
        Binary, BinaryView, Date32, FixedSizeBinary, Int32, Int64, LargeBinary, LargeUtf8,
        Timestamp, Utf8, Utf8View,
    };
    match data_type {
        Int32 | Int64 | Date32 | Timestamp(TimeUnit::Microsecond, _) => Some(Int64),
        Utf8 | LargeUtf8 | Utf8View | Binary | LargeBinary | BinaryView | FixedSizeBinary(_) => {
            Some(LargeBinary)
        }
        _ => None,
    }
}
