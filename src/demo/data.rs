//! The sample feature store: two feature tables with a month of history, the same on every machine.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, Float64Array, Int32Array, Int64Array, RecordBatch, StringArray,
    TimestampMicrosecondArray,
};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use iceberg::spec::{NestedField, PrimitiveType, Type};

use crate::error::{Error, Result};

/// First moment of the sample history: 2026-01-01T00:00:00Z.
const START_US: i64 = 1_767_225_600_000_000;
const HOUR_US: i64 = 3_600_000_000;
const HISTORY_HOURS: u64 = 30 * 24;
/// Rows that share one commit's files, so that files cover different times and can be pruned by time.
pub(super) const SLICES: u64 = 5;
const SEGMENTS: [&str; 4] = ["new", "regular", "loyal", "dormant"];

/// The definitions that go with the tables.
pub(super) const DEFINITIONS: &str = r#"project = "demo"

[[entity]]
name = "driver"
join_keys = [{ name = "driver_id", type = "int64" }]

[[entity]]
name = "customer"
join_keys = [{ name = "customer_id", type = "string" }]

[[feature_view]]
name = "driver_stats"
entities = ["driver"]
table = "demo.driver_stats"
timestamp_field = "event_timestamp"
created_timestamp_column = "created"
ttl = "7d"

[[feature_view]]
name = "customer_profile"
entities = ["customer"]
table = "demo.customer_profile"
timestamp_field = "event_timestamp"

[[feature_service]]
name = "trip_model"
features = [
    { view = "driver_stats", features = ["conv_rate", "acc_rate"] },
    { view = "customer_profile", features = ["segment"] },
]
"#;

/// A sample table: its columns, its size, and what a row holds.
pub(super) struct SampleTable {
    pub(super) name: &'static str,
    pub(super) key: &'static str,
    pub(super) rows: u64,
    columns: Vec<(&'static str, PrimitiveType)>,
    make: fn(&[Draw]) -> Vec<ArrayRef>,
}

/// The random choices behind one row.
#[derive(Clone, Copy)]
struct Draw {
    key: i64,
    time_us: i64,
    noise: u64,
}

/// The sample tables, with `rows` rows altogether.
pub(super) fn tables(rows: u64) -> [SampleTable; 2] {
    let customers = rows / 6;
    [
        SampleTable {
            name: "driver_stats",
            key: "driver_id",
            rows: rows - customers,
            columns: vec![
                ("driver_id", PrimitiveType::Long),
                ("event_timestamp", PrimitiveType::Timestamptz),
                ("created", PrimitiveType::Timestamptz),
                ("conv_rate", PrimitiveType::Double),
                ("acc_rate", PrimitiveType::Double),
                ("avg_daily_trips", PrimitiveType::Int),
            ],
            make: driver_stats,
        },
        SampleTable {
            name: "customer_profile",
            key: "customer_id",
            rows: customers,
            columns: vec![
                ("customer_id", PrimitiveType::String),
                ("event_timestamp", PrimitiveType::Timestamptz),
                ("age", PrimitiveType::Int),
                ("lifetime_value", PrimitiveType::Double),
                ("segment", PrimitiveType::String),
            ],
            make: customer_profile,
        },
    ]
}

impl SampleTable {
    /// Number of different keys: about a hundred rows of history each.
    fn keys(&self) -> u64 {
        (self.rows / 100).max(1)
    }

    pub(super) fn iceberg_schema(&self) -> Result<iceberg::spec::Schema> {
        let fields = self.columns.iter().zip(1..).map(|((name, data_type), id)| {
            let field = NestedField::new(id, *name, Type::Primitive(data_type.clone()), false);
            Arc::new(field)
        });
        iceberg::spec::Schema::builder()
            .with_fields(fields)
            .build()
            .map_err(Error::iceberg("build the sample schema"))
    }

    /// The rows of time slice `slice` of [`SLICES`].
    pub(super) fn batch(&self, slice: u64) -> Result<RecordBatch> {
        let (first, last) = (self.rows * slice / SLICES, self.rows * (slice + 1) / SLICES);
        let draws: Vec<Draw> = (first..last).map(|row| self.draw(row)).collect();
        let columns = (self.make)(&draws);
        let fields = self.columns.iter().zip(&columns);
        let fields =
            fields.map(|((name, _), array)| Field::new(*name, array.data_type().clone(), true));
        let schema: SchemaRef = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
        RecordBatch::try_new(schema, columns).map_err(Error::arrow("make sample rows"))
    }

