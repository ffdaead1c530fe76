//! Types that become others, and types of new tables.

use arrow::array::{
    Array, AsArray, BinaryArray, BooleanArray, Date32Array, Decimal128Array, DictionaryArray,
    FixedSizeListArray, Float32Array, Int8Array, LargeStringArray, ListArray, MapBuilder,
    NullArray, StringBuilder, StructArray, UInt64Array,
};
use arrow::datatypes::{Float32Type, Int32Type, Int64Type, TimestampMicrosecondType};
use rstest::rstest;

use super::super::fit::fit;
use super::super::storable::storable;
use super::*;

fn micros() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("+00:00".into()))
}

#[rstest]
#[case(Arc::new(Int64Array::from(vec![Some(5), None])), DataType::Int8, true)]
#[case(Arc::new(Int64Array::from(vec![300])), DataType::Int8, false)]
#[case(Arc::new(UInt64Array::from(vec![u64::MAX])), DataType::Int64, false)]
#[case(Arc::new(Float64Array::from(vec![Some(5.0), None])), DataType::Int64, true)]
#[case(Arc::new(Float64Array::from(vec![5.5])), DataType::Int64, false)]
#[case(Arc::new(Float64Array::from(vec![f64::NAN])), DataType::Int64, false)]
#[case(Arc::new(Float64Array::from(vec![0.1, f64::NAN, f64::INFINITY])), DataType::Float32, true)]
#[case(Arc::new(Float64Array::from(vec![1e300])), DataType::Float32, false)]
#[case(Arc::new(Int64Array::from(vec![(1 << 53) + 1])), DataType::Float64, false)]
#[case(Arc::new(Int64Array::from(vec![1 << 53])), DataType::Float64, true)]
#[case(Arc::new(LargeStringArray::from(vec!["x"])), DataType::Utf8, true)]
#[case(Arc::new(StringArray::from(vec!["1"])), DataType::Int64, false)]
#[case(Arc::new(Int64Array::from(vec![1])), DataType::Utf8, false)]
#[case(Arc::new(Int64Array::from(vec![1])), micros(), false)]
#[case(Arc::new(BooleanArray::from(vec![true])), DataType::Int32, false)]
#[case(Arc::new(NullArray::new(3)), DataType::Date32, true)]
#[case(Arc::new(NullArray::new(3)), DataType::Utf8, true)]
fn values_fit_or_are_refused(
    #[case] values: ArrayRef,
    #[case] target: DataType,
    #[case] fits: bool,
) {
    match fit("c", &values, &target) {
        Ok(fitted) => {
            assert!(fits, "{fitted:?}");
            assert_eq!(fitted.data_type(), &target);
            assert_eq!(fitted.logical_null_count(), values.logical_null_count());
        }
        Err(error) => assert!(
            !fits && matches!(&error, Error::SchemaMismatch { column, .. } if column == "c"),
            "{error}"
        ),
    }
}

#[test]
fn timestamps_keep_their_instant() {
    let zoned = TimestampNanosecondArray::from(vec![3_600_000_000_999]).with_timezone("+02:00");
    let naive = TimestampNanosecondArray::from(vec![3_600_000_000_999]);
    for values in [Arc::new(zoned) as ArrayRef, Arc::new(naive)] {
        for target in [micros(), DataType::Timestamp(TimeUnit::Microsecond, None)] {
            let fitted = fit("t", &values, &target).unwrap();
            assert_eq!(fitted.data_type(), &target);
            let fitted = fitted.as_primitive::<TimestampMicrosecondType>();
            assert_eq!(fitted.value(0), 3_600_000_000);
        }
    }
    let far: ArrayRef = Arc::new(TimestampMicrosecondArray::from(vec![i64::MAX]));
    let nanos = DataType::Timestamp(TimeUnit::Nanosecond, None);
    fit("t", &far, &nanos).unwrap_err();
}

