//! Dividing a spine: every row is in one part, and equal keys are together.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::sync::Arc;

use arrow::array::{AsArray, Int64Array, StringArray};
use arrow::datatypes::{DataType, Field, Int64Type, Schema};
use proptest::prelude::*;

use super::*;

const ROW: usize = 1;

fn spine(keys: &ArrayRef, batch_rows: usize) -> Spine {
    let rows: ArrayRef = Arc::new(Int64Array::from_iter_values(0..keys.len() as i64));
    let schema = Arc::new(Schema::new(vec![
        Field::new("key", keys.data_type().clone(), true),
        Field::new("row", DataType::Int64, false),
    ]));
    let columns = vec![Arc::clone(keys), rows];
    let all = RecordBatch::try_new(Arc::clone(&schema), columns).unwrap();
    let starts = (0..keys.len()).step_by(batch_rows);
    let slice = |start| all.slice(start, batch_rows.min(keys.len() - start));
    Spine {
        schema,
        batches: starts.map(slice).collect(),
        output: 2,
        timestamp: ROW,
        keys: vec![vec![0]],
    }
}

fn parts(spine: Spine, count: u32) -> Parts {
    let buckets = Buckets { count, column: 0 };
    Parts {
        rows: buckets.divide(&spine).unwrap(),
        divided_by: buckets.describe(&spine),
        spine,
    }
}

fn numbers(spine: &Spine) -> Vec<i64> {
    let numbers = |batch: &RecordBatch| {
        let rows = batch.column(ROW).as_primitive::<Int64Type>();
        rows.values().to_vec()
    };
    spine.batches.iter().flat_map(numbers).collect()
}

/// Rows of each part, by number.
fn rows_of(parts: &Parts) -> Vec<Vec<i64>> {
    let whole = parts.of_ticket(&FlightPart::whole()).unwrap();
    whole.iter().map(|(_, spine)| numbers(spine)).collect()
}

fn check<K: Ord + Debug>(keys: &[Option<K>], parts: &Parts) -> Result<(), TestCaseError> {
    let divided = rows_of(parts);
    prop_assert!(divided.len() <= 16);
    let mut part_of = BTreeMap::new();
    let mut seen = BTreeSet::new();
    for (part, rows) in divided.iter().enumerate() {
        prop_assert!(rows.is_sorted() && !rows.is_empty());
        for row in rows {
            prop_assert!(seen.insert(*row), "row {} is in two parts", row);
            let key = &keys[usize::try_from(*row).unwrap()];
            prop_assert_eq!(*part_of.entry(key).or_insert(part), part);
        }
    }
    prop_assert_eq!(seen.len(), keys.len());
    Ok(())
}

fn keys<K: Strategy>(key: K) -> impl Strategy<Value = Vec<Option<K::Value>>>
where
    K::Value: Clone,
{
    prop::collection::vec(prop::option::of(key), 1..60)
}

proptest! {
    #[test]
    fn every_int_row_is_in_one_part(keys in keys(0..40_i64), count in 1..200_u32, batch in 1..9_usize) {
        let column: ArrayRef = Arc::new(Int64Array::from(keys.clone()));
        check(&keys, &parts(spine(&column, batch), count))?;
    }

    #[test]
    fn every_text_row_is_in_one_part(keys in keys("[a-é]{0,3}"), count in 1..200_u32, batch in 1..9_usize) {
        let column: ArrayRef = Arc::new(StringArray::from_iter(keys.iter().map(Option::as_deref)));
        check(&keys, &parts(spine(&column, batch), count))?;
    }
}

fn some_parts() -> Parts {
    let column: ArrayRef = Arc::new(Int64Array::from_iter_values(0..100));
    parts(spine(&column, 30), 4)
}

#[test]
fn a_ticket_for_one_part_has_that_parts_rows() {
    let parts = some_parts();
    let divided = rows_of(&parts);
    assert_eq!(divided.len(), 4);
    for (part, rows) in parts.all().iter().zip(divided) {
        let chosen = parts.of_ticket(part).unwrap();
        let [(found, spine)] = chosen.as_slice() else {
            panic!("one part, found {}", chosen.len())
        };
        assert_eq!((found, numbers(spine)), (part, rows));
    }
}

#[test]
fn a_ticket_for_parts_of_another_division_is_refused() {
    let ticket = |number, count, divided_by: &str| FlightPart {
        number,
        count,
        divided_by: divided_by.to_owned(),
    };
    let refused = |parts: &Parts, ticket: FlightPart| parts.of_ticket(&ticket).unwrap_err();
    let parts = some_parts();
    for other in [
        ticket(1, 3, "bucket[4] of `key`"),
        ticket(1, 4, "bucket[5] of `key`"),
        ticket(1, 4, "bucket[4] of `other`"),
    ] {
        let error = refused(&parts, other.clone()).to_string();
        let expected = format!(
            "the ticket is for {other}, but the flight has 4 parts by bucket[4] of `key` now; call GetFlightInfo again"
        );
        assert_eq!(error, expected);
    }
    let whole = Parts::whole(parts.spine);
    let error = refused(&whole, ticket(1, 2, "k")).to_string();
    assert!(
        error.starts_with("the ticket is for part 2 of 2 by k, but the flight has one part now")
    );
}

#[test]
fn a_type_without_buckets_is_not_divided() {
    let column: ArrayRef = Arc::new(arrow::array::Float64Array::from(vec![1.0, 2.0]));
    let buckets = Buckets {
        count: 4,
        column: 0,
    };
    assert_eq!(buckets.divide(&spine(&column, 1)), None);
}
