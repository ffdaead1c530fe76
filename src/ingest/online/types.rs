//! Feast's types of features as online tables keep them. What Arrow and Iceberg have no type for is kept as the bytes of
//! Feast's own message `feast.types.Value`.

use arrow::datatypes::DataType;

use crate::model::DeclaredFeature;
use crate::table::online::timestamp;

/// The type of a declared feature; `None` for a name that says none, whose rows tell it.
pub(in crate::ingest) fn of_feature(feature: &DeclaredFeature) -> Option<DataType> {
    let name = feature.type_name.to_ascii_uppercase();
    if let Some(scalar) = scalar(&name) {
        return Some(scalar);
    }
    let item = name
        .strip_suffix("_LIST")
        .or_else(|| name.strip_suffix("_SET"))?;
    match item {
        "MAP" | "STRUCT" | "VALUE" => Some(DataType::Binary),
        "SCALAR_MAP" | "ZONED_TIMESTAMP" => None,
        item => Some(DataType::new_list(scalar(item)?, true)),
    }
}

fn scalar(name: &str) -> Option<DataType> {
    Some(match name {
        "BYTES" | "IMAGE_BYTES" | "PDF_BYTES" => DataType::Binary,
        "MAP" | "STRUCT" | "SCALAR_MAP" | "ZONED_TIMESTAMP" => DataType::Binary,
        "STRING" | "UUID" | "TIME_UUID" | "DECIMAL" | "JSON" => DataType::Utf8,
        "INT32" => DataType::Int32,
        "INT64" => DataType::Int64,
        "FLOAT" => DataType::Float32,
        "DOUBLE" => DataType::Float64,
        "BOOL" => DataType::Boolean,
        "UNIX_TIMESTAMP" => timestamp(),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("int64", Some(DataType::Int64))]
    #[case("FLOAT", Some(DataType::Float32))]
    #[case("JSON", Some(DataType::Utf8))]
    #[case("JSON_LIST", Some(DataType::new_list(DataType::Utf8, true)))]
    #[case("INT32_SET", Some(DataType::new_list(DataType::Int32, true)))]
    #[case("UNIX_TIMESTAMP_LIST", Some(DataType::new_list(timestamp(), true)))]
    #[case("MAP", Some(DataType::Binary))]
    #[case("MAP_LIST", Some(DataType::Binary))]
    #[case("STRUCT_LIST", Some(DataType::Binary))]
    #[case("VALUE_LIST", Some(DataType::Binary))]
    #[case("VALUE_SET", Some(DataType::Binary))]
    #[case("SCALAR_MAP", Some(DataType::Binary))]
    #[case("ZONED_TIMESTAMP", Some(DataType::Binary))]
    #[case("UNKNOWN", None)]
    fn feasts_types_have_a_column_type(#[case] name: &str, #[case] expected: Option<DataType>) {
        let feature = DeclaredFeature {
            name: "f".to_owned(),
            type_name: name.to_owned(),
        };
        assert_eq!(of_feature(&feature), expected);
    }
}
