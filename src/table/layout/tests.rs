use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, BinaryArray, Date32Array, Decimal128Array, FixedSizeBinaryArray, Int32Array,
    Int64Array, LargeStringArray, StringArray, StringViewArray, TimestampMicrosecondArray,
    TimestampNanosecondArray,
};
use iceberg::spec::{Datum, Literal, NestedField, PartitionSpec, PrimitiveType, Struct, Type};
use iceberg::transform::create_transform_function;
use proptest::prelude::*;
use uuid::Uuid;

use super::*;
use crate::model::Pruned;
use crate::table::files::{FileEntry, FileIndex};

const KEY: i32 = 1;
const TIME: i32 = 2;
const DAY_US: i64 = 86_400_000_000;

fn ints(keys: &SortedKeys) -> &[i64] {
    let SortedKeys::Int(keys) = keys else {
        panic!("not integers")
    };
    keys
}

fn key_filter(array: &dyn Array) -> ScanFilter {
    let values = SortedKeys::try_new(array).unwrap();
    ScanFilter {
        timestamp: None,
        keys: vec![KeyFilter {
            field_id: KEY,
            values,
        }],
    }
}

fn window(start_us: Option<i64>, end_us: Option<i64>) -> ScanFilter {
    ScanFilter {
        timestamp: Some((TIME, TimeWindow { start_us, end_us })),
        keys: vec![],
    }
}

/// A file with one key partition value and these bounds.
fn file(
    schema: &Schema,
    transform: Transform,
    value: Option<Literal>,
    bounds: &[(i32, Datum, Datum)],
) -> FileEntry {
    let spec = PartitionSpec::builder(schema.clone())
        .add_partition_field("key", "part", transform)
        .unwrap();
    FileEntry {
        path: "f".to_owned(),
        size_bytes: 1,
        record_count: 1,
        partition_spec: Arc::new(spec.build().unwrap()),
        partition: Struct::from_iter([value]),
        lower_bounds: bounds
            .iter()
            .map(|(id, lower, _)| (*id, lower.clone()))
            .collect(),
        upper_bounds: bounds
            .iter()
            .map(|(id, _, upper)| (*id, upper.clone()))
            .collect(),
        sequence_number: 1,
        deletes: vec![],
    }
}

fn schema(key: PrimitiveType) -> Schema {
    let fields = vec![
        NestedField::optional(KEY, "key", Type::Primitive(key)).into(),
        NestedField::optional(TIME, "time", Type::Primitive(PrimitiveType::Timestamptz)).into(),
    ];
    Schema::builder().with_fields(fields).build().unwrap()
}

fn pruned(file: FileEntry, filter: &ScanFilter) -> Pruned {
    prune(&FileIndex::new([Arc::new(file)]), filter).1
}

/// A file without partition value whose column has these bounds.
fn bounded(id: i32, lower: Datum, upper: Datum) -> FileEntry {
    file(
        &schema(PrimitiveType::Long),
        Transform::Void,
        None,
        &[(id, lower, upper)],
    )
}

#[test]
fn keys_are_distinct_sorted_and_without_nulls() {
    let longs = Int64Array::from(vec![Some(5), None, Some(-1), Some(5)]);
    assert_eq!(ints(&SortedKeys::try_new(&longs).unwrap()), [-1, 5]);
    let more = Int64Array::from(vec![7, -1]);
    assert_eq!(
        ints(&SortedKeys::from_chunks(&[&longs, &more]).unwrap()),
        [-1, 5, 7]
    );
    assert_eq!(
        ints(&SortedKeys::try_new(&Int32Array::from(vec![3, 1])).unwrap()),
        [1, 3]
    );
    assert_eq!(
        ints(&SortedKeys::try_new(&Date32Array::from(vec![3, 1])).unwrap()),
        [1, 3]
    );
    assert_eq!(
        ints(&SortedKeys::try_new(&TimestampMicrosecondArray::from(vec![3, 1])).unwrap()),
        [1, 3]
    );
    assert!(
        SortedKeys::try_new(&Int64Array::from(vec![None]))
            .unwrap()
            .is_empty()
    );
}