    fn draw(&self, row: u64) -> Draw {
        let noise = mix(row ^ (self.name.len() as u64) << 40);
        let hours = HISTORY_HOURS * HOUR_US as u64;
        let time_us =
            START_US + (u128::from(row) * u128::from(hours) / u128::from(self.rows.max(1))) as i64;
        Draw {
            key: (1_000 + noise % self.keys()) as i64,
            time_us,
            noise: mix(noise),
        }
    }
}

/// An entity dataframe of `rows` trips: who drove whom, and when.
pub(super) fn trips(rows: u64, tables: &[SampleTable; 2]) -> Result<RecordBatch> {
    let noise = |row: u64, salt: u64| mix(row ^ salt << 48);
    let pick = |row: u64, table: usize| {
        (1_000 + noise(row, table as u64 + 1) % tables[table].keys()) as i64
    };
    let span = HISTORY_HOURS * HOUR_US as u64;
    let times =
        (0..rows).map(|row| START_US + (span * 9 / 10 + noise(row, 3) % (span / 10)) as i64);
    let columns: Vec<(&str, ArrayRef)> = vec![
        (
            "trip_id",
            Arc::new(Int64Array::from_iter_values(0..rows as i64)),
        ),
        (
            "driver_id",
            Arc::new(Int64Array::from_iter_values(
                (0..rows).map(|row| pick(row, 0)),
            )),
        ),
        (
            "customer_id",
            Arc::new(StringArray::from_iter_values(
                (0..rows).map(|row| customer(pick(row, 1))),
            )),
        ),
        ("event_timestamp", instants(times)),
    ];
    RecordBatch::try_from_iter(columns).map_err(Error::arrow("make sample trips"))
}

fn driver_stats(draws: &[Draw]) -> Vec<ArrayRef> {
    let created = draws
        .iter()
        .map(|draw| draw.time_us + (draw.noise % 3_600) as i64 * 1_000_000);
    vec![
        Arc::new(Int64Array::from_iter_values(
            draws.iter().map(|draw| draw.key),
        )),
        instants(draws.iter().map(|draw| draw.time_us)),
        instants(created),
        Arc::new(Float64Array::from_iter_values(
            draws.iter().map(|draw| ratio(draw.noise)),
        )),
        Arc::new(Float64Array::from_iter_values(
            draws.iter().map(|draw| ratio(mix(draw.noise))),
        )),
        Arc::new(Int32Array::from_iter_values(
            draws.iter().map(|draw| (draw.noise >> 32) as i32 & 0x3f),
        )),
    ]
}

fn customer_profile(draws: &[Draw]) -> Vec<ArrayRef> {
    let age = draws.iter().map(|draw| 18 + (draw.noise % 60) as i32);
    let value = draws
        .iter()
        .map(|draw| (draw.noise >> 20 & 0xf_ffff) as f64 / 100.0);
    let segment = draws
        .iter()
        .map(|draw| SEGMENTS[(draw.noise >> 50) as usize % SEGMENTS.len()]);
    vec![
        Arc::new(StringArray::from_iter_values(
            draws.iter().map(|draw| customer(draw.key)),
        )),
        instants(draws.iter().map(|draw| draw.time_us)),
        Arc::new(Int32Array::from_iter_values(age)),
        Arc::new(Float64Array::from_iter_values(value)),
        Arc::new(StringArray::from_iter_values(segment)),
    ]
}

fn customer(key: i64) -> String {
    format!("c{key:07}")
}

fn instants(values: impl Iterator<Item = i64>) -> ArrayRef {
    Arc::new(
        TimestampMicrosecondArray::from_iter_values(values).with_data_type(DataType::Timestamp(
            TimeUnit::Microsecond,
            Some("UTC".into()),
        )),
    )
}

/// A number in [0, 1) with four digits.
fn ratio(noise: u64) -> f64 {
    (noise % 10_000) as f64 / 10_000.0
}

/// SplitMix64's finalizer (Steele et al., 2014): well-spread bits from a counter.
fn mix(seed: u64) -> u64 {
    let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
