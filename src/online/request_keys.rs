//! Keys that a request brings as JSON become columns of the join keys' types.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryArray, Int32Array, Int64Array, RecordBatch, RecordBatchOptions, StringArray,
    TimestampSecondArray,
};
use arrow::datatypes::{Field, Schema};

use super::plan::ReadPlan;
use crate::error::{Error, Result};
use crate::model::{KeyType, KeyValue};

/// The batch of keys of a request that has them as lists. A column that no view joins on is a number if all its values
/// are, else a text.
///
/// # Errors
/// [`Error::InvalidRequest`] for columns of different lengths or a value that is no key of the column's type.
pub fn key_batch(plan: &ReadPlan, columns: &[(String, Vec<KeyValue>)]) -> Result<RecordBatch> {
    let rows = columns.first().map_or(1, |(_, values)| values.len());
    let mut fields = Vec::with_capacity(columns.len());
    let mut arrays: Vec<ArrayRef> = Vec::with_capacity(columns.len());
    for (name, values) in columns {
        if values.len() != rows {
            let message = format!(
                "expected {rows} values as in the first column, found {}",
                values.len()
            );
            return Err(Error::invalid(field_of(name), message));
        }
        let array = array(name, type_of(plan, name, values), values)?;
        fields.push(Field::new(name, array.data_type().clone(), true));
        arrays.push(array);
    }
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), arrays, &options)
        .map_err(Error::arrow("read entity keys"))
}

fn field_of(column: &str) -> String {
    format!("online.entity_keys.{column}")
}

fn type_of(plan: &ReadPlan, column: &str, values: &[KeyValue]) -> KeyType {
    let keys = plan.views.iter().flat_map(|view| &view.keys);
    let declared: Vec<KeyType> = keys
        .filter(|(_, own)| own == column)
        .map(|(key, _)| key.key_type)
        .collect();
    // Views may join on one column as numbers of several widths; each takes from the widest what it can.
    if declared.contains(&KeyType::Int64) && declared.contains(&KeyType::Int32) {
        return KeyType::Int64;
    }
    let text = values
        .iter()
        .any(|value| matches!(value, KeyValue::Text(_)));
    declared.first().copied().unwrap_or(if text {
        KeyType::String
    } else {
        KeyType::Int64
    })
}

fn array(name: &str, key_type: KeyType, values: &[KeyValue]) -> Result<ArrayRef> {
    let whole = || -> Result<Vec<Option<i64>>> {
        let values = values.iter().enumerate();
        values.map(|(row, value)| int(name, row, value)).collect()
    };
    Ok(match key_type {
        KeyType::String => Arc::new(StringArray::from(texts(values))),
        KeyType::Bytes => {
            let texts = texts(values);
            let bytes = texts.iter().map(|text| text.as_ref().map(String::as_bytes));
            Arc::new(BinaryArray::from_iter(bytes))
        }
        KeyType::Int64 => Arc::new(Int64Array::from(whole()?)),
        KeyType::UnixTimestamp => Arc::new(TimestampSecondArray::from(whole()?)),
        // Beyond 32 bits there is no such key.
        KeyType::Int32 => {
            let narrow = |value: Option<i64>| value.and_then(|value| i32::try_from(value).ok());
            Arc::new(Int32Array::from_iter(whole()?.into_iter().map(narrow)))
        }
    })
}

fn int(name: &str, row: usize, value: &KeyValue) -> Result<Option<i64>> {
    match value {
        KeyValue::Null => Ok(None),
        KeyValue::Int(value) => Ok(Some(*value)),
        KeyValue::Text(text) => text.trim().parse().map(Some).map_err(|_| {
            let message = format!("expected a whole number, found `{text}`");
            Error::invalid(format!("{}[{row}]", field_of(name)), message)
        }),
    }
}

fn texts(values: &[KeyValue]) -> Vec<Option<String>> {
    let text = |value: &KeyValue| match value {
        KeyValue::Null => None,
        KeyValue::Int(value) => Some(value.to_string()),
        KeyValue::Text(text) => Some(text.clone()),
    };
    values.iter().map(text).collect()
}
