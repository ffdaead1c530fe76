//! Small spines and tables, drawn so that ties, window edges, nulls and extremes are common.

use std::time::Duration;

use arrow::datatypes::TimeUnit;
use proptest::prelude::*;
use proptest::sample::select;

#[derive(Clone, Copy, Debug)]
pub(super) enum KeyType {
    Int64,
    Int32,
    Int16,
    Date,
    Timestamp,
    String,
    LargeString,
    Binary,
    Fixed,
    Decimal,
    Double,
}

#[derive(Clone, Debug)]
pub(super) struct SpineRow {
    pub(super) keys: [Option<u8>; 2],
    pub(super) instant: Option<i64>,
}

#[derive(Clone, Debug)]
pub(super) struct FeatureRow {
    pub(super) keys: [Option<u8>; 2],
    pub(super) event: Option<i64>,
    pub(super) created: Option<i64>,
    pub(super) values: (Option<i32>, Option<u8>, Option<u8>),
}

#[derive(Clone, Debug)]
pub(super) struct ViewCase {
    pub(super) keys: Vec<usize>,
    pub(super) unit: TimeUnit,
    pub(super) created_unit: Option<TimeUnit>,
    pub(super) ttl: Option<Duration>,
    pub(super) rows: Vec<FeatureRow>,
}

#[derive(Clone, Debug)]
pub(super) struct Case {
    pub(super) key_types: [KeyType; 2],
    pub(super) unit: TimeUnit,
    pub(super) spine: Vec<SpineRow>,
    pub(super) views: Vec<ViewCase>,
    pub(super) spine_batch_rows: usize,
    pub(super) seed: u64,
    pub(super) pool_bytes: usize,
}

/// A value of the drawn ones, by its number; numbers ascend as values do.
pub(super) const FLOATS: [f64; 6] = [-f64::NAN, f64::NEG_INFINITY, -0.0, 0.0, 2.5, f64::NAN];
pub(super) const STRINGS: [&str; 4] = ["", "1", "11", "é"];

pub(super) fn nanoseconds(unit: TimeUnit) -> i128 {
    [1_000_000_000, 1_000_000, 1_000, 1][unit as usize]
}

fn instant(unit: TimeUnit) -> impl Strategy<Value = Option<i64>> {
    let near = (-1..=1i128, -1..=1i128, -1..=1i128, -1..=1i128).prop_map(move |(s, ms, us, ns)| {
        let exact = s * 1_000_000_000 + ms * 1_000_000 + us * 1_000 + ns;
        Some(exact.div_euclid(nanoseconds(unit)) as i64)
    });
    let far = select(vec![
        None,
        Some(i64::MIN),
        Some(i64::MIN + 1),
        Some(i64::MAX),
        Some(9_223_372_036),
    ]);
    prop_oneof![9 => near, 1 => far]
}

fn unit() -> impl Strategy<Value = TimeUnit> {
    select(vec![
        TimeUnit::Second,
        TimeUnit::Millisecond,
        TimeUnit::Microsecond,
        TimeUnit::Nanosecond,
    ])
}

fn key() -> impl Strategy<Value = Option<u8>> {
    prop_oneof![1 => Just(None), 8 => (0..3u8).prop_map(Some)]
}

fn feature_row(unit: TimeUnit) -> impl Strategy<Value = FeatureRow> {
    let created = select(vec![
        None,
        Some(0),
        Some(1),
        Some(1),
        Some(i64::MIN),
        Some(i64::MAX),
    ]);
    let values = (
        prop::option::of(0..2i32),
        prop::option::of(0..6u8),
        prop::option::of(0..4u8),
    );
    let row = ([key(), key()], instant(unit), created, values);
    row.prop_map(|(keys, event, created, values)| FeatureRow {
        keys,
        event,
        created,
        values,
    })
}

fn ttl() -> impl Strategy<Value = Option<Duration>> {
    let short = [
        0,
        1,
        999,
        1_000,
        1_001,
        1_000_000,
        1_001_000,
        1_000_000_000,
        1_000_000_001,
        2_000_000_000,
    ];
    let long = [Duration::from_secs(9_223_372_037), Duration::MAX];
    select(
        [None, None]
            .into_iter()
            .chain(short.map(Duration::from_nanos).map(Some))
            .chain(long.map(Some))
            .collect::<Vec<_>>(),
    )
}

fn view_case() -> impl Strategy<Value = ViewCase> {
    let keys = select(vec![
        vec![],
        vec![0],
        vec![0],
        vec![1],
        vec![0, 1],
        vec![1, 0],
    ]);
    let rest = (keys, prop::option::of(unit()), ttl());
    (unit(), rest).prop_flat_map(|(unit, rest)| {
        let rows = prop::collection::vec(feature_row(unit), 0..16);
        (Just(unit), Just(rest), rows).prop_map(|(unit, (keys, created_unit, ttl), rows)| {
            ViewCase {
                keys,
                unit,
                created_unit,
                ttl,
                rows,
            }
        })
    })
}

pub(super) fn case() -> impl Strategy<Value = Case> {
    use KeyType::{
        Binary, Date, Decimal, Double, Fixed, Int16, Int32, Int64, LargeString, String, Timestamp,
    };
    let key_type = || {
        select(vec![
            Int64,
            Int32,
            Int16,
            Date,
            Timestamp,
            String,
            LargeString,
            Binary,
            Fixed,
            Decimal,
            Double,
        ])
    };
    let spine = unit().prop_flat_map(|unit| {
        let row =
            ([key(), key()], instant(unit)).prop_map(|(keys, instant)| SpineRow { keys, instant });
        (Just(unit), prop::collection::vec(row, 0..12))
    });
    // None where a request wants nothing but on-demand features of its own columns.
    let views = prop::collection::vec(view_case(), 0..=3);
    let rest = (1..9usize, any::<u64>(), 0..12_000usize);
    ([key_type(), key_type()], spine, views, rest).prop_map(
        |(key_types, (unit, spine), views, rest)| {
            let (spine_batch_rows, seed, pool_bytes) = rest;
            Case {
                key_types,
                unit,
                spine,
                views,
                spine_batch_rows,
                seed,
                pool_bytes,
            }
        },
    )
}
