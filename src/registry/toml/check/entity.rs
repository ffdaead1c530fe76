//! `[[entity]]`

use arrow::datatypes::{DataType, TimeUnit};

use super::Site;
use crate::error::{did_you_mean, nearest};
use crate::model::{Entity, JoinKey};
use crate::registry::toml::raw::{RawEntity, RawJoinKey};

pub(super) fn entity(raw: RawEntity, site: &mut Site<'_>) -> Entity {
    site.name(&["name"], &raw.name);
    let names: Vec<String> = raw.join_keys.iter().map(|key| key.name.clone()).collect();
    site.list(
        "join_keys",
        &names,
        "must name at least one column; a view without keys has no entity",
    );
    let keys = raw
        .join_keys
        .into_iter()
        .enumerate()
        .map(|(index, key)| join_key(key, index, site))
        .collect();
    Entity {
        name: raw.name,
        join_keys: keys,
    }
}

fn join_key(raw: RawJoinKey, index: usize, site: &mut Site<'_>) -> JoinKey {
    let index = index.to_string();
    if raw.name.is_empty() {
        site.refuse(&["join_keys", &index, "name"], "must not be empty");
    }
    let data_type = raw.type_name.and_then(|name| match data_type(&name) {
        Some(data_type) => Some(data_type),
        None => {
            let hint = did_you_mean(&nearest(&name, NAMES));
            site.refuse(
                &["join_keys", &index, "type"],
                format!("unknown type `{name}`{hint}"),
            );
            None
        }
    });
    JoinKey {
        name: raw.name,
        data_type,
    }
}

/// Iceberg's and Arrow's names of the types that can be joined on.
const NAMES: [&str; 22] = [
    "boolean",
    "bool",
    "int",
    "int8",
    "int16",
    "int32",
    "long",
    "int64",
    "string",
    "utf8",
    "large_string",
    "binary",
    "uuid",
    "fixed[16]",
    "date",
    "date32",
    "timestamp",
    "timestamptz",
    "timestamp_ns",
    "timestamptz_ns",
    "decimal(9,2)",
    "decimal128(9,2)",
];

fn data_type(name: &str) -> Option<DataType> {
    let utc = || Some("UTC".into());
    Some(match name {
        "boolean" | "bool" => DataType::Boolean,
        "int8" => DataType::Int8,
        "int16" => DataType::Int16,
        "int" | "int32" => DataType::Int32,
        "long" | "int64" => DataType::Int64,
        "string" | "utf8" | "large_string" => DataType::Utf8,
        "binary" => DataType::Binary,
        "uuid" => DataType::FixedSizeBinary(16),
        "date" | "date32" => DataType::Date32,
        "timestamp" => DataType::Timestamp(TimeUnit::Microsecond, None),
        "timestamptz" => DataType::Timestamp(TimeUnit::Microsecond, utc()),
        "timestamp_ns" => DataType::Timestamp(TimeUnit::Nanosecond, None),
        "timestamptz_ns" => DataType::Timestamp(TimeUnit::Nanosecond, utc()),
        _ => return parameterised(name),
    })
}

/// `decimal(precision,scale)` and `fixed[bytes]`.
fn parameterised(name: &str) -> Option<DataType> {
    if let Some(bytes) = name
        .strip_prefix("fixed[")
        .and_then(|rest| rest.strip_suffix(']'))
    {
        return bytes
            .trim()
            .parse()
            .ok()
            .filter(|bytes| *bytes > 0)
            .map(DataType::FixedSizeBinary);
    }
    let rest = name
        .strip_prefix("decimal128")
        .or_else(|| name.strip_prefix("decimal"))?;
    let (precision, scale) = rest.strip_prefix('(')?.strip_suffix(')')?.split_once(',')?;
    let (precision, scale) = (
        precision.trim().parse::<u8>().ok()?,
        scale.trim().parse::<i8>().ok()?,
    );
    let sound = (1..=38).contains(&precision)
        && (0..=38).contains(&scale)
        && scale.unsigned_abs() <= precision;
    sound.then_some(DataType::Decimal128(precision, scale))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_that_is_offered_is_a_type() {
        for name in NAMES {
            assert!(data_type(name).is_some(), "{name}");
        }
    }

    #[test]
    fn parameters_are_checked() {
        assert_eq!(
            data_type("decimal(10, 3)"),
            Some(DataType::Decimal128(10, 3))
        );
        assert_eq!(data_type("fixed[4]"), Some(DataType::FixedSizeBinary(4)));
        for wrong in [
            "decimal",
            "decimal(39,1)",
            "decimal(2,3)",
            "decimal(0,0)",
            "fixed[0]",
            "fixed[x]",
            "double",
            "",
        ] {
            assert_eq!(data_type(wrong), None, "{wrong}");
        }
    }
}
