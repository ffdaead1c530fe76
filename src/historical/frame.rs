//! The entity dataframe: what the client sent, checked and ready to be the spine of a join.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::compute::{cast, concat};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use datafusion::execution::memory_pool::MemoryReservation;

use super::bind::{BoundView, check_collisions, hidden_key, schema_of};
use crate::engine::coerce::{coerce_key, coerce_timestamp, instant_bounds_us, is_timestamp_like};
use crate::error::{Error, Result};
use crate::model::TimeWindow;
use crate::table::{KeyFilter, ScanFilter, SortedKeys};

/// Preferred name of the event timestamp column.
pub const EVENT_TIMESTAMP: &str = "event_timestamp";

/// An entity dataframe in memory.
#[derive(Clone, Debug)]
pub struct EntityFrame {
    schema: SchemaRef,
    batches: Vec<RecordBatch>,
    charge: Option<Arc<MemoryReservation>>,
}

impl EntityFrame {
    /// A dataframe of `batches`, all of `schema`.
    pub fn new(schema: SchemaRef, batches: Vec<RecordBatch>) -> Self {
        Self {
            schema,
            batches,
            charge: None,
        }
    }

    /// The same with a claim on the engine's memory that ends with the last user of the dataframe.
    pub(super) fn charged_to(mut self, memory: MemoryReservation) -> Self {
        self.charge = Some(Arc::new(memory));
        self
    }

    /// The claim on the engine's memory, if the dataframe has one.
    pub(super) fn charge(&self) -> Option<Arc<MemoryReservation>> {
        self.charge.clone()
    }

    /// Number of rows.
    pub fn rows(&self) -> u64 {
        self.batches
            .iter()
            .map(|batch| batch.num_rows() as u64)
            .sum()
    }

    /// Drops the columns that pandas sent only to restore its index, unless the request joins on them.
    fn without_pandas_index(&self, needed: &BTreeSet<&str>) -> Result<Self> {
        let index = pandas_index_columns(&self.schema);
        let keep: Vec<usize> = (0..self.schema.fields().len())
            .filter(|&i| {
                let name = self.schema.field(i).name().as_str();
                name == EVENT_TIMESTAMP
                    || needed.contains(name)
                    || !index.iter().any(|column| column == name)
            })
            .collect();
        let schema = schema_of(keep.iter().map(|&i| {
            self.schema
                .field(i)
                .clone()
                .with_metadata(Default::default())
        }));
        let project = |batch: &RecordBatch| {
            let columns = keep.iter().map(|&i| Arc::clone(batch.column(i))).collect();
            let options =
                arrow::array::RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
            RecordBatch::try_new_with_options(Arc::clone(&schema), columns, &options)
        };
        let batches = self
            .batches
            .iter()
            .map(project)
            .collect::<Result<Vec<_>, _>>();
        Ok(Self {
            batches: batches.map_err(Error::arrow("read the entity dataframe"))?,
            schema,
            charge: self.charge.clone(),
        })
    }

    /// The event timestamp: `event_timestamp`, or else the only timestamp column.
    fn timestamp_column(&self) -> Result<usize> {
        if let Some((i, field)) = self.schema.column_with_name(EVENT_TIMESTAMP) {
            return match is_timestamp_like(field.data_type()) {
                true => Ok(i),
                false => {
                    Err(self.no_timestamp(format!("column `{EVENT_TIMESTAMP}` is not a timestamp")))
                }
            };
        }
        let is_timestamp =
            |i: &usize| matches!(self.schema.field(*i).data_type(), DataType::Timestamp(_, _));
        match (0..self.schema.fields().len()).filter(is_timestamp).collect::<Vec<_>>()[..] {
            [i] => Ok(i),
            [] => Err(self.no_timestamp("entity dataframe has no timestamp column".to_owned())),
            _ => Err(self.no_timestamp(format!(
                "entity dataframe has several timestamp columns and none is called `{EVENT_TIMESTAMP}`"
            ))),
        }
    }

    fn no_timestamp(&self, message: String) -> Error {
        let found = self
            .schema
            .fields()
            .iter()
            .map(|field| format!("{}: {}", field.name(), field.data_type()));
        Error::NoTimestampColumn {
            message,
            found: found.collect(),
        }
    }

