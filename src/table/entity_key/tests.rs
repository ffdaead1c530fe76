//! Entity keys against bytes that Feast itself made, and buckets against Iceberg's transform.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, AsArray, Int32Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use arrow::datatypes::{Field, Int32Type, Schema};
use iceberg::spec::Transform;
use iceberg::transform::create_transform_function;
use proptest::prelude::*;

use super::*;

fn key(name: &str, key_type: KeyType) -> KeyField {
    KeyField {
        name: name.to_owned(),
        key_type,
    }
}

fn batch(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
    let fields: Vec<Field> = columns
        .iter()
        .map(|(name, column)| Field::new(*name, column.data_type().clone(), true))
        .collect();
    let columns = columns.into_iter().map(|(_, column)| column).collect();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap()
}

/// The entity keys of a batch that has the join key columns.
fn entity_keys(
    encoder: &KeyEncoder,
    join_keys: &[KeyField],
    batch: &RecordBatch,
) -> Result<BinaryArray> {
    let columns: Vec<(&str, ArrayRef)> = join_keys
        .iter()
        .map(|key| {
            let column = batch.column_by_name(&key.name);
            let column = column.ok_or_else(|| Error::SchemaMismatch {
                column: key.name.clone(),
                expected: format!("a join key of type {}", key.key_type.name()),
                found: "no column".to_owned(),
            })?;
            Ok((key.name.as_str(), key_column(key, column)?))
        })
        .collect::<Result<_>>()?;
    encoder.encode(batch.num_rows(), |name| {
        columns
            .iter()
            .find(|(known, _)| *known == name)
            .map(|(_, column)| column)
    })
}

fn encoded(keys: &[KeyField], batch: &RecordBatch) -> BinaryArray {
    entity_keys(&KeyEncoder::new(keys), keys, batch).unwrap()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn one_long_key_is_as_feast_writes_it() {
    let keys = [key("driver_id", KeyType::Int64)];
    let rows = batch(vec![("driver_id", Arc::new(Int64Array::from(vec![1001])))]);
    // feast.infra.key_encoding_utils.serialize_entity_key(..., entity_key_serialization_version=3)
    let expected = "0100000002000000090000006472697665725f69640400000008000000e903000000000000";
    assert_eq!(hex(encoded(&keys, &rows).value(0)), expected);
}

#[test]
fn keys_are_sorted_by_name() {
    let keys = [key("b", KeyType::Int32), key("a", KeyType::String)];
    let rows = batch(vec![
        ("b", Arc::new(Int32Array::from(vec![5]))),
        ("a", Arc::new(StringArray::from(vec!["x"]))),
    ]);
    let expected = "0200000002000000010000006102000000010000006202000000010000007803000000040000000500\
                    0000";
    assert_eq!(hex(encoded(&keys, &rows).value(0)), expected);
}

#[test]
fn no_keys_are_feasts_dummy() {
    let rows = batch(vec![("x", Arc::new(Int32Array::from(vec![1, 2])))]);
    let keys = encoded(&[], &rows);
    let expected = "01000000020000000a0000005f5f64756d6d795f69640200000000000000";
    assert_eq!(hex(keys.value(0)), expected);
    assert_eq!(keys.value(0), keys.value(1));
}

#[test]
fn nulls_and_values_that_do_not_fit_have_no_key() {
    let keys = [key("k", KeyType::Int32)];
    let values = Int64Array::from(vec![Some(1), None, Some(1 << 40)]);
    let encoded = encoded(&keys, &batch(vec![("k", Arc::new(values))]));
    assert_eq!(
        (0..3).map(|row| encoded.is_null(row)).collect::<Vec<_>>(),
        [false, true, true]
    );
}

#[test]
fn timestamps_are_seconds_in_any_zone() {
    let keys = [key("at", KeyType::UnixTimestamp)];
    let micros = TimestampMicrosecondArray::from(vec![1_500_000]).with_timezone("+02:00");
    let encoded = encoded(&keys, &batch(vec![("at", Arc::new(micros))]));
    assert!(hex(encoded.value(0)).ends_with("08000000080000000100000000000000"));
}

#[test]
fn another_kind_is_refused_by_name() {
    let keys = [key("k", KeyType::Int64)];
    let rows = batch(vec![("k", Arc::new(StringArray::from(vec!["1"])))]);
    let error = entity_keys(&KeyEncoder::new(&keys), &keys, &rows).unwrap_err();
    assert_eq!(
        error.to_string(),
        "column `k`: expected Int64, a join key of type INT64, found Utf8"
    );
}

proptest! {
    #[test]
    fn buckets_are_icebergs(bytes in prop::collection::vec(any::<u8>(), 0..64), buckets in 1_u32..1000) {
        let array: ArrayRef = Arc::new(BinaryArray::from(vec![bytes.as_slice()]));
        let transform = create_transform_function(&Transform::Bucket(buckets)).unwrap();
        let large = arrow::compute::cast(&array, &DataType::LargeBinary).unwrap();
        let expected = transform.transform(large).unwrap();
        let expected = expected.as_primitive::<Int32Type>().value(0);
        prop_assert_eq!(i64::from(bucket_of(&bytes, buckets)), i64::from(expected));
    }
}
