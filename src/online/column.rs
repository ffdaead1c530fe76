//! One feature's values in a layer. Where few of them differ, as of categories, counts and flags, each is kept once, and
//! a row takes one or two bytes.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, DictionaryArray, PrimitiveArray};
use arrow::compute::cast;
use arrow::datatypes::{ArrowDictionaryKeyType, ArrowNativeType, DataType, UInt8Type, UInt16Type};

use crate::error::{Error, Result};

/// With fewer rows for each value that two bytes can tell apart, finding the values out is not worth the time.
const ROWS_OF_U16: usize = 1 << 18;

/// Rows that are tried first.
const FIRST_ROWS: usize = 512;

/// See the module's text.
#[derive(Debug)]
pub(super) struct Column {
    codes: Codes,
    values: ArrayRef,
}

#[derive(Debug)]
enum Codes {
    /// Every row has its value at its own place.
    None,
    U8(PrimitiveArray<UInt8Type>),
    U16(PrimitiveArray<UInt16Type>),
}

impl Column {
    /// The smaller of two forms.
    pub(super) fn new(mut plain: ArrayRef) -> Self {
        let narrow = coded::<UInt8Type>(&plain, Codes::U8);
        let smaller = narrow.or_else(|| match plain.len() >= ROWS_OF_U16 {
            true => coded::<UInt16Type>(&plain, Codes::U16),
            false => None,
        });
        smaller.unwrap_or_else(|| {
            shrink(&mut plain);
            Self {
                codes: Codes::None,
                values: plain,
            }
        })
    }

    /// Heap bytes.
    pub(super) fn bytes(&self) -> usize {
        let codes = match &self.codes {
            Codes::None => 0,
            Codes::U8(codes) => codes.get_array_memory_size(),
            Codes::U16(codes) => codes.get_array_memory_size(),
        };
        codes + self.values.get_array_memory_size()
    }

    /// What [`Column::place`] counts in.
    pub(super) fn values(&self) -> &ArrayRef {
        &self.values
    }

    /// Where a row's value is; `None` for a null, which may also have a place.
    pub(super) fn place(&self, row: usize) -> Option<usize> {
        match &self.codes {
            Codes::None => Some(row),
            Codes::U8(codes) => place(codes, row),
            Codes::U16(codes) => place(codes, row),
        }
    }

    /// One value for each row.
    ///
    /// # Errors
    /// If Arrow cannot copy them.
    pub(super) fn plain(&self) -> Result<ArrayRef> {
        let take = |codes: &dyn Array| {
            arrow::compute::take(&self.values, codes, None)
                .map_err(Error::arrow("read a column of latest rows"))
        };
        match &self.codes {
            Codes::None => Ok(Arc::clone(&self.values)),
            Codes::U8(codes) => take(codes),
            Codes::U16(codes) => take(codes),
        }
    }
}

fn place<K: ArrowDictionaryKeyType>(codes: &PrimitiveArray<K>, row: usize) -> Option<usize> {
    codes.is_valid(row).then(|| codes.value(row).as_usize())
}

/// `None` where this takes more bytes than one value for each row, or there are more values than codes.
fn coded<K: ArrowDictionaryKeyType>(
    plain: &ArrayRef,
    codes: fn(PrimitiveArray<K>) -> Codes,
) -> Option<Column> {
    let data_type = plain.data_type();
    let is_bytes = matches!(data_type, DataType::Utf8 | DataType::Binary);
    if !is_bytes && !data_type.is_primitive() {
        return None;
    }
    // If its first rows have too many values, the whole has.
    let as_dictionary = DataType::Dictionary(Box::new(K::DATA_TYPE), Box::new(data_type.clone()));
    if plain.len() > FIRST_ROWS {
        cast(&plain.slice(0, FIRST_ROWS), &as_dictionary).ok()?;
    }
    let mut dictionary = cast(plain, &as_dictionary).ok()?;
    shrink(&mut dictionary);
    let dictionary: &DictionaryArray<K> = dictionary.as_dictionary();
    let coded = Column {
        codes: codes(dictionary.keys().clone()),
        values: Arc::clone(dictionary.values()),
    };
    (coded.bytes() < plain.get_array_memory_size()).then_some(coded)
}

fn shrink(array: &mut ArrayRef) {
    if let Some(array) = Arc::get_mut(array) {
        array.shrink_to_fit();
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{Float64Array, Int64Array, StringArray};
    use proptest::prelude::*;

    use super::*;

    fn at(column: &Column, row: usize) -> ArrayRef {
        match column.place(row) {
            Some(place) => column.values().slice(place, 1),
            None => arrow::array::new_null_array(column.values().data_type(), 1),
        }
    }

    fn check(plain: ArrayRef) -> Column {
        let column = Column::new(Arc::clone(&plain));
        assert_eq!(&column.plain().unwrap(), &plain);
        for row in 0..plain.len() {
            assert_eq!(&at(&column, row), &plain.slice(row, 1));
        }
        column
    }

    #[test]
    fn few_values_take_a_byte_a_row() {
        let names = (0..4000).map(|row| (row % 7 != 0).then(|| format!("category {}", row % 5)));
        let column = check(Arc::new(names.collect::<StringArray>()));
        assert!(
            column.bytes() < 4000 + 4000 / 8 + 1000,
            "{}",
            column.bytes()
        );
    }

    #[test]
    fn many_rows_of_some_values_take_two_bytes_a_row() {
        let rows = i32::try_from(ROWS_OF_U16).unwrap();
        let values = Int64Array::from_iter_values((0..rows).map(|row| i64::from(row % 1000) << 40));
        let column = Column::new(Arc::new(values));
        assert!(matches!(column.codes, Codes::U16(_)));
        assert_eq!(at(&column, 1003).as_ref(), &Int64Array::from(vec![3 << 40]));
    }

    #[test]
    fn values_that_all_differ_stay_as_they_are() {
        let values = Float64Array::from_iter_values((0..1000).map(f64::from));
        let column = check(Arc::new(values));
        assert!(matches!(column.codes, Codes::None));
        check(Arc::new(Float64Array::from(vec![f64::NAN, -0.0, 0.0])));
    }

    proptest! {
        #[test]
        fn both_forms_hold_the_same(values in prop::collection::vec(prop::option::of(0_i64..300), 0..600)) {
            check(Arc::new(Int64Array::from(values)));
        }
    }
}
