//! Pruning against random tables, laid out by the library's own transforms.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use arrow::array::{
    ArrayRef, Date32Array, FixedSizeBinaryArray, Int32Array, Int64Array, StringArray,
    TimestampMicrosecondArray,
};
use iceberg::spec::{Datum, Literal, PartitionSpec, PrimitiveType, Struct, Transform};
use iceberg::transform::create_transform_function;
use proptest::prelude::*;
use uuid::Uuid;

use super::super::*;
use super::{DAY_US, KEY, TIME, schema};
use crate::table::files::{FileEntry, FileIndex};

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
            version: None,
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
