//! Buckets of rows are those that files are pruned by.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, BinaryArray, Date32Array, FixedSizeBinaryArray, Float64Array, Int32Array,
    Int64Array, LargeStringArray, StringArray, StringViewArray, TimestampMicrosecondArray,
    TimestampNanosecondArray,
};
use iceberg::spec::{Literal, PrimitiveType};
use rstest::rstest;

use super::*;

#[rstest]
#[case(Arc::new(Int32Array::from(vec![Some(34), None, Some(-1)])))]
#[case(Arc::new(Int64Array::from(vec![Some(34), None, Some(i64::MIN)])))]
#[case(Arc::new(Date32Array::from(vec![Some(17_486), None, Some(-1)])))]
#[case(Arc::new(TimestampMicrosecondArray::from(vec![Some(1), None, Some(-1)]).with_timezone("UTC")))]
#[case(Arc::new(StringArray::from(vec![Some("iceberg"), None, Some("")])))]
#[case(Arc::new(LargeStringArray::from(vec![Some("iceberg"), None, Some("é")])))]
#[case(Arc::new(StringViewArray::from(vec![Some("iceberg"), None, Some("é")])))]
#[case(Arc::new(BinaryArray::from_opt_vec(vec![Some(b"abc".as_slice()), None, Some(b"".as_slice())])))]
#[case(Arc::new(FixedSizeBinaryArray::try_from_sparse_iter_with_size([Some([7_u8; 16]), None, Some([0; 16])].into_iter(), 16).unwrap()))]
fn a_rows_bucket_is_the_one_that_its_files_are_in(#[case] values: ArrayRef) {
    for count in [1, 4, 1000] {
        let buckets = buckets_of(&values, count).unwrap();
        assert!(buckets.is_null(1), "{:?}", values.data_type());
        for row in [0, 2] {
            let key = SortedKeys::try_new(&values.slice(row, 1)).unwrap();
            let hit = key.buckets(count).unwrap();
            let bucket = usize::try_from(buckets.value(row)).unwrap();
            assert!(hit[bucket], "row {row} of {:?}", values.data_type());
        }
    }
}

/// Iceberg's specification gives these hashes.
#[test]
fn buckets_are_icebergs() {
    let ints: ArrayRef = Arc::new(Int32Array::from(vec![34]));
    let texts: ArrayRef = Arc::new(StringArray::from(vec!["iceberg"]));
    let count = 1_000_000;
    let bucket = |values| buckets_of(values, count).unwrap().value(0);
    assert_eq!(bucket(&ints), 2_017_239_379 % 1_000_000);
    assert_eq!(bucket(&texts), 1_210_000_089 % 1_000_000);
}

#[rstest]
#[case(Arc::new(Float64Array::from(vec![1.0])), 4)]
#[case(Arc::new(TimestampNanosecondArray::from(vec![1])), 4)]
#[case(Arc::new(Int64Array::from(vec![1])), 0)]
fn what_is_not_pruned_by_has_no_buckets(#[case] values: ArrayRef, #[case] count: u32) {
    assert!(buckets_of(&values, count).is_none());
}

#[test]
fn only_buckets_that_every_file_is_in_count() {
    let schema = schema(PrimitiveType::Long);
    let file = |transform| Arc::new(file(&schema, transform, Some(Literal::int(0)), &[]));
    let counts = |transforms: &[Transform], field_id| {
        let files = FileIndex::new(transforms.iter().map(|transform| file(*transform)));
        bucket_counts(&files, field_id)
            .into_iter()
            .collect::<Vec<_>>()
    };
    let (four, eight) = (Transform::Bucket(4), Transform::Bucket(8));
    assert_eq!(counts(&[four, four], KEY), [4]);
    assert_eq!(counts(&[four], TIME), [0; 0]);
    assert_eq!(counts(&[four, eight], KEY), [0; 0]);
    assert_eq!(counts(&[four, Transform::Identity], KEY), [0; 0]);
    assert_eq!(counts(&[], KEY), [0; 0]);
}

#[test]
fn of_a_file_only_the_keys_of_its_bucket_matter() {
    let texts: Vec<String> = (0..500).map(|key| format!("key {key}")).collect();
    let columns: [ArrayRef; 2] = [
        Arc::new(Int64Array::from_iter_values(-50..450)),
        Arc::new(StringArray::from_iter_values(&texts)),
    ];
    for (column, kind) in columns
        .iter()
        .zip([PrimitiveType::Long, PrimitiveType::String])
    {
        let filter = key_filter(column);
        let all = buckets_of(column, 8).unwrap();
        let keys = KeysByBucket::default();
        for bucket in 0..8 {
            let schema = schema(kind.clone());
            let file = file(
                &schema,
                Transform::Bucket(8),
                Some(Literal::int(bucket)),
                &[],
            );
            let narrowed = keys.narrow(&filter, &file);
            let mine = arrow::compute::filter(
                column,
                &all.iter().map(|of| Some(of == Some(bucket))).collect(),
            );
            let expected = SortedKeys::try_new(&mine.unwrap()).unwrap();
            assert_eq!(narrowed.keys[0].values, expected);
            assert!(!expected.is_empty() && expected.len() < 200);
        }
    }
}

#[test]
fn keys_are_not_narrowed_where_files_have_no_bucket_of_them() {
    let column: ArrayRef = Arc::new(Int64Array::from_iter_values(0..10));
    let filter = key_filter(&column);
    let schema = schema(PrimitiveType::Long);
    for (transform, value) in [
        (Transform::Identity, Some(Literal::long(3))),
        (Transform::Bucket(4), None),
    ] {
        let file = file(&schema, transform, value, &[]);
        let narrowed = KeysByBucket::default().narrow(&filter, &file);
        assert_eq!(narrowed.keys[0].values, filter.keys[0].values);
    }
}