#[test]
fn texts_sort_by_bytes_whatever_their_array() {
    let expected = SortedKeys::Bytes(
        [b"A".as_slice(), b"z", "ä".as_bytes()]
            .map(Box::from)
            .into(),
    );
    let texts = vec![Some("ä"), Some("z"), None, Some("A"), Some("z")];
    let arrays: [ArrayRef; 4] = [
        Arc::new(StringArray::from(texts.clone())),
        Arc::new(LargeStringArray::from(texts.clone())),
        Arc::new(StringViewArray::from(texts.clone())),
        Arc::new(BinaryArray::from_iter(texts)),
    ];
    for array in arrays {
        assert_eq!(SortedKeys::try_new(&array).unwrap(), expected);
    }
}

#[test]
fn types_with_another_order_or_unit_are_not_pruned_by() {
    assert!(SortedKeys::try_new(&Decimal128Array::from(vec![1])).is_none());
    assert!(SortedKeys::try_new(&TimestampNanosecondArray::from(vec![1])).is_none());
    assert!(SortedKeys::from_chunks(&[]).is_none());
}

#[test]
fn ranges_are_inclusive() {
    let keys = SortedKeys::try_new(&Int64Array::from(vec![10, 20])).unwrap();
    for (min, max, hit) in [
        (1, 9, false),
        (1, 10, true),
        (10, 10, true),
        (11, 19, false),
        (20, 30, true),
        (21, 30, false),
    ] {
        assert_eq!(keys.any_in_ints(min, max), hit, "{min}..={max}");
    }
    let texts = SortedKeys::try_new(&StringArray::from(vec!["b", "d"])).unwrap();
    for (min, max, hit) in [
        ("a", Some("az"), false),
        ("a", Some("b"), true),
        ("c", Some("cz"), false),
        ("d", None, true),
        ("e", None, false),
    ] {
        assert_eq!(
            texts.any_in_bytes(min.as_bytes(), max.map(str::as_bytes)),
            hit,
            "{min}..={max:?}"
        );
    }
    assert!(
        texts.any_in_bytes(b"", None)
            && texts.any_in_ints(0, 0)
            && keys.any_in_bytes(b"x", Some(b"x"))
    );
}

/// Hash values of the specification's appendix B, which every writer must agree with.
#[test]
fn buckets_are_those_of_the_specification() {
    let timestamp = 1_510_871_468_000_000;
    let uuid = Uuid::parse_str("f79c3e09-677c-4bbd-a479-3f349cb785e7").unwrap();
    let uuids = FixedSizeBinaryArray::try_from_iter([uuid.as_bytes()].into_iter()).unwrap();
    let cases: [(ArrayRef, i32); 7] = [
        (Arc::new(Int32Array::from(vec![34])), 2_017_239_379),
        (Arc::new(Int64Array::from(vec![34])), 2_017_239_379),
        (Arc::new(Date32Array::from(vec![17_486])), -653_330_422),
        (
            Arc::new(TimestampMicrosecondArray::from(vec![timestamp])),
            -2_047_944_441,
        ),
        (Arc::new(StringArray::from(vec!["iceberg"])), 1_210_000_089),
        (Arc::new(uuids), 1_488_055_340),
        (
            Arc::new(BinaryArray::from_iter_values([[0u8, 1, 2, 3]])),
            -188_683_207,
        ),
    ];
    for (array, hash) in cases {
        let hit = SortedKeys::try_new(&array).unwrap().buckets(997).unwrap();
        let expected = usize::try_from((hash & i32::MAX) % 997).unwrap();
        assert_eq!(
            hit.iter().position(|hit| *hit),
            Some(expected),
            "{:?}",
            array.data_type()
        );
        assert_eq!(hit.iter().filter(|hit| **hit).count(), 1);
    }
}

#[test]
fn no_filter_keeps_everything_and_no_key_nothing() {
    let entry = bounded(KEY, Datum::long(1), Datum::long(2));
    assert_eq!(pruned(entry.clone(), &ScanFilter::default()).total(), 0);
    assert_eq!(pruned(entry.clone(), &window(None, None)).total(), 0);
    assert_eq!(
        pruned(entry, &key_filter(&Int64Array::from(vec![None]))).by_key,
        1
    );
}

