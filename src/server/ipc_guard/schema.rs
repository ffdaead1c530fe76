//! Gate 2: a schema is checked for everything that `arrow-ipc` would panic on when converting it, and for size.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::datatypes::{DECIMAL32_MAX_PRECISION, DECIMAL64_MAX_PRECISION};
use arrow::datatypes::{DECIMAL128_MAX_PRECISION, DECIMAL256_MAX_PRECISION};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow_ipc as ipc;

use super::limits::IpcLimits;
use super::panics::guarded;
use super::{malformed, unsupported};
use crate::error::Result;

/// Dictionary ids and the type of their values.
pub(super) type DictionaryTypes = HashMap<i64, DataType>;

/// Checks `schema` and converts it.
pub(super) fn convert(
    schema: ipc::Schema<'_>,
    limits: &IpcLimits,
) -> Result<(SchemaRef, DictionaryTypes)> {
    if schema.endianness() != ipc::Endianness::Little {
        return Err(unsupported("big-endian data"));
    }
    let fields = schema
        .fields()
        .ok_or_else(|| malformed("schema without a list of fields"))?;
    let mut checker = Checker { limits, fields: 0 };
    for field in fields {
        checker.field(field, 1)?;
    }
    let schema = guarded(|| Ok(ipc::convert::fb_to_schema(schema)))?;
    let dictionaries = dictionary_types(&schema)?;
    Ok((Arc::new(schema), dictionaries))
}

struct Checker<'a> {
    limits: &'a IpcLimits,
    fields: usize,
}

impl Checker<'_> {
    fn field(&mut self, field: ipc::Field<'_>, level: usize) -> Result<()> {
        self.fields += 1;
        if self.fields > self.limits.max_fields {
            return Err(malformed(format!(
                "the schema has more than {} fields",
                self.limits.max_fields
            )));
        }
        if level > self.limits.max_nesting {
            return Err(malformed(format!(
                "the schema nests deeper than {} levels",
                self.limits.max_nesting
            )));
        }
        if field
            .name()
            .is_some_and(|name| name.len() > self.limits.max_name_bytes)
        {
            return Err(malformed(format!(
                "a field name is longer than {} bytes",
                self.limits.max_name_bytes
            )));
        }
        if let Some(dictionary) = field.dictionary() {
            check_dictionary(&dictionary)?;
        }
        check_type(field).map_err(|fault| named(field, fault))?;
        for child in field.children().into_iter().flatten() {
            self.field(child, level + 1)?;
        }
        Ok(())
    }
}

