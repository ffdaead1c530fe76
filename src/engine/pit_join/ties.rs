//! Decides between rows of equal event and created time by their values, so that no file layout ever does.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, ListArray, RecordBatch, StructArray};
use arrow::datatypes::{DataType, FieldRef, SchemaRef};
use arrow::error::ArrowError;
use arrow_row::{RowConverter, Rows, SortField};
use datafusion::error::Result;
use datafusion::execution::memory_pool::MemoryReservation;
use futures::TryStreamExt;

use super::candidates::{Created, Survivors};
use super::memory::bytes_of;
use super::{FetchColumns, FetchRows};
use crate::error::Error;
use crate::model::RowAddress;

/// Tied rows that are fetched and compared at a time.
const CHUNK_ROWS: usize = if cfg!(test) { 3 } else { 256 * 1024 };

/// Gives each tied slot the row of greatest values; returns how many slots were tied.
pub(super) async fn resolve<C: Created>(
    survivors: &mut Survivors<C>,
    mut ties: Vec<(u32, u64)>,
    fetch: &Arc<dyn FetchRows>,
    reservation: MemoryReservation,
) -> Result<usize> {
    reservation.try_grow(bytes_of::<(u32, u64)>(ties.capacity()))?;
    ties.sort_unstable();
    for chunk in ties.chunks(CHUNK_ROWS) {
        // A slot that spans chunks meets its winner so far again, as its present best.
        let mut contest = Contest::new(chunk, survivors, reservation.new_empty())?;
        contest.run(fetch).await?;
        contest
            .champions
            .iter()
            .for_each(|champion| survivors.set_winner(champion.slot, champion.address));
    }
    Ok(ties.chunk_by(|a, b| a.0 == b.0).count())
}

/// The rows that compete for some slots.
struct Contest {
    /// Address and position in `champions`, ascending.
    contenders: Vec<(u64, u32)>,
    champions: Vec<Champion>,
    reservation: MemoryReservation,
}

/// The greatest row of a slot so far.
struct Champion {
    slot: u32,
    address: u64,
    /// Its values in an encoding that compares as they do; empty before the first.
    values: Vec<u8>,
}

impl Contest {
    fn new<C: Created>(
        ties: &[(u32, u64)],
        survivors: &Survivors<C>,
        reservation: MemoryReservation,
    ) -> Result<Self> {
        let slots = ties.chunk_by(|a, b| a.0 == b.0).count();
        reservation
            .try_grow(bytes_of::<(u64, u32)>(ties.len() + slots) + bytes_of::<Champion>(slots))?;
        let mut contenders = Vec::with_capacity(ties.len() + slots);
        let mut champions = Vec::with_capacity(slots);
        for tied in ties.chunk_by(|a, b| a.0 == b.0) {
            let (slot, at) = (tied[0].0, champions.len() as u32);
            let best = survivors.get(slot).address;
            contenders.push((best, at));
            contenders.extend(tied.iter().map(|(_, address)| (*address, at)));
            champions.push(Champion {
                slot,
                address: best,
                values: Vec::new(),
            });
        }
        contenders.sort_unstable();
        contenders.dedup();
        Ok(Self {
            contenders,
            champions,
            reservation,
        })
    }

    async fn run(&mut self, fetch: &Arc<dyn FetchRows>) -> Result<()> {
        let addresses = self
            .contenders
            .iter()
            .map(|(address, _)| RowAddress::from_u64(*address))
            .collect();
        let mut rows = fetch.fetch(addresses, FetchColumns::TieBreak);
        let mut order: Option<ValueOrder> = None;
        let mut compared = 0;
        while let Some(batch) = rows.try_next().await? {
            if order.is_none() {
                order = Some(ValueOrder::try_new(batch.schema())?);
            }
            if let Some(order) = &order {
                self.compare(&order.encode(&batch)?, compared)?;
            }
            compared += batch.num_rows();
        }
        check_fetched(compared, self.contenders.len())
    }