#[test]
fn a_missing_or_foreign_bound_keeps() {
    let filter = key_filter(&Int64Array::from(vec![100]));
    let schema = schema(PrimitiveType::Long);
    assert_eq!(
        pruned(file(&schema, Transform::Void, None, &[]), &filter).total(),
        0
    );
    assert_eq!(
        pruned(file(&schema, Transform::Identity, None, &[]), &filter).total(),
        0
    );
    assert_eq!(
        pruned(
            bounded(KEY, Datum::double(1.0), Datum::double(2.0)),
            &filter
        )
        .total(),
        0
    );
    let mut half = bounded(KEY, Datum::long(1), Datum::long(2));
    half.upper_bounds.clear();
    assert_eq!(pruned(half.clone(), &filter).total(), 0);
    assert_eq!(
        pruned(half, &key_filter(&Int64Array::from(vec![0]))).by_key,
        1
    );
}

#[test]
fn bounds_of_a_promoted_column_are_compared_by_value() {
    let ints = bounded(KEY, Datum::int(1), Datum::int(9));
    assert_eq!(
        pruned(ints.clone(), &key_filter(&Int64Array::from(vec![9]))).total(),
        0
    );
    assert_eq!(
        pruned(ints, &key_filter(&Int64Array::from(vec![10]))).by_key,
        1
    );
    // Listed as a date, read as a date or, after promotion, as a timestamp.
    let dates = bounded(KEY, Datum::date(10), Datum::date(20));
    assert_eq!(
        pruned(dates.clone(), &key_filter(&Date32Array::from(vec![15]))).total(),
        0
    );
    assert_eq!(
        pruned(
            dates.clone(),
            &key_filter(&TimestampMicrosecondArray::from(vec![15 * DAY_US]))
        )
        .total(),
        0
    );
    assert_eq!(
        pruned(dates.clone(), &key_filter(&Date32Array::from(vec![21]))).by_key,
        1
    );
    assert_eq!(
        pruned(
            dates,
            &key_filter(&TimestampMicrosecondArray::from(vec![21 * DAY_US]))
        )
        .by_key,
        1
    );
}

#[test]
fn time_bounds_are_inclusive_in_every_unit() {
    let us = bounded(
        TIME,
        Datum::timestamptz_micros(10),
        Datum::timestamptz_micros(20),
    );
    assert_eq!(pruned(us.clone(), &window(Some(20), None)).total(), 0);
    assert_eq!(pruned(us.clone(), &window(Some(21), None)).by_time, 1);
    assert_eq!(pruned(us.clone(), &window(None, Some(10))).total(), 0);
    assert_eq!(pruned(us, &window(None, Some(9))).by_time, 1);
    let ns = bounded(
        TIME,
        Datum::timestamptz_nanos(10_999),
        Datum::timestamptz_nanos(20_001),
    );
    assert_eq!(pruned(ns.clone(), &window(Some(20), None)).total(), 0);
    assert_eq!(pruned(ns.clone(), &window(None, Some(10))).total(), 0);
    assert_eq!(pruned(ns.clone(), &window(None, Some(9))).by_time, 1);
    assert_eq!(pruned(ns, &window(Some(22), None)).by_time, 1);
    let days = bounded(TIME, Datum::date(1), Datum::date(1));
    assert_eq!(
        pruned(days.clone(), &window(Some(2 * DAY_US - 1), None)).total(),
        0
    );
    assert_eq!(pruned(days, &window(Some(2 * DAY_US), None)).by_time, 1);
}

/// Older writers truncated towards zero, so instants before 1970 stand one partition too high.
#[test]
fn partitions_before_1970_may_be_one_too_high() {
    let schema = schema(PrimitiveType::Timestamptz);
    let day = |day| {
        let spec = PartitionSpec::builder(schema.clone())
            .add_partition_field("time", "part", Transform::Day)
            .unwrap();
        FileEntry {
            partition_spec: Arc::new(spec.build().unwrap()),
            ..file(&schema, Transform::Void, Some(Literal::date(day)), &[])
        }
    };
    let last_of_1969 = window(Some(-1), Some(-1));
    assert_eq!(pruned(day(-1), &last_of_1969).total(), 0);
    assert_eq!(pruned(day(0), &last_of_1969).total(), 0);
    assert_eq!(pruned(day(1), &last_of_1969).by_time, 1);
    assert_eq!(pruned(day(-2), &last_of_1969).by_time, 1);
    let first_of_1970 = window(Some(0), Some(0));
    assert_eq!(pruned(day(0), &first_of_1970).total(), 0);
    assert_eq!(pruned(day(1), &first_of_1970).by_time, 1);
}

