//! Which sent column goes into which column of the place that is written to.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{RecordBatch, new_empty_array};
use arrow::datatypes::{FieldRef, Schema, SchemaRef};

use super::fit::{fit, mismatch};
use crate::error::{Error, Result};

/// Makes batches of one schema out of batches of another.
#[derive(Debug)]
pub(super) struct Columns {
    target: SchemaRef,
    /// For each column of the target, its position among the sent ones.
    positions: Vec<usize>,
}

impl Columns {
    /// Finds each column of `place` among the sent ones, by its own name or by the one it is mapped to, in any order.
    ///
    /// # Errors
    /// [`Error::ColumnsDiffer`] unless the two are the same set; [`Error::SchemaMismatch`] for a type that can never
    /// become the other.
    pub(super) fn new(
        place: &str,
        sent: &Schema,
        target: SchemaRef,
        mapping: &BTreeMap<String, String>,
    ) -> Result<Self> {
        let names = |schema: &Schema| {
            let names = schema.fields().iter();
            names.map(|field| field.name().clone()).collect::<Vec<_>>()
        };
        let differ = || Error::ColumnsDiffer {
            place: place.to_owned(),
            expected: names(&target),
            found: names(sent),
        };
        let found = target.fields().iter();
        let found = found.map(|field| position(sent, &target, field, mapping));
        let positions: Vec<usize> = found.collect::<Option<_>>().ok_or_else(differ)?;
        let distinct: std::collections::BTreeSet<usize> = positions.iter().copied().collect();
        if distinct.len() != sent.fields().len() || positions.len() != distinct.len() {
            return Err(differ());
        }
        for (field, position) in target.fields().iter().zip(&positions) {
            let none = new_empty_array(sent.field(*position).data_type());
            fit(field.name(), &none, field.data_type())?;
        }
        Ok(Self { target, positions })
    }

    /// The schema of what [`Columns::fit`] makes.
    pub(super) fn schema(&self) -> &SchemaRef {
        &self.target
    }

    /// The batch in the schema of the target.
    ///
    /// # Errors
    /// [`Error::SchemaMismatch`] for values that do not fit, and for nulls where there must be none.
    pub(super) fn fit(&self, batch: &RecordBatch) -> Result<RecordBatch> {
        let columns = self.target.fields().iter().zip(&self.positions);
        let columns = columns.map(|(field, position)| {
            let values = fit(field.name(), batch.column(*position), field.data_type())?;
            match !field.is_nullable() && values.null_count() > 0 {
                true => Err(nulls(field)),
                false => Ok(values),
            }
        });
        let columns = columns.collect::<Result<Vec<_>>>()?;
        RecordBatch::try_new(Arc::clone(&self.target), columns).map_err(Error::arrow("build batch"))
    }
}

fn nulls(field: &FieldRef) -> Error {
    mismatch(
        field.name(),
        field.data_type(),
        "nulls, which this column must not have",
    )
}

/// A name of the target's own always means that column; only other names can be mapped ones.
fn position(
    sent: &Schema,
    target: &Schema,
    field: &FieldRef,
    mapping: &BTreeMap<String, String>,
) -> Option<usize> {
    sent.index_of(field.name()).ok().or_else(|| {
        let mapped = mapping.get(field.name())?;
        match target.index_of(mapped) {
            Ok(_) => None,
            Err(_) => sent.index_of(mapped).ok(),
        }
    })
}