/// One column of each kind that clients send.
fn kinds() -> RecordBatch {
    let list = |items| ListArray::from_iter_primitive::<Int64Type, _, _>(items);
    let fixed = FixedSizeListArray::from_iter_primitive::<Float32Type, _, _>(
        [Some([Some(1.0), Some(2.0)]), None],
        2,
    );
    let item = Arc::new(Field::new("a", DataType::Int8, true));
    let nested: ArrayRef = Arc::new(Int8Array::from(vec![1, 2]));
    let mut map = MapBuilder::new(None, StringBuilder::new(), StringBuilder::new());
    map.keys().append_value("k");
    map.values().append_value("v");
    map.append(true).unwrap();
    map.append(true).unwrap();
    let words: DictionaryArray<Int32Type> = ["x", "y"].into_iter().collect();
    batch(vec![
        ("small", Arc::new(Int8Array::from(vec![1, -2]))),
        ("unsigned", Arc::new(UInt64Array::from(vec![1, 2]))),
        ("float", Arc::new(Float32Array::from(vec![0.5, 1.5]))),
        ("flag", Arc::new(BooleanArray::from(vec![true, false]))),
        ("word", Arc::new(words)),
        ("large", Arc::new(LargeStringArray::from(vec!["p", "q"]))),
        ("bytes", Arc::new(BinaryArray::from_vec(vec![b"a", b"b"]))),
        ("day", Arc::new(Date32Array::from(vec![1, 2]))),
        (
            "price",
            Arc::new(
                Decimal128Array::from(vec![100, 250])
                    .with_precision_and_scale(9, 2)
                    .unwrap(),
            ),
        ),
        (
            "naive",
            Arc::new(TimestampNanosecondArray::from(vec![1_999, 2_000])),
        ),
        (
            "zoned",
            Arc::new(TimestampNanosecondArray::from(vec![1_999, 2_000]).with_timezone("UTC")),
        ),
        ("nothing", Arc::new(NullArray::new(2))),
        ("list", Arc::new(list([Some(vec![Some(1), None]), None]))),
        ("fixed", Arc::new(fixed)),
        ("struct", Arc::new(StructArray::from(vec![(item, nested)]))),
        ("map", Arc::new(map.finish())),
    ])
}

#[tokio::test]
async fn every_kind_of_column_comes_back() {
    let fixture = Fixture::new().await;
    let name = TableName::parse("default", "saved.kinds").unwrap();
    let place = SourceLocation::Iceberg(name.clone());
    let saved = fixture.ingest.save(&place, false, rows_of(vec![kinds()]));
    assert_eq!(saved.await.unwrap(), 2);
    let types = fixture.tables.column_types(&place).await.unwrap();
    let types: Vec<String> = types
        .into_iter()
        .map(|(name, kind)| format!("{name}: {kind}"))
        .collect();
    insta::assert_snapshot!(types.join("\n"));

    let mut again = source(place.clone());
    again.field_mapping.clear();
    let more = fixture
        .ingest
        .append("kinds", &again, rows_of(vec![kinds()]));
    assert_eq!(more.await.unwrap(), 2);
    let rows = fixture.rows(&name).await;
    assert_eq!(integers(&rows, "small"), [-2, -2, 1, 1]);
    assert_eq!(integers(&rows, "naive"), [1, 1, 2, 2]);
    assert_eq!(integers(&rows, "zoned"), [1, 1, 2, 2]);
    for batch in &rows {
        assert_eq!(batch.column_by_name("word").unwrap().null_count(), 0);
        let lists = batch.column_by_name("list").unwrap();
        assert_eq!(lists.null_count(), batch.num_rows() / 2);
        let maps = batch.column_by_name("map").unwrap().as_map();
        assert_eq!(maps.keys().as_string::<i32>().value(0), "k");
    }
}

#[test]
fn types_without_counterpart_are_refused_by_column() {
    let field = |name: &str, kind| Field::new(name, kind, true);
    let schema = Schema::new(vec![
        field("fine", DataType::Int32),
        field("took", DataType::Duration(TimeUnit::Second)),
    ]);
    let error = storable(&schema).unwrap_err();
    assert_eq!(
        error.to_string(),
        "column `took`: expected a type that Iceberg tables have, found Duration(s)"
    );
    let twice = Schema::new(vec![
        field("a", DataType::Int32),
        field("a", DataType::Utf8),
    ]);
    assert!(matches!(
        storable(&twice).unwrap_err(),
        Error::ColumnCollision { .. }
    ));
}
