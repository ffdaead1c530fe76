//! Arrow types as pyarrow prints them when it reads a Parquet file, which clients parse.

use std::fmt::Write as _;

use arrow::datatypes::{DataType, Field, IntervalUnit, TimeUnit};

const EXTENSION: &str = "ARROW:extension:name";
/// The extension types that pyarrow knows by itself; others it prints as what they are stored as.
const KNOWN_EXTENSIONS: [&str; 4] = ["arrow.uuid", "arrow.json", "arrow.bool8", "arrow.opaque"];

/// The type of a column: as the writer had it, except for what Parquet itself (`stored`) cannot hold.
pub(super) fn pyarrow_type(written: &Field, stored: &DataType) -> String {
    use DataType::{Date32, Date64, Time32, Timestamp};
    let data_type = match (written.data_type(), stored) {
        (Timestamp(_, zone), Timestamp(unit, _)) => Timestamp(*unit, zone.clone()),
        (Time32(_), Time32(unit)) => Time32(*unit),
        (Date64, Date32) => Date32,
        (other, _) => other.clone(),
    };
    field_type(&written.clone().with_data_type(data_type))
}

fn field_type(field: &Field) -> String {
    let extension = field.metadata().get(EXTENSION).map(String::as_str);
    match extension.filter(|name| KNOWN_EXTENSIONS.contains(name)) {
        Some(name) => format!("extension<{name}>"),
        None => type_name(field.data_type(), field.name()),
    }
}

/// A field below another: `name: type`, and whether nulls are excluded.
fn child(name: &str, field: &Field) -> String {
    let not_null = if field.is_nullable() { "" } else { " not null" };
    format!("{name}: {}{not_null}", field_type(field))
}

fn type_name(data_type: &DataType, column: &str) -> String {
    use DataType::*;
    let element = |field: &Field| child(field.name(), field);
    match data_type {
        Boolean => "bool".to_owned(),
        Float16 => "halffloat".to_owned(),
        Float32 => "float".to_owned(),
        Float64 => "double".to_owned(),
        Utf8 => "string".to_owned(),
        LargeUtf8 => "large_string".to_owned(),
        Utf8View => "string_view".to_owned(),
        LargeBinary => "large_binary".to_owned(),
        BinaryView => "binary_view".to_owned(),
        FixedSizeBinary(length) => format!("fixed_size_binary[{length}]"),
        Date32 => "date32[day]".to_owned(),
        Date64 => "date64[ms]".to_owned(),
        Time32(unit) => format!("time32[{}]", unit_name(*unit)),
        Time64(unit) => format!("time64[{}]", unit_name(*unit)),
        Duration(unit) => format!("duration[{}]", unit_name(*unit)),
        Timestamp(unit, None) => format!("timestamp[{}]", unit_name(*unit)),
        Timestamp(unit, Some(zone)) => format!("timestamp[{}, tz={zone}]", unit_name(*unit)),
        Interval(IntervalUnit::YearMonth) => "month_interval".to_owned(),
        Interval(IntervalUnit::DayTime) => "day_time_interval".to_owned(),
        Interval(IntervalUnit::MonthDayNano) => "month_day_nano_interval".to_owned(),
        Decimal32(p, s) => format!("decimal32({p}, {s})"),
        Decimal64(p, s) => format!("decimal64({p}, {s})"),
        Decimal128(p, s) => format!("decimal128({p}, {s})"),
        Decimal256(p, s) => format!("decimal256({p}, {s})"),
        List(field) => format!("list<{}>", element(field)),
        LargeList(field) => format!("large_list<{}>", element(field)),
        FixedSizeList(field, length) => format!("fixed_size_list<{}>[{length}]", element(field)),
        Struct(fields) => {
            let fields = fields.iter().map(|field| child(field.name(), field));
            format!("struct<{}>", fields.collect::<Vec<_>>().join(", "))
        }
        Map(entries, sorted) => map_name(entries, *sorted, column),
        Dictionary(indices, values) => format!(
            "dictionary<values={}, indices={}, ordered=0>",
            type_name(values, column),
            type_name(indices, column)
        ),
        other => other.to_string().to_lowercase(),
    }
}

/// pyarrow reads the values of a map under the map's own name, and prints names other than `value`.
fn map_name(entries: &Field, sorted: bool, column: &str) -> String {
    let mut printed = "map<".to_owned();
    if let DataType::Struct(pair) = entries.data_type()
        && let [key, value] = pair.as_ref()
    {
        let _ = write!(printed, "{}, {}", field_type(key), field_type(value));
        if column != "value" {
            let _ = write!(printed, " ('{column}')");
        }
    }
    if sorted {
        printed.push_str(", keys_sorted");
    }
    printed + ">"
}

fn unit_name(unit: TimeUnit) -> &'static str {
    match unit {
        TimeUnit::Second => "s",
        TimeUnit::Millisecond => "ms",
        TimeUnit::Microsecond => "us",
        TimeUnit::Nanosecond => "ns",
    }
}