    /// Lets `rows`, those of the contenders from `first` on, challenge their champions.
    fn compare(&mut self, rows: &Rows, first: usize) -> Result<()> {
        let Some(contenders) = self.contenders.get(first..first + rows.num_rows()) else {
            return check_fetched(first + rows.num_rows(), self.contenders.len());
        };
        for ((address, at), row) in contenders.iter().zip(rows) {
            let champion = &mut self.champions[*at as usize];
            let values = row.data();
            if champion.values.is_empty() || values > champion.values.as_slice() {
                self.reservation
                    .try_grow(values.len().saturating_sub(champion.values.capacity()))?;
                champion.values.clear();
                champion.values.extend_from_slice(values);
                champion.address = *address;
            }
        }
        Ok(())
    }
}

/// A fetch that returns another number of rows than it was asked for would give wrong values to every row after.
pub(super) fn check_fetched(rows: usize, asked: usize) -> Result<()> {
    if rows == asked {
        return Ok(());
    }
    let message = format!("{asked} rows were asked for by their addresses, {rows} came");
    Err(Error::internal("fetch rows", message).into())
}

/// The total order of a source's rows.
struct ValueOrder {
    schema: SchemaRef,
    converter: RowConverter,
}

impl ValueOrder {
    fn try_new(schema: SchemaRef) -> Result<Self> {
        let columns = schema.fields().iter();
        let fields: Vec<SortField> = columns
            .map(|f| SortField::new(comparable_type(f.data_type())))
            .collect();
        if !RowConverter::supports_fields(&fields) {
            return Err(Error::Unsupported {
                what: format!("ordering rows of {schema:?} by their values"),
            }
            .into());
        }
        Ok(Self {
            converter: RowConverter::new(fields)?,
            schema,
        })
    }

    fn encode(&self, batch: &RecordBatch) -> Result<Rows> {
        if batch.schema().fields() != self.schema.fields() {
            let message = format!(
                "schema changed from {:?} to {:?}",
                self.schema,
                batch.schema()
            );
            return Err(Error::internal("fetch rows", message).into());
        }
        let columns = batch
            .columns()
            .iter()
            .map(comparable)
            .collect::<Result<Vec<_>, _>>()?;
        Ok(self.converter.convert_columns(&columns)?)
    }
}

/// `data_type` with each map as the list of its entries, since arrow-row has no order for maps.
fn comparable_type(data_type: &DataType) -> DataType {
    let field = |field: &FieldRef| -> FieldRef {
        Arc::new(
            field
                .as_ref()
                .clone()
                .with_data_type(comparable_type(field.data_type())),
        )
    };
    match data_type {
        DataType::Map(entries, _) => DataType::List(field(entries)),
        DataType::List(element) => DataType::List(field(element)),
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(field).collect()),
        other => other.clone(),
    }
}

/// `array` as [`comparable_type`] of its type.
fn comparable(array: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    match (array.data_type(), comparable_type(array.data_type())) {
        (from, to) if *from == to => Ok(Arc::clone(array)),
        (DataType::Map(_, _), DataType::List(entries)) => {
            let map = array.as_map();
            let values: ArrayRef = Arc::new(map.entries().clone());
            let (offsets, nulls) = (map.offsets().clone(), map.nulls().cloned());
            Ok(Arc::new(ListArray::try_new(
                entries,
                offsets,
                comparable(&values)?,
                nulls,
            )?))
        }
        (DataType::List(_), DataType::List(element)) => {
            let (_, offsets, values, nulls) = array.as_list::<i32>().clone().into_parts();
            Ok(Arc::new(ListArray::try_new(
                element,
                offsets,
                comparable(&values)?,
                nulls,
            )?))
        }
        (DataType::Struct(_), DataType::Struct(fields)) => {
            let (_, columns, nulls) = array.as_struct().clone().into_parts();
            let columns = columns.iter().map(comparable).collect::<Result<_, _>>()?;
            Ok(Arc::new(StructArray::try_new(fields, columns, nulls)?))
        }
        (from, to) => Err(ArrowError::NotYetImplemented(format!(
            "comparing {from} as {to}"
        ))),
    }
}
