//! The order of rows by several columns. Keys of one table have long prefixes in common, so that a comparison of whole
//! values costs more than it tells: rows are compared by the eight bytes after what they all share, then by the rest.

use arrow::array::{ArrayRef, UInt32Array};
use arrow::compute::SortColumn;
use arrow_row::{RowConverter, Rows, SortField};

use crate::error::{Error, Result};

/// Row numbers in order. Rows that are equal in all columns stay in the order that they came in.
pub(super) fn order(columns: Vec<SortColumn>) -> Result<UInt32Array> {
    let fields = columns.iter().map(|column| {
        let options = column.options.unwrap_or_default();
        SortField::new_with_options(column.values.data_type().clone(), options)
    });
    let converter = RowConverter::new(fields.collect()).map_err(Error::arrow("sort rows"))?;
    let values: Vec<ArrayRef> = columns.into_iter().map(|column| column.values).collect();
    let rows = converter.convert_columns(&values);
    Ok(sorted(&rows.map_err(Error::arrow("sort rows"))?))
}

fn sorted(rows: &Rows) -> UInt32Array {
    let shared = shared_prefix(rows);
    let mut order: Vec<(u64, u32)> = (0u32..)
        .zip(rows)
        .map(|(i, row)| (head(&row.as_ref()[shared..]), i))
        .collect();
    let rest = |i: u32| rows.row(i as usize);
    order.sort_unstable_by(|(a, i), (b, j)| {
        a.cmp(b)
            .then_with(|| rest(*i).cmp(&rest(*j)))
            .then_with(|| i.cmp(j))
    });
    UInt32Array::from_iter_values(order.into_iter().map(|(_, i)| i))
}

/// Bytes that all rows begin with.
fn shared_prefix(rows: &Rows) -> usize {
    let Some(first) = rows.iter().next() else {
        return 0;
    };
    let first = first.as_ref();
    rows.iter().fold(first.len(), |shared, row| {
        let same = first[..shared].iter().zip(row.as_ref());
        same.take_while(|(a, b)| a == b).count()
    })
}

/// The first eight bytes as a number of the same order; what is missing counts as zero.
fn head(bytes: &[u8]) -> u64 {
    let mut head = [0; 8];
    let length = bytes.len().min(8);
    head[..length].copy_from_slice(&bytes[..length]);
    u64::from_be_bytes(head)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{BinaryArray, Int64Array};
    use arrow::compute::SortOptions;

    use super::*;

    fn column(values: ArrayRef) -> SortColumn {
        SortColumn {
            values,
            options: None,
        }
    }

    #[test]
    fn rows_are_ordered_by_all_columns_and_then_as_they_came() {
        let keys: Vec<Option<&[u8]>> = vec![
            Some(b"prefix-b"),
            Some(b"prefix-a-and-much-more-2"),
            None,
            Some(b"prefix-a-and-much-more-1"),
            Some(b"prefix-b"),
            Some(b"prefix-b"),
        ];
        let times = Int64Array::from(vec![2, 1, 1, 1, -1, 2]);
        let order = order(vec![
            column(Arc::new(BinaryArray::from(keys))),
            column(Arc::new(times)),
        ]);
        assert_eq!(order.unwrap().values(), &[2, 3, 1, 4, 0, 5]);
    }

    #[test]
    fn options_are_kept() {
        let values = Int64Array::from(vec![Some(1), None, Some(2)]);
        let column = SortColumn {
            values: Arc::new(values),
            options: Some(SortOptions {
                descending: true,
                nulls_first: false,
            }),
        };
        assert_eq!(order(vec![column]).unwrap().values(), &[2, 0, 1]);
    }
}
