//! A ledger as a Parquet file among the table's data: stores that know Iceberg's layout take no other files.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::Int64Type;
use arrow::error::ArrowError;
use bytes::Bytes;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use super::{Entry, Ledger};

const KEY: &str = "key";
const SNAPSHOT_ID: &str = "snapshot_id";
const SEQUENCE_NUMBER: &str = "sequence_number";
const ROWS: &str = "rows";
const COMMITTED_AT: &str = "committed_at_ms";

type Column = (&'static str, ArrayRef);

/// A row for each key, in order.
pub(super) fn encode(ledger: &Ledger) -> Result<Vec<u8>, ArrowError> {
    let rows = RecordBatch::try_from_iter(columns(ledger))?;
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut bytes, rows.schema(), None)?;
    writer.write(&rows)?;
    writer.close()?;
    Ok(bytes)
}

fn columns(ledger: &Ledger) -> [Column; 5] {
    let numbers = |name, of: fn(&Entry) -> i64| -> Column {
        let numbers = Int64Array::from_iter_values(ledger.keys.values().map(of));
        (name, Arc::new(numbers))
    };
    let keys = StringArray::from_iter_values(ledger.keys.keys());
    [
        (KEY, Arc::new(keys)),
        numbers(SNAPSHOT_ID, |entry| entry.snapshot_id),
        numbers(SEQUENCE_NUMBER, |entry| entry.sequence_number),
        numbers(ROWS, |entry| i64::try_from(entry.rows).unwrap_or(i64::MAX)),
        numbers(COMMITTED_AT, |entry| entry.committed_at_ms),
    ]
}

pub(super) fn decode(bytes: Bytes) -> Result<Ledger, ArrowError> {
    let mut keys = BTreeMap::new();
    for batch in ParquetRecordBatchReaderBuilder::try_new(bytes)?.build()? {
        read(&batch?, &mut keys)?;
    }
    Ok(Ledger { keys })
}

fn read(batch: &RecordBatch, keys: &mut BTreeMap<String, Entry>) -> Result<(), ArrowError> {
    let column = |name: &str| {
        let missing = || ArrowError::SchemaError(format!("it has no column `{name}`"));
        batch.column_by_name(name).ok_or_else(missing)
    };
    let number = |name: &str| {
        let found = column(name)?.as_primitive_opt::<Int64Type>();
        found.ok_or_else(|| ArrowError::SchemaError(format!("column `{name}` has no numbers")))
    };
    let texts = column(KEY)?.as_string_opt::<i32>();
    let texts = texts.ok_or_else(|| ArrowError::SchemaError("the keys are no texts".to_owned()))?;
    let (snapshots, sequences) = (number(SNAPSHOT_ID)?, number(SEQUENCE_NUMBER)?);
    let (rows, times) = (number(ROWS)?, number(COMMITTED_AT)?);
    for row in 0..batch.num_rows() {
        let entry = Entry {
            snapshot_id: snapshots.value(row),
            sequence_number: sequences.value(row),
            rows: u64::try_from(rows.value(row)).unwrap_or_default(),
            committed_at_ms: times.value(row),
        };
        keys.insert(texts.value(row).to_owned(), entry);
    }
    Ok(())
}
