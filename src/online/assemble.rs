//! The answer: the keys as they came, then each view's features, statuses and timestamps, in the order of the request.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use arrow::array::{
    Array, ArrayRef, RecordBatch, RecordBatchOptions, StringArray, TimestampMicrosecondArray,
    new_null_array,
};
use arrow::compute::interleave;
use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};

use super::column::Column;
use super::plan::{PlannedFeature, PlannedView, ReadPlan};
use super::read::ViewRows;
use crate::error::{Error, Result};

/// Feast's names of what became of a value.
const PRESENT: &str = "PRESENT";
const NULL_VALUE: &str = "NULL_VALUE";
const NOT_FOUND: &str = "NOT_FOUND";
const OUTSIDE_MAX_AGE: &str = "OUTSIDE_MAX_AGE";

/// The schema of the answer to keys of a schema.
///
/// # Errors
/// [`Error::ColumnCollision`] for a key column that has the name of a feature.
pub(super) fn schema(plan: &ReadPlan, keys: &Schema) -> Result<SchemaRef> {
    for field in &plan.fields {
        if keys.column_with_name(field.name()).is_some() {
            return Err(Error::ColumnCollision {
                column: field.name().clone(),
            });
        }
    }
    let own = plan.fields.iter().cloned().map(Arc::new);
    let fields: Vec<FieldRef> = keys.fields().iter().cloned().chain(own).collect();
    Ok(Arc::new(Schema::new(fields)))
}

/// The answer to a batch of keys.
///
/// # Errors
/// As [`schema`].
pub(super) fn assemble(
    plan: &ReadPlan,
    keys: &RecordBatch,
    rows: &[ViewRows],
    now: SystemTime,
) -> Result<RecordBatch> {
    let schema = schema(plan, &keys.schema())?;
    let mut columns: Vec<ArrayRef> = keys.columns().to_vec();
    for (view, rows) in plan.views.iter().zip(rows) {
        add_view(plan, view, rows, now, &mut columns)?;
    }
    let options = RecordBatchOptions::new().with_row_count(Some(keys.num_rows()));
    RecordBatch::try_new_with_options(schema, columns, &options)
        .map_err(Error::arrow("assemble online features"))
}

fn add_view(
    plan: &ReadPlan,
    view: &PlannedView,
    rows: &ViewRows,
    now: SystemTime,
    columns: &mut Vec<ArrayRef>,
) -> Result<()> {
    let oldest = view
        .ttl
        .map(|ttl| micros(now).saturating_sub(micros_of(ttl)));
    let fresh: Vec<Option<(usize, usize)>> = rows
        .found
        .iter()
        .map(|found| {
            let (layer, row, order) = (*found)?;
            let expired = oldest.is_some_and(|oldest| order.event_us < oldest);
            (!expired).then_some((layer, row))
        })
        .collect();
    let values = values(view, rows, &fresh)?;
    let statuses = values.iter().map(|values| statuses(rows, &fresh, values));
    let statuses: Vec<ArrayRef> = match plan.include_status {
        true => statuses.collect(),
        false => Vec::new(),
    };
    columns.extend(values);
    columns.extend(statuses);
    if plan.include_timestamps {
        columns.push(timestamps(rows));
    }
    Ok(())
}

/// One array per feature: the winners' values, null where there is none.
fn values(
    view: &PlannedView,
    rows: &ViewRows,
    fresh: &[Option<(usize, usize)>],
) -> Result<Vec<ArrayRef>> {
    let mut written = 0..;
    let array = |feature: &PlannedFeature| {
        let data_type = feature.field.data_type();
        match feature.field_id.and_then(|_| written.next()) {
            None => Ok(new_null_array(data_type, fresh.len())),
            Some(nth) => written_values(nth, data_type, rows, fresh),
        }
    };
    view.features.iter().map(array).collect()
}

fn written_values(
    nth: usize,
    data_type: &DataType,
    rows: &ViewRows,
    fresh: &[Option<(usize, usize)>],
) -> Result<ArrayRef> {
    let columns: Vec<&Column> = (0..rows.layers.len())
        .map(|layer| rows.column(layer, nth))
        .collect();
    let null = new_null_array(data_type, 1);
    let values = columns.iter().map(|column| column.values().as_ref());
    let arrays: Vec<&dyn Array> = std::iter::once(null.as_ref()).chain(values).collect();
    let place = |at: &Option<(usize, usize)>| {
        let place = at.and_then(|(layer, row)| Some((layer + 1, columns[layer].place(row)?)));
        // Where there is none, that of the null.
        place.unwrap_or((0, 0))
    };
    let places: Vec<(usize, usize)> = fresh.iter().map(place).collect();
    interleave(&arrays, &places).map_err(Error::arrow("gather online features"))
}

fn statuses(rows: &ViewRows, fresh: &[Option<(usize, usize)>], values: &ArrayRef) -> ArrayRef {
    let nulls = values.logical_nulls();
    let status = |row: usize| match (rows.found[row].is_some(), fresh[row].is_some()) {
        (false, _) => NOT_FOUND,
        (true, false) => OUTSIDE_MAX_AGE,
        (true, true) if nulls.as_ref().is_some_and(|nulls| nulls.is_null(row)) => NULL_VALUE,
        (true, true) => PRESENT,
    };
    let statuses = (0..fresh.len()).map(status);
    Arc::new(StringArray::from_iter_values(statuses))
}

/// Event times of the rows that were found, also of those past the ttl.
fn timestamps(rows: &ViewRows) -> ArrayRef {
    let times = rows
        .found
        .iter()
        .map(|found| found.map(|(_, _, order)| order.event_us));
    let times: TimestampMicrosecondArray = times.collect();
    Arc::new(times.with_timezone("UTC"))
}

fn micros(time: SystemTime) -> i64 {
    micros_of(time.duration_since(UNIX_EPOCH).unwrap_or_default())
}

fn micros_of(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

/// Whether values of a type are sent as another: as they are, or those of a dictionary without it.
fn is_on_wire_as(own: &DataType, sent: &DataType) -> bool {
    own == sent || matches!(own, DataType::Dictionary(_, values) if **values == *sent)
}

/// The same rows under the schema that a channel began with. A column whose type was widened since is another one: its
/// values need not fit any more.
///
/// # Errors
/// [`Error::InvalidRequest`] if the columns are others now.
pub(super) fn as_begun(batch: &RecordBatch, begun: &SchemaRef) -> Result<RecordBatch> {
    if batch.schema() == *begun {
        return Ok(batch.clone());
    }
    let changed = || {
        let message = "the feature views changed since the channel was opened; open a new one";
        Error::invalid("online", message)
    };
    let column = |field: &Field| {
        let column = batch.column_by_name(field.name()).ok_or_else(changed)?;
        match is_on_wire_as(column.data_type(), field.data_type()) {
            true => arrow::compute::cast(column, field.data_type()).map_err(|_| changed()),
            false => Err(changed()),
        }
    };
    let columns = begun.fields().iter().map(|field| column(field));
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(Arc::clone(begun), columns.collect::<Result<_>>()?, &options)
        .map_err(|_| changed())
}