#[test]
fn truncated_text_bounds_keep_what_they_cover() {
    let entry = file(
        &schema(PrimitiveType::String),
        Transform::Void,
        None,
        &[(KEY, Datum::string("ab"), Datum::string("ad"))],
    );
    assert_eq!(
        pruned(entry.clone(), &key_filter(&StringArray::from(vec!["acme"]))).total(),
        0
    );
    assert_eq!(
        pruned(entry, &key_filter(&StringArray::from(vec!["add"]))).by_key,
        1
    );
}

#[test]
fn uuids_are_pruned_by_partition_but_not_by_bounds() {
    let uuid = |n: u128| Uuid::from_u128(n);
    let keys = FixedSizeBinaryArray::try_from_iter([uuid(5).into_bytes()].into_iter()).unwrap();
    let bounds = [(KEY, Datum::uuid(uuid(6)), Datum::uuid(uuid(7)))];
    let schema = schema(PrimitiveType::Uuid);
    assert_eq!(
        pruned(
            file(&schema, Transform::Void, None, &bounds),
            &key_filter(&keys)
        )
        .total(),
        0
    );
    let identity = |n| {
        file(
            &schema,
            Transform::Identity,
            Some(Literal::uuid(uuid(n))),
            &[],
        )
    };
    assert_eq!(pruned(identity(5), &key_filter(&keys)).total(), 0);
    assert_eq!(pruned(identity(6), &key_filter(&keys)).by_partition, 1);
}

#[test]
fn the_layout_of_a_new_table_names_its_columns() {
    let schema = schema(PrimitiveType::Long);
    let bucket = PartitionBy::Bucket {
        column: "key".to_owned(),
        buckets: 16,
    };
    let spec = partition_spec(
        &schema,
        &[
            bucket.clone(),
            PartitionBy::Day {
                column: "time".to_owned(),
            },
        ],
    )
    .unwrap();
    let fields: Vec<_> = spec
        .fields()
        .iter()
        .map(|field| (field.source_id, field.transform, field.name.as_str()))
        .collect();
    assert_eq!(
        fields,
        [
            (KEY, Transform::Bucket(16), "key_bucket"),
            (TIME, Transform::Day, "time_day")
        ]
    );
    assert!(matches!(
        partition_spec(&schema, &[bucket.clone(), bucket]),
        Err(Error::InvalidRequest { .. })
    ));
    assert!(matches!(
        sort_order(&schema, &["nope".to_owned()]),
        Err(Error::InvalidRequest { .. })
    ));
}

/// What a generated table is keyed by.
#[derive(Clone, Copy, Debug)]
enum KeyType {
    Int,
    Long,
    Date,
    Timestamp,
    Text,
    Uuid,
}

impl KeyType {
    fn primitive(self) -> PrimitiveType {
        match self {
            Self::Int => PrimitiveType::Int,
            Self::Long => PrimitiveType::Long,
            Self::Date => PrimitiveType::Date,
            Self::Timestamp => PrimitiveType::Timestamp,
            Self::Text => PrimitiveType::String,
            Self::Uuid => PrimitiveType::Uuid,
        }
    }

    fn datum(self, key: i32) -> Datum {
        match self {
            Self::Int => Datum::int(key),
            Self::Long => Datum::long(key),
            Self::Date => Datum::date(key),
            Self::Timestamp => Datum::timestamp_micros(i64::from(key)),
            Self::Text => Datum::string(text(key)),
            Self::Uuid => Datum::uuid(uuid(key)),
        }
    }

