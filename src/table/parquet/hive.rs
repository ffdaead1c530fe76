//! Hive-style partition folders, `column=value/`: columns that are in the paths and not in the files.

use arrow::datatypes::DataType;
use iceberg::spec::Literal;

const NULL: &str = "__HIVE_DEFAULT_PARTITION__";

/// A column and its value for all rows below a folder; `None` is null.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionKey {
    /// Column name.
    pub column: String,
    /// Its value, decoded.
    pub value: Option<String>,
}

/// What a folder's name says, if it is one of a partition.
pub(super) fn parse(folder: &str) -> Option<PartitionKey> {
    let (column, value) = folder.split_once('=')?;
    let value = decode(value);
    Some(PartitionKey {
        column: decode(column),
        value: (value != NULL).then_some(value),
    })
}

/// Undoes percent-encoding, which writers put into folder names; what is none stays.
fn decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let code = after.get(..2).filter(|_| *first == b'%');
        let code = code.and_then(|digits| std::str::from_utf8(digits).ok());
        match code.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = after.get(2..).unwrap_or_default();
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8(bytes).unwrap_or_else(|_| text.to_owned())
}

/// The type of a column with these values: integers if all are, else strings.
pub(super) fn data_type<'a>(values: impl Iterator<Item = &'a str> + Clone) -> DataType {
    let all =
        |parses: fn(&str) -> bool| values.clone().next().is_some() && values.clone().all(parses);
    if all(|value| value.parse::<i32>().is_ok()) {
        DataType::Int32
    } else if all(|value| value.parse::<i64>().is_ok()) {
        DataType::Int64
    } else {
        DataType::Utf8
    }
}

/// A value in the type that [`data_type`] gave its column.
pub(super) fn literal(value: &str, data_type: &DataType) -> Option<Literal> {
    match data_type {
        DataType::Int32 => value.parse().ok().map(Literal::int::<i32>),
        DataType::Int64 => value.parse().ok().map(Literal::long::<i64>),
        _ => Some(Literal::string(value)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(column: &str, value: Option<&str>) -> Option<PartitionKey> {
        Some(PartitionKey {
            column: column.to_owned(),
            value: value.map(str::to_owned),
        })
    }

    #[test]
    fn folders_name_columns_and_values() {
        assert_eq!(parse("day=2024-01-02"), key("day", Some("2024-01-02")));
        assert_eq!(parse("at=10%3A00%20%25"), key("at", Some("10:00 %")));
        assert_eq!(parse("a=b=%zz%"), key("a", Some("b=%zz%")));
        assert_eq!(parse("a=__HIVE_DEFAULT_PARTITION__"), key("a", None));
        assert_eq!(parse("a="), key("a", Some("")));
        assert_eq!(parse("part-0.parquet"), None);
    }

    #[test]
    fn columns_are_integers_only_if_all_values_are() {
        let of = |values: &[&'static str]| data_type(values.iter().copied());
        assert_eq!(of(&["1", "-02"]), DataType::Int32);
        assert_eq!(of(&["1", "3000000000"]), DataType::Int64);
        assert_eq!(of(&["1", "x"]), DataType::Utf8);
        assert_eq!(of(&[]), DataType::Utf8);
        assert_eq!(literal("07", &DataType::Int32), Some(Literal::int(7)));
    }
}
