//! Feast's types in Arrow, as Feast itself maps them.

use std::fmt;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Fields, TimeUnit};
use serde::Deserialize;
use serde::de::{MapAccess, Visitor};

use crate::proto::feast::core::FeatureSpecV2;
use crate::proto::feast::types::value_type::Enum as ValueType;

/// How deep a type written as text may nest; Feast's own depth is Python's.
const DEPTH: usize = 32;

/// A column's type; nested ones are written out in the column's tags.
pub(super) fn of_field(spec: &FeatureSpecV2) -> Option<DataType> {
    let fields = |tag: &str| -> Option<DataType> {
        let schema: Schema = serde_json::from_str(spec.tags.get(tag)?).ok()?;
        schema.data_type(DEPTH)
    };
    let nested = |tag: &str| of_text(spec.tags.get(tag)?, DEPTH);
    let written = match spec.value_type() {
        ValueType::Struct => fields("feast:struct_schema"),
        ValueType::StructList => fields("feast:struct_schema").map(list),
        ValueType::ValueList | ValueType::ValueSet => nested("feast:nested_inner_type"),
        _ => None,
    };
    written.or_else(|| of_value(spec.value_type()))
}

/// The Arrow type of a Feast type, if the type alone says it.
pub(super) fn of_value(value_type: ValueType) -> Option<DataType> {
    use ValueType as V;
    Some(match value_type {
        V::Invalid | V::Null => return None,
        V::Bytes | V::ScalarMap => DataType::Binary,
        V::String | V::Uuid | V::TimeUuid | V::Decimal => DataType::Utf8,
        V::Int32 => DataType::Int32,
        V::Int64 => DataType::Int64,
        V::Double => DataType::Float64,
        V::Float => DataType::Float32,
        V::Bool => DataType::Boolean,
        V::UnixTimestamp | V::ZonedTimestamp => timestamp(),
        V::Map => map(),
        V::Json => DataType::LargeUtf8,
        V::Struct => placeholder(),
        V::BytesList | V::BytesSet => list(DataType::Binary),
        V::StringList
        | V::StringSet
        | V::UuidList
        | V::UuidSet
        | V::TimeUuidList
        | V::TimeUuidSet => list(DataType::Utf8),
        V::DecimalList | V::DecimalSet => list(DataType::Utf8),
        V::Int32List | V::Int32Set => list(DataType::Int32),
        V::Int64List | V::Int64Set => list(DataType::Int64),
        V::DoubleList | V::DoubleSet => list(DataType::Float64),
        V::FloatList | V::FloatSet => list(DataType::Float32),
        V::BoolList | V::BoolSet => list(DataType::Boolean),
        V::UnixTimestampList | V::UnixTimestampSet => list(timestamp()),
        V::MapList => list(map()),
        V::JsonList => list(DataType::LargeUtf8),
        V::StructList => list(placeholder()),
        V::ValueList | V::ValueSet => list(list(DataType::Utf8)),
    })
}

/// A type as Feast writes it: `INT64`, `Array(STRING)`, `{"__struct__": {"name": "INT64"}}`.
fn of_text(text: &str, depth: usize) -> Option<DataType> {
    let depth = depth.checked_sub(1)?;
    let inner = |prefix: &str| text.strip_prefix(prefix)?.strip_suffix(')');
    if let Some(inner) = inner("Array(").or_else(|| inner("Set(")) {
        return of_text(inner, depth).map(list);
    }
    if text.starts_with('{') {
        let nested: Nested = serde_json::from_str(text).ok()?;
        return nested.schema.data_type(depth);
    }
    Some(match text {
        "BYTES" | "PDF_BYTES" | "IMAGE_BYTES" | "SCALAR_MAP" => DataType::Binary,
        "STRING" | "UUID" | "TIME_UUID" | "DECIMAL" => DataType::Utf8,
        "INT32" => DataType::Int32,
        "INT64" => DataType::Int64,
        "FLOAT64" => DataType::Float64,
        "FLOAT32" => DataType::Float32,
        "BOOL" => DataType::Boolean,
        "UNIX_TIMESTAMP" | "ZONED_TIMESTAMP" => timestamp(),
        "MAP" => map(),
        "JSON" => DataType::LargeUtf8,
        _ => return None,
    })
}

#[derive(Deserialize)]
struct Nested {
    #[serde(rename = "__struct__")]
    schema: Schema,
}

/// A JSON object of names and types, in its order.
struct Schema(Vec<(String, String)>);

impl Schema {
    fn data_type(&self, depth: usize) -> Option<DataType> {
        let field =
            |(name, text): &(String, String)| Some(Field::new(name, of_text(text, depth)?, true));
        let fields: Option<Fields> = self.0.iter().map(field).collect();
        fields.map(DataType::Struct)
    }
}

impl<'de> Deserialize<'de> for Schema {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Entries;
        impl<'de> Visitor<'de> for Entries {
            type Value = Schema;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("names with types")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Schema, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Schema(entries))
            }
        }
        from.deserialize_map(Entries)
    }
}

fn list(item: DataType) -> DataType {
    DataType::new_list(item, true)
}

fn timestamp() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
}

fn map() -> DataType {
    let key = Field::new("key", DataType::Utf8, false);
    let value = Field::new("value", DataType::Utf8, true);
    let entries = DataType::Struct(Fields::from(vec![key, value]));
    DataType::Map(Arc::new(Field::new("entries", entries, false)), false)
}

/// What Feast takes where it has no fields for a struct.
fn placeholder() -> DataType {
    DataType::Struct(Fields::from(vec![Field::new(
        "_value",
        DataType::Utf8,
        true,
    )]))
}