    fn array(self, keys: &BTreeSet<i32>) -> ArrayRef {
        let longs = keys.iter().map(|key| i64::from(*key));
        match self {
            Self::Int => Arc::new(Int32Array::from_iter_values(keys.iter().copied())),
            Self::Long => Arc::new(Int64Array::from_iter_values(longs)),
            Self::Date => Arc::new(Date32Array::from_iter_values(keys.iter().copied())),
            Self::Timestamp => Arc::new(TimestampMicrosecondArray::from_iter_values(longs)),
            Self::Text => Arc::new(StringArray::from_iter_values(
                keys.iter().map(|key| text(*key)),
            )),
            Self::Uuid => {
                let bytes = keys.iter().map(|key| Some(uuid(*key).into_bytes()));
                Arc::new(FixedSizeBinaryArray::try_from_sparse_iter_with_size(bytes, 16).unwrap())
            }
        }
    }

    fn can(self, transform: Transform) -> bool {
        !matches!(
            (self, transform),
            (
                Self::Date | Self::Timestamp | Self::Uuid,
                Transform::Truncate(_)
            )
        )
    }
}

/// Of several lengths and scripts, ordered unlike the numbers.
fn text(key: i32) -> String {
    format!(
        "{}{key}",
        ["", "a", "aß", "日本"][key.unsigned_abs() as usize % 4]
    )
}

fn uuid(key: i32) -> Uuid {
    Uuid::from_u128(u128::from(key.unsigned_abs()) << 100 | 7)
}

#[derive(Clone, Debug)]
struct Case {
    key: KeyType,
    transforms: (Transform, Transform),
    /// Key, event time in microseconds.
    rows: Vec<(i32, i64)>,
    files: usize,
    with_bounds: bool,
    wanted: BTreeSet<i32>,
    window: TimeWindow,
}

impl Case {
    fn index(&self) -> FileIndex {
        let schema = schema(self.key.primitive());
        let spec = PartitionSpec::builder(schema)
            .add_partition_field("key", "key_part", self.transforms.0)
            .and_then(|spec| spec.add_partition_field("time", "time_part", self.transforms.1))
            .and_then(|spec| spec.build())
            .unwrap();
        let mut files: HashMap<(usize, Struct), Vec<usize>> = HashMap::new();
        for (number, (key, time)) in self.rows.iter().enumerate() {
            let partition = Struct::from_iter([
                transformed(self.transforms.0, self.key.datum(*key)),
                transformed(self.transforms.1, Datum::timestamptz_micros(*time)),
            ]);
            files
                .entry((number % self.files, partition))
                .or_default()
                .push(number);
        }
        let spec = Arc::new(spec);
        FileIndex::new(
            files
                .into_iter()
                .map(|((_, partition), rows)| Arc::new(self.file(&spec, partition, &rows))),
        )
    }

    /// The path lists the rows' numbers.
    fn file(&self, spec: &Arc<PartitionSpec>, partition: Struct, rows: &[usize]) -> FileEntry {
        let numbers: Vec<String> = rows.iter().map(usize::to_string).collect();
        let keys: Vec<Datum> = rows
            .iter()
            .map(|row| self.key.datum(self.rows[*row].0))
            .collect();
        let times: Vec<Datum> = rows
            .iter()
            .map(|row| Datum::timestamptz_micros(self.rows[*row].1))
            .collect();
        let mut entry = FileEntry {
            path: numbers.join(","),
            size_bytes: 1,
            record_count: rows.len() as u64,
            partition_spec: Arc::clone(spec),
            partition,
            lower_bounds: HashMap::new(),
            upper_bounds: HashMap::new(),
            sequence_number: 1,
            deletes: vec![],
        };
        if self.with_bounds {
            for (id, values) in [(KEY, keys), (TIME, times)] {
                let lower = values
                    .iter()
                    .min_by(|a, b| a.partial_cmp(b).unwrap())
                    .unwrap();
                let upper = values
                    .iter()
                    .max_by(|a, b| a.partial_cmp(b).unwrap())
                    .unwrap();
                entry.lower_bounds.insert(id, truncated(lower, false));
                entry.upper_bounds.insert(id, truncated(upper, true));
            }
        }
        entry
    }

