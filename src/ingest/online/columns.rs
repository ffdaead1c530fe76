//! Batches as they come become batches of an online table.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, Int64Array, RecordBatch, new_null_array};
use arrow::compute::{CastOptions, cast_with_options, concat_batches};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use iceberg::table::Table;

use super::tables::Wanted;
use crate::error::{Error, Result};
use crate::ingest::fit::{fit, mismatch};
use crate::model::KeyField;
use crate::table::entity_key::{KeyEncoder, key_column};
use crate::table::online::{
    CREATED_TIMESTAMP, ENTITY_KEY, EVENT_TIMESTAMP, WRITE_SEQUENCE, stored_key,
};
use crate::table::write::arrow_schema;

/// Other names for the times, which a view's batch source has.
#[derive(Clone, Debug, Default)]
pub(super) struct TimeNames {
    pub(super) event: Option<String>,
    pub(super) created: Option<String>,
}

/// The parts that sent columns play, by position.
#[derive(Clone, Debug)]
pub(super) struct Parts {
    pub(super) event: usize,
    pub(super) created: Option<usize>,
    pub(super) keys: Vec<usize>,
    pub(super) features: Vec<usize>,
}

impl Parts {
    /// # Errors
    /// [`Error::ColumnCollision`] for a repeated name; [`Error::SchemaMismatch`] naming a column that is missing.
    pub(super) fn new(sent: &Schema, join_keys: &[KeyField], names: &TimeNames) -> Result<Self> {
        let fields = sent.fields();
        let repeated = |(i, field): (usize, &Arc<Field>)| {
            let again = fields[..i].iter().any(|it| it.name() == field.name());
            again.then(|| field.name().clone())
        };
        if let Some(column) = fields.iter().enumerate().find_map(repeated) {
            return Err(Error::ColumnCollision { column });
        }
        let find = |name: &str, other: Option<&String>| {
            let found = sent.index_of(name).ok();
            found.or_else(|| sent.index_of(other?).ok())
        };
        let event = find(EVENT_TIMESTAMP, names.event.as_ref());
        let event = event.ok_or_else(|| missing(EVENT_TIMESTAMP, "a timestamp"))?;
        let created = find(CREATED_TIMESTAMP, names.created.as_ref());
        let keys = join_keys.iter().map(|key| {
            let expected = format!("a join key of type {}", key.key_type.name());
            sent.index_of(&key.name)
                .map_err(|_| missing(&key.name, &expected))
        });
        let keys = keys.collect::<Result<Vec<_>>>()?;
        let taken = |i: &usize| keys.contains(i) || *i == event || Some(*i) == created;
        Ok(Self {
            event,
            created,
            features: (0..fields.len()).filter(|i| !taken(i)).collect(),
            keys,
        })
    }
}

fn missing(column: &str, expected: &str) -> Error {
    Error::SchemaMismatch {
        column: column.to_owned(),
        expected: expected.to_owned(),
        found: "no column".to_owned(),
    }
}

/// Makes batches of an online table out of sent ones.
#[derive(Debug)]
pub(super) struct OnlineColumns {
    sent: SchemaRef,
    target: SchemaRef,
    parts: Parts,
    join_keys: Vec<KeyField>,
    encoder: KeyEncoder,
}

impl OnlineColumns {
    /// # Errors
    /// [`Error::SchemaMismatch`] for a sent column of a type that can never become the table's.
    pub(super) fn new(wanted: &Wanted, sent: &SchemaRef, table: &Table) -> Result<Self> {
        let columns = Self {
            sent: Arc::clone(sent),
            target: Arc::new(arrow_schema(table)?),
            parts: wanted.parts.clone(),
            encoder: KeyEncoder::new(&wanted.definition.join_keys),
            join_keys: wanted.definition.join_keys.clone(),
        };
        columns.fit(&[RecordBatch::new_empty(Arc::clone(sent))], 0)?;
        Ok(columns)
    }

    /// One batch of the table's columns, whose rows have the write sequences from `first` on.
    ///
    /// # Errors
    /// [`Error::SchemaMismatch`] for values that do not fit, and for nulls in keys and event times.
    pub(super) fn fit(&self, batches: &[RecordBatch], first: i64) -> Result<RecordBatch> {
        let sent = concat_batches(&self.sent, batches).map_err(Error::arrow("join batches"))?;
        let keys = self.join_keys.iter().zip(&self.parts.keys);
        let keys = keys.map(|(key, position)| {
            let column = key_column(key, sent.column(*position))?;
            no_nulls(&key.name, column, "nulls or values that are no such key")
        });
        let keys = keys.collect::<Result<Vec<ArrayRef>>>()?;
        let columns = self.target.fields().iter().map(|field| {
            let values = self.column(field, &sent, &keys, first)?;
            fit(field.name(), &values, field.data_type())
        });
        let columns = columns.collect::<Result<Vec<_>>>()?;
        RecordBatch::try_new(Arc::clone(&self.target), columns).map_err(Error::arrow("build batch"))
    }

    fn column(
        &self,
        field: &Field,
        sent: &RecordBatch,
        keys: &[ArrayRef],
        first: i64,
    ) -> Result<ArrayRef> {
        let (name, rows) = (field.name().as_str(), sent.num_rows());
        let nulls = || new_null_array(&DataType::Null, rows);
        Ok(match name {
            ENTITY_KEY => Arc::new(self.encoder.encode(rows, |name| self.key(name, keys))?),
            WRITE_SEQUENCE => Arc::new(Int64Array::from_iter_values((first..).take(rows))),
            EVENT_TIMESTAMP => {
                let times = fit(name, sent.column(self.parts.event), field.data_type())?;
                no_nulls(name, times, "nulls")?
            }
            CREATED_TIMESTAMP => match self.parts.created {
                Some(position) => Arc::clone(sent.column(position)),
                None => nulls(),
            },
            name => match (self.stored_key(name, keys)?, self.feature(name)) {
                (Some(key), _) => key,
                (None, Some(position)) => Arc::clone(sent.column(position)),
                (None, None) => nulls(),
            },
        })
    }

    fn key<'a>(&self, name: &str, keys: &'a [ArrayRef]) -> Option<&'a ArrayRef> {
        let position = self.join_keys.iter().position(|key| key.name == name)?;
        keys.get(position)
    }

    /// The join key column as the table has it.
    fn stored_key(&self, name: &str, keys: &[ArrayRef]) -> Result<Option<ArrayRef>> {
        let known = self.join_keys.iter().find(|key| key.name == name);
        let (Some(key), Some(column)) = (known, self.key(name, keys)) else {
            return Ok(None);
        };
        let stored = stored_key(key.key_type);
        let strict = CastOptions {
            safe: false,
            ..CastOptions::default()
        };
        cast_with_options(column, &stored, &strict)
            .map(Some)
            .map_err(|error| mismatch(name, &stored, error))
    }

    fn feature(&self, name: &str) -> Option<usize> {
        let mut features = self.parts.features.iter().copied();
        features.find(|position| self.sent.field(*position).name() == name)
    }
}

fn no_nulls(column: &str, values: ArrayRef, found: &str) -> Result<ArrayRef> {
    if values.null_count() == 0 {
        return Ok(values);
    }
    Err(Error::SchemaMismatch {
        column: column.to_owned(),
        expected: "a value in every row".to_owned(),
        found: found.to_owned(),
    })
}
