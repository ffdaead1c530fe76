//! How much memory columns take, for decisions that are made before they are read.

use arrow::datatypes::DataType;

/// What a string or another value of no fixed width is taken for.
const UNKNOWN_BYTES: u64 = 24;
/// Elements that a list or map is taken to have.
const LIST_ELEMENTS: u64 = 16;

/// About how many bytes a value of this type takes in memory.
pub fn value_bytes(data_type: &DataType) -> u64 {
    match data_type {
        DataType::Struct(fields) => fields
            .iter()
            .map(|field| value_bytes(field.data_type()))
            .sum(),
        DataType::List(element) | DataType::Map(element, _) => {
            LIST_ELEMENTS * value_bytes(element.data_type())
        }
        DataType::FixedSizeBinary(bytes) => u64::try_from(*bytes).unwrap_or(0),
        other => other
            .primitive_width()
            .map_or(UNKNOWN_BYTES, |bytes| bytes as u64),
    }
}