    fn filter(&self) -> ScanFilter {
        let values = SortedKeys::try_new(&self.key.array(&self.wanted)).unwrap();
        ScanFilter {
            timestamp: Some((TIME, self.window)),
            keys: vec![KeyFilter {
                field_id: KEY,
                values,
            }],
        }
    }

    fn matches(&self, row: usize) -> bool {
        let (key, time) = self.rows[row];
        let key = self.key.datum(key);
        self.window.overlaps(time, time)
            && self
                .wanted
                .iter()
                .any(|wanted| self.key.datum(*wanted) == key)
    }
}

fn transformed(transform: Transform, value: Datum) -> Option<Literal> {
    create_transform_function(&transform)
        .unwrap()
        .transform_literal(&value)
        .unwrap()
        .map(Literal::from)
}

/// Text bounds as writers truncate them: the first character, the next one for an upper bound.
fn truncated(bound: &Datum, upper: bool) -> Datum {
    let iceberg::spec::PrimitiveLiteral::String(text) = bound.literal() else {
        return bound.clone();
    };
    match (text.chars().next(), upper) {
        (Some(first), false) => Datum::string(first.to_string()),
        (Some(first), true) if text.chars().count() > 1 => {
            Datum::string(char::from_u32(first as u32 + 1).unwrap().to_string())
        }
        _ => bound.clone(),
    }
}

fn cases() -> impl Strategy<Value = Case> {
    use KeyType::{Date, Int, Long, Text, Timestamp, Uuid};
    use Transform::{Bucket, Day, Hour, Identity, Month, Truncate, Void, Year};
    let key = prop::sample::select(vec![Int, Long, Date, Timestamp, Text, Uuid]);
    let of_key = prop::sample::select(vec![
        Void,
        Identity,
        Bucket(4),
        Bucket(16),
        Truncate(1),
        Truncate(10),
    ]);
    let of_time = prop::sample::select(vec![Void, Identity, Hour, Day, Month, Year]);
    // Around the epoch, far from it, and where days meet (the library rounds half a second before one up).
    let edge = || {
        (-4..4i64, prop::sample::select(vec![-500_000, -1, 0, 1]))
            .prop_map(|(day, us)| day * DAY_US + us)
    };
    let time = || {
        prop_oneof![
            -3 * DAY_US..3 * DAY_US,
            -2000 * DAY_US..2000 * DAY_US,
            edge()
        ]
    };
    let rows = prop::collection::vec((-40..40i32, time()), 1..12);
    // Keys and window ends at, just before and just after those of rows.
    let wanted = prop::collection::vec((any::<prop::sample::Index>(), -1..2i32), 0..5);
    let end = || prop::option::of((any::<prop::sample::Index>(), -1..2i64));
    let layout = (key, of_key, of_time, 1..4usize, any::<bool>());
    (layout, rows, wanted, (end(), end())).prop_map(
        |((key, of_key, of_time, files, with_bounds), rows, wanted, (start, end))| {
            let instant =
                |(row, us): (prop::sample::Index, i64)| rows[row.index(rows.len())].1 + us;
            let window = TimeWindow {
                start_us: start.map(instant),
                end_us: end.map(instant),
            };
            let near = |(row, by): (prop::sample::Index, i32)| rows[row.index(rows.len())].0 + by;
            let wanted = wanted.into_iter().map(near).collect();
            let of_key = if key.can(of_key) { of_key } else { Bucket(7) };
            Case {
                key,
                transforms: (of_key, of_time),
                rows,
                files,
                with_bounds,
                wanted,
                window,
            }
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(6000))]

    #[test]
    fn no_file_with_a_matching_row_is_dropped(case in cases()) {
        let index = case.index();
        let (kept, pruned) = prune(&index, &case.filter());
        prop_assert_eq!(kept.len() as u64 + pruned.total(), index.files.len() as u64);
        let kept: BTreeSet<usize> =
            kept.iter().flat_map(|file| file.path.split(',').map(|row| row.parse::<usize>().unwrap())).collect();
        for row in (0..case.rows.len()).filter(|row| case.matches(*row)) {
            prop_assert!(kept.contains(&row), "row {} {:?} was dropped", row, case.rows[row]);
        }
    }
}