    fn column_of(&self, column: &str, view: &str) -> Result<usize> {
        self.schema
            .index_of(column)
            .map_err(|_| Error::MissingEntityColumn {
                column: column.to_owned(),
                view: view.to_owned(),
                found: self
                    .schema
                    .fields()
                    .iter()
                    .map(|field| field.name().clone())
                    .collect(),
            })
    }
}

/// Column names in pandas' schema metadata; ranges are objects there and take no column.
fn pandas_index_columns(schema: &Schema) -> Vec<String> {
    let parse = |json: &String| serde_json::from_str::<serde_json::Value>(json).ok();
    let pandas = schema
        .metadata()
        .get("pandas")
        .and_then(parse)
        .unwrap_or_default();
    let columns = pandas["index_columns"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    columns
        .iter()
        .filter_map(|column| column.as_str().map(str::to_owned))
        .collect()
}

/// The left side of the join as columns: what goes into the result first, then what only the join needs.
#[derive(Clone, Debug)]
pub(super) struct Spine {
    /// Result columns, then hidden ones.
    pub(super) schema: SchemaRef,
    pub(super) batches: Vec<RecordBatch>,
    /// Number of result columns.
    pub(super) output: usize,
    /// Column of the event timestamps.
    pub(super) timestamp: usize,
    /// Per view, the columns that hold its join keys in the table's types.
    pub(super) keys: Vec<Vec<usize>>,
}

impl Spine {
    /// Coerces the frame's timestamps and each view's keys.
    pub(super) fn try_new(frame: &EntityFrame, views: &[BoundView]) -> Result<Self> {
        let needed = views
            .iter()
            .flat_map(|view| &view.keys)
            .map(|key| key.field.name().as_str())
            .collect();
        let frame = frame.without_pandas_index(&needed)?;
        check_collisions(
            frame
                .schema
                .fields()
                .iter()
                .map(|field| field.name().as_str()),
        )?;
        let mut columns = SpineColumns::try_new(&frame)?;
        let keys = views
            .iter()
            .map(|view| columns.keys_of(&frame, view))
            .collect::<Result<Vec<_>>>()?;
        let schema = schema_of(columns.fields.iter().cloned());
        let batches = columns.into_batches(&schema)?;
        Ok(Self {
            schema,
            batches: batches.1,
            output: frame.schema.fields().len(),
            timestamp: batches.0,
            keys,
        })
    }

    /// Result columns as fields.
    pub(super) fn output_fields(&self) -> impl Iterator<Item = &Field> {
        self.schema
            .fields()
            .iter()
            .take(self.output)
            .map(AsRef::as_ref)
    }

    /// Number of rows.
    pub(super) fn rows(&self) -> u64 {
        self.batches
            .iter()
            .map(|batch| batch.num_rows() as u64)
            .sum()
    }

    /// What a scan for the view at position `view` may leave out: other times and other keys.
    pub(super) fn filter(&self, view: usize, bound: &BoundView) -> Result<ScanFilter> {
        let timestamp = self
            .window(bound)?
            .map(|window| (bound.timestamp.field_id, window));
        let mut keys = Vec::new();
        for (column, key) in self.keys[view].iter().zip(&bound.keys) {
            if let Some(values) = SortedKeys::try_new(&self.concat(*column)?) {
                keys.push(KeyFilter {
                    field_id: key.field_id,
                    values,
                });
            }
        }
        Ok(ScanFilter { timestamp, keys })
    }

    fn window(&self, bound: &BoundView) -> Result<Option<TimeWindow>> {
        let Some((min, max)) = instant_bounds_us(&self.concat(self.timestamp)?)? else {
            return Ok(None);
        };
        Ok(Some(bound.window(min, max)))
    }

    fn concat(&self, column: usize) -> Result<ArrayRef> {
        let arrays: Vec<&dyn arrow::array::Array> = self
            .batches
            .iter()
            .map(|batch| batch.column(column).as_ref())
            .collect();
        match arrays[..] {
            [] => Ok(arrow::array::new_empty_array(
                self.schema.field(column).data_type(),
            )),
            _ => concat(&arrays).map_err(Error::arrow("gather entity columns")),
        }
    }
}

/// The spine's columns while they are gathered, batch by batch.
struct SpineColumns {
    fields: Vec<Field>,
    /// Per batch, one array per field.
    arrays: Vec<Vec<ArrayRef>>,
    rows: Vec<usize>,
    timestamp: usize,
}

impl SpineColumns {
    fn try_new(frame: &EntityFrame) -> Result<Self> {
        let timestamp = frame.timestamp_column()?;
        let mut columns = Self {
            fields: frame
                .schema
                .fields()
                .iter()
                .map(|field| field.as_ref().clone())
                .collect(),
            arrays: frame
                .batches
                .iter()
                .map(|batch| batch.columns().to_vec())
                .collect(),
            rows: frame.batches.iter().map(RecordBatch::num_rows).collect(),
            timestamp,
        };
        columns.zone_timestamps()?;
        Ok(columns)
    }

    /// Times without a zone are UTC, and the result says so; dates stay as they are and are joined by a hidden column.
    fn zone_timestamps(&mut self) -> Result<()> {
        let field = self.fields[self.timestamp].clone();
        match field.data_type() {
            DataType::Timestamp(unit, None) => {
                let zoned = DataType::Timestamp(*unit, Some("UTC".into()));
                self.replace(
                    self.timestamp,
                    field.with_data_type(zoned.clone()),
                    |array| cast(array, &zoned).map_err(Error::arrow("read event timestamps")),
                )
            }
            DataType::Timestamp(_, Some(_)) => Ok(()),
            _ => {
                let instants = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
                let hidden = Field::new("__timestamp", instants, true);
                self.timestamp = self.derive(self.timestamp, hidden, |array| {
                    coerce_timestamp(field.name(), array)
                })?;
                Ok(())
            }
        }
    }

    fn replace(
        &mut self,
        column: usize,
        field: Field,
        f: impl Fn(&ArrayRef) -> Result<ArrayRef>,
    ) -> Result<()> {
        self.fields[column] = field;
        for arrays in &mut self.arrays {
            arrays[column] = f(&arrays[column])?;
        }
        Ok(())
    }

    /// Appends a column made from another, and answers its position.
    fn derive(
        &mut self,
        from: usize,
        field: Field,
        f: impl Fn(&ArrayRef) -> Result<ArrayRef>,
    ) -> Result<usize> {
        for arrays in &mut self.arrays {
            let derived = f(&arrays[from])?;
            arrays.push(derived);
        }
        self.fields.push(field);
        Ok(self.fields.len() - 1)
    }

    fn keys_of(&mut self, frame: &EntityFrame, view: &BoundView) -> Result<Vec<usize>> {
        view.keys
            .iter()
            .map(|key| self.key_column(frame, view, &key.field))
            .collect()
    }

    /// The column that holds a join key in the table's type: the frame's own where it fits, else a hidden one.
    fn key_column(&mut self, frame: &EntityFrame, view: &BoundView, key: &Field) -> Result<usize> {
        let column = frame.column_of(key.name(), &view.name)?;
        if self.fields[column].data_type() == key.data_type() {
            return Ok(column);
        }
        let name = hidden_key(key);
        match self.fields.iter().position(|field| *field.name() == name) {
            Some(made) => Ok(made),
            None => {
                let hidden = Field::new(name, key.data_type().clone(), true);
                self.derive(column, hidden, |array| {
                    coerce_key(key.name(), array, key.data_type())
                })
            }
        }
    }

    fn into_batches(self, schema: &SchemaRef) -> Result<(usize, Vec<RecordBatch>)> {
        let batch = |(columns, rows): (Vec<ArrayRef>, usize)| {
            let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(rows));
            RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options)
        };
        let batches = self
            .arrays
            .into_iter()
            .zip(self.rows)
            .map(batch)
            .collect::<Result<Vec<_>, _>>();
        Ok((
            self.timestamp,
            batches.map_err(Error::arrow("build the spine"))?,
        ))
    }
}
