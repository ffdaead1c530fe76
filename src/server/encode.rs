//! Record batches to Flight messages.
//!
//! The encoder of arrow-flight splits batches by the size of their backing buffers. A batch that is a slice of
//! something large, such as an entity dataframe that came as one message, would leave row by row. Here batches are cut
//! by the bytes of their own rows, and the encoder's split is off.

mod encoding;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{DataType, SchemaRef};
use arrow_flight::encode::{FlightDataEncoder, FlightDataEncoderBuilder};
use arrow_flight::error::FlightError;
use arrow_flight::{FlightData, SchemaAsIpc};
use arrow_ipc::writer::{CompressionContext, DictionaryTracker, IpcDataGenerator, IpcWriteOptions};
use futures::stream::{self, BoxStream, Stream, StreamExt, TryStreamExt};

pub use encoding::Encoding;

use crate::error::{Error, Result};

/// Bytes of rows that a message aims at; clients refuse messages from 4 MiB (gRPC's default) or 16 MiB (ADBC) on.
const TARGET_MESSAGE_BYTES: usize = 2 * 1024 * 1024;

/// The schema, also where no batch follows, then the batches in messages of about 2 MiB.
///
/// # Errors
/// Those of the batches, and [`Error::Arrow`] for a batch that is not of the schema.
pub fn flight_data<E>(
    encoding: &Encoding,
    schema: SchemaRef,
    batches: impl Stream<Item = Result<RecordBatch, E>> + Send + 'static,
) -> BoxStream<'static, Result<FlightData>>
where
    E: Into<Error> + Send + 'static,
{
    let pieces = batches.map_err(Into::into).map_ok(pieces).try_flatten();
    encoder(encoding, schema, pieces)
        .map_err(from_flight)
        .boxed()
}

/// The schema, then one message for each batch, whatever its size and also where it has no rows: who sent a batch up can
/// count on one coming down. The schema must be one of [`schema_on_wire`], which has no dictionaries.
pub(crate) fn channel(
    encoding: &Encoding,
    schema: SchemaRef,
    batches: impl Stream<Item = Result<RecordBatch>> + Send + 'static,
) -> BoxStream<'static, Result<FlightData>> {
    let options = encoding.options();
    let begin = FlightData::from(SchemaAsIpc::new(&schema, &options));
    let mut compression = CompressionContext::default();
    let messages = batches.map(move |batch| message(&batch?, &options, &mut compression));
    stream::once(std::future::ready(Ok(begin)))
        .chain(messages)
        .boxed()
}

fn message(
    batch: &RecordBatch,
    options: &IpcWriteOptions,
    compression: &mut CompressionContext,
) -> Result<FlightData> {
    let mut dictionaries = DictionaryTracker::new(false);
    let encoded =
        IpcDataGenerator::default().encode(batch, &mut dictionaries, options, compression);
    let (_, data) = encoded.map_err(Error::arrow("encode a batch"))?;
    Ok(data.into())
}

/// The schema that [`flight_data`] sends for a result of this schema; dictionaries are sent as their values.
pub(crate) fn schema_on_wire(schema: SchemaRef) -> SchemaRef {
    encoder(&Encoding::default(), schema, stream::empty())
        .known_schema()
        .expect("the encoder was given a schema")
}

fn encoder(
    encoding: &Encoding,
    schema: SchemaRef,
    batches: impl Stream<Item = Result<RecordBatch>> + Send + 'static,
) -> FlightDataEncoder {
    FlightDataEncoderBuilder::new()
        .with_options(encoding.options())
        .with_schema(schema)
        .with_max_flight_data_size(usize::MAX)
        .build(batches.map_err(|error| FlightError::ExternalError(Box::new(error))))
}

fn pieces(batch: RecordBatch) -> impl Stream<Item = Result<RecordBatch>> + Send {
    let messages = row_bytes(&batch).div_ceil(TARGET_MESSAGE_BYTES).max(1);
    let rows = batch.num_rows().div_ceil(messages).max(1);
    let starts = (0..batch.num_rows()).step_by(rows);
    stream::iter(
        starts.map(move |start| compact(&batch.slice(start, rows.min(batch.num_rows() - start)))),
    )
}

fn row_bytes(batch: &RecordBatch) -> usize {
    batch
        .columns()
        .iter()
        .map(|column| column_bytes(column))
        .sum()
}

fn column_bytes(column: &dyn Array) -> usize {
    match column.data_type() {
        DataType::Utf8View => column.len() * 16 + column.as_string_view().total_buffer_bytes_used(),
        DataType::BinaryView => {
            column.len() * 16 + column.as_binary_view().total_buffer_bytes_used()
        }
        _ => column
            .to_data()
            .get_slice_memory_size()
            .unwrap_or_else(|_| column.get_buffer_memory_size()),
    }
}

/// Views are sent with all buffers that they might refer to; others are cut to the slice by the encoder.
fn compact(batch: &RecordBatch) -> Result<RecordBatch> {
    let columns: Vec<ArrayRef> = batch.columns().iter().map(compact_column).collect();
    let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(batch.schema(), columns, &options)
        .map_err(Error::arrow("cut a batch"))
}

fn compact_column(column: &ArrayRef) -> ArrayRef {
    match column.data_type() {
        DataType::Utf8View => std::sync::Arc::new(column.as_string_view().gc()),
        DataType::BinaryView => std::sync::Arc::new(column.as_binary_view().gc()),
        _ => std::sync::Arc::clone(column),
    }
}

fn from_flight(error: FlightError) -> Error {
    match error {
        FlightError::ExternalError(inner) => inner.downcast::<Error>().map_or_else(
            |other| Error::internal("encode the result", other),
            |ours| *ours,
        ),
        FlightError::Arrow(source) => Error::Arrow {
            action: "encode the result".to_owned(),
            source,
        },
        other => Error::internal("encode the result", other),
    }
}

#[cfg(test)]
mod tests;