/// Why a type is refused.
enum Fault {
    Malformed(String),
    Unsupported(&'static str),
}

fn named(field: ipc::Field<'_>, fault: Fault) -> crate::error::Error {
    let name = field.name().unwrap_or_default();
    match fault {
        Fault::Malformed(message) => malformed(format!("column `{name}`: {message}")),
        Fault::Unsupported(what) => {
            unsupported(&format!("column `{name}`: {what} in an uploaded frame"))
        }
    }
}

fn check_dictionary(dictionary: &ipc::DictionaryEncoding<'_>) -> Result<()> {
    if dictionary.dictionaryKind() != ipc::DictionaryKind::DenseArray {
        return Err(malformed("unknown kind of dictionary"));
    }
    match dictionary.indexType().map(|index| index.bitWidth()) {
        Some(8 | 16 | 32 | 64) => Ok(()),
        _ => Err(malformed(
            "a dictionary's index type is not an integer of 8, 16, 32 or 64 bits",
        )),
    }
}

fn check_type(field: ipc::Field<'_>) -> Result<(), Fault> {
    match field.type_type() {
        ipc::Type::Null
        | ipc::Type::Bool
        | ipc::Type::Binary
        | ipc::Type::LargeBinary
        | ipc::Type::BinaryView
        | ipc::Type::Utf8
        | ipc::Type::LargeUtf8
        | ipc::Type::Utf8View
        | ipc::Type::Struct_ => Ok(()),
        ipc::Type::Int
        | ipc::Type::FloatingPoint
        | ipc::Type::Date
        | ipc::Type::Time
        | ipc::Type::Timestamp
        | ipc::Type::Duration
        | ipc::Type::Interval
        | ipc::Type::Decimal => check_parameters(field),
        ipc::Type::List | ipc::Type::LargeList | ipc::Type::ListView | ipc::Type::LargeListView => {
            one_child(field)
        }
        ipc::Type::FixedSizeBinary => {
            width(field.type_as_fixed_size_binary().map(|ty| ty.byteWidth()))
        }
        ipc::Type::FixedSizeList => {
            width(field.type_as_fixed_size_list().map(|ty| ty.listSize()))?;
            one_child(field)
        }
        ipc::Type::Map => check_map(field),
        ipc::Type::Union => Err(Fault::Unsupported("a union")),
        ipc::Type::RunEndEncoded => Err(Fault::Unsupported("run-end encoding")),
        other => Err(Fault::Malformed(format!("unknown type {}", other.0))),
    }
}

fn check_parameters(field: ipc::Field<'_>) -> Result<(), Fault> {
    let known = match field.type_type() {
        ipc::Type::Int => field
            .type_as_int()
            .is_some_and(|ty| matches!(ty.bitWidth(), 8 | 16 | 32 | 64)),
        ipc::Type::FloatingPoint => field
            .type_as_floating_point()
            .is_some_and(|ty| ty.precision().variant_name().is_some()),
        ipc::Type::Date => field
            .type_as_date()
            .is_some_and(|ty| ty.unit().variant_name().is_some()),
        ipc::Type::Time => field.type_as_time().is_some_and(|ty| {
            let short = matches!(
                ty.unit(),
                ipc::TimeUnit::SECOND | ipc::TimeUnit::MILLISECOND
            );
            ty.unit().variant_name().is_some() && ty.bitWidth() == if short { 32 } else { 64 }
        }),
        ipc::Type::Timestamp => field
            .type_as_timestamp()
            .is_some_and(|ty| ty.unit().variant_name().is_some()),
        ipc::Type::Duration => field
            .type_as_duration()
            .is_some_and(|ty| ty.unit().variant_name().is_some()),
        ipc::Type::Interval => field
            .type_as_interval()
            .is_some_and(|ty| ty.unit().variant_name().is_some()),
        ipc::Type::Decimal => field.type_as_decimal().is_some_and(known_decimal),
        _ => false,
    };
    let name = field.type_type().variant_name().unwrap_or_default();
    if known {
        Ok(())
    } else {
        Err(Fault::Malformed(format!(
            "unknown width, unit or precision of type {name}"
        )))
    }
}

fn known_decimal(decimal: ipc::Decimal<'_>) -> bool {
    let max = match decimal.bitWidth() {
        32 => DECIMAL32_MAX_PRECISION,
        64 => DECIMAL64_MAX_PRECISION,
        128 => DECIMAL128_MAX_PRECISION,
        256 => DECIMAL256_MAX_PRECISION,
        _ => return false,
    };
    let max = i32::from(max);
    (1..=max).contains(&decimal.precision()) && (-max..=max).contains(&decimal.scale())
}

fn width(width: Option<i32>) -> Result<(), Fault> {
    match width {
        Some(1..) => Ok(()),
        Some(0) => Err(Fault::Unsupported("a fixed-size type of width 0")),
        _ => Err(Fault::Malformed(
            "a fixed-size type without a valid width".to_owned(),
        )),
    }
}

fn one_child(field: ipc::Field<'_>) -> Result<(), Fault> {
    match field.children().map_or(0, |children| children.len()) {
        1 => Ok(()),
        count => Err(Fault::Malformed(format!(
            "a list has one child, not {count}"
        ))),
    }
}

fn check_map(field: ipc::Field<'_>) -> Result<(), Fault> {
    one_child(field)?;
    let entries = field.children().map(|children| children.get(0));
    let is_pair = entries.is_some_and(|entries| {
        entries.type_type() == ipc::Type::Struct_
            && entries.dictionary().is_none()
            && entries
                .children()
                .is_some_and(|children| children.len() == 2)
    });
    if is_pair && field.type_as_map().is_some() {
        Ok(())
    } else {
        Err(Fault::Malformed(
            "a map's entries are a struct of key and value".to_owned(),
        ))
    }
}

/// Ids may be shared, but only by fields of one type.
fn dictionary_types(schema: &Schema) -> Result<DictionaryTypes> {
    let mut types = DictionaryTypes::new();
    for field in schema.flattened_fields() {
        if let (Some(id), DataType::Dictionary(_, values)) =
            (dictionary_id(field), field.data_type())
        {
            let known = types.entry(id).or_insert_with(|| values.as_ref().clone());
            if known != values.as_ref() {
                return Err(malformed(format!(
                    "dictionary {id} has two types, {known} and {values}"
                )));
            }
        }
    }
    Ok(types)
}

#[expect(
    deprecated,
    reason = "arrow-ipc still finds dictionaries by the field's id"
)]
fn dictionary_id(field: &Field) -> Option<i64> {
    field.dict_id()
}
