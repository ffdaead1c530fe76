//! What the guard lets through is what `arrow-ipc` would have read; what it stops is in the child modules.

mod bombs;
mod fuzz;
pub(crate) mod samples;
mod wrappings;

use std::sync::LazyLock;

use arrow::array::RecordBatch;
use arrow::datatypes::{Schema, SchemaRef};
use arrow_flight::{FlightData, FlightDescriptor};
use arrow_ipc::CompressionType;
use arrow_ipc::reader::StreamReader;
use arrow_ipc::writer::{
    CompressionContext, DictionaryHandling, DictionaryTracker, IpcDataGenerator, IpcWriteOptions,
    StreamWriter,
};
use bytes::Bytes;
use futures::{TryStreamExt, stream};
use tokio::runtime::Runtime;

use super::{IpcLimits, decode_flight, decode_ipc_stream};
use crate::error::Result;

pub(super) const CODECS: [Option<CompressionType>; 3] = [
    None,
    Some(CompressionType::LZ4_FRAME),
    Some(CompressionType::ZSTD),
];

pub(super) fn options(codec: Option<CompressionType>) -> IpcWriteOptions {
    let options = IpcWriteOptions::default()
        .try_with_compression(codec)
        .unwrap();
    options.with_dictionary_handling(DictionaryHandling::Delta)
}

/// The stream as (header, body) messages, schema first.
pub(super) fn messages(
    schema: &Schema,
    batches: &[RecordBatch],
    options: &IpcWriteOptions,
) -> Vec<(Vec<u8>, Vec<u8>)> {
    let generator = IpcDataGenerator::default();
    let mut tracker = DictionaryTracker::new(false);
    let mut encoded =
        vec![generator.schema_to_bytes_with_dictionary_tracker(schema, &mut tracker, options)];
    for batch in batches {
        let mut context = CompressionContext::default();
        let (dictionaries, data) = generator
            .encode(batch, &mut tracker, options, &mut context)
            .unwrap();
        encoded.extend(dictionaries);
        encoded.push(data);
    }
    encoded
        .into_iter()
        .map(|data| (data.ipc_message, data.arrow_data))
        .collect()
}

pub(super) fn stream_bytes(
    schema: &Schema,
    batches: &[RecordBatch],
    options: &IpcWriteOptions,
) -> Vec<u8> {
    let mut writer =
        StreamWriter::try_new_with_options(Vec::new(), schema, options.clone()).unwrap();
    for batch in batches {
        writer.write(batch).unwrap();
    }
    writer.finish().unwrap();
    writer.into_inner().unwrap()
}

pub(super) fn flight_data((header, body): (Vec<u8>, Vec<u8>)) -> FlightData {
    FlightData {
        data_header: header.into(),
        data_body: body.into(),
        ..FlightData::default()
    }
}

pub(super) fn decode(
    data: Vec<FlightData>,
    limits: IpcLimits,
) -> Result<(SchemaRef, Vec<RecordBatch>)> {
    static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Runtime::new().unwrap());
    RUNTIME.block_on(async {
        let mut guarded = decode_flight(stream::iter(data.into_iter().map(Ok)), limits);
        let schema = guarded.schema().await?;
        Ok((schema, guarded.into_batches().try_collect().await?))
    })
}

/// Resident memory of this process, where it is ours alone to judge: one process per test.
pub(super) fn resident_bytes() -> Option<u64> {
    std::env::var_os("NEXTEST")?;
    let statm = std::fs::read_to_string("/proc/self/statm").ok()?;
    statm
        .split(' ')
        .nth(1)?
        .parse::<u64>()
        .ok()
        .map(|pages| pages * 4096)
}

#[test]
fn every_sample_decodes_as_arrow_ipc_decodes_it() {
    for sample in samples::all() {
        for codec in CODECS {
            let options = options(codec);
            let bytes = stream_bytes(&sample.schema, &sample.batches, &options);
            let expected: Vec<RecordBatch> = StreamReader::try_new(&bytes[..], None)
                .unwrap()
                .map(Result::unwrap)
                .collect();
            let expected: Vec<_> = expected
                .into_iter()
                .filter(|batch| batch.num_rows() > 0)
                .collect();

            let (schema, inline) =
                decode_ipc_stream(Bytes::from(bytes), IpcLimits::default()).unwrap();
            assert_eq!(schema, sample.schema, "{}", sample.name);
            assert_eq!(inline, expected, "{} inline, {codec:?}", sample.name);

            let data = messages(&sample.schema, &sample.batches, &options)
                .into_iter()
                .map(flight_data)
                .collect();
            let (schema, flight) = decode(data, IpcLimits::default()).unwrap();
            assert_eq!(schema, sample.schema, "{}", sample.name);
            assert_eq!(flight, expected, "{} by flight, {codec:?}", sample.name);
            assert_eq!(flight, sample.non_empty(), "{}", sample.name);
        }
    }
}

/// A body at an odd address is what gRPC delivers most of the time.
#[test]
fn misaligned_bodies_decode_alike() {
    for sample in samples::all() {
        let mut data = Vec::new();
        for (header, body) in messages(&sample.schema, &sample.batches, &options(None)) {
            let shifted = Bytes::from([&[0; 3][..], &body].concat()).slice(3..);
            data.push(FlightData {
                data_header: header.into(),
                data_body: shifted,
                ..FlightData::default()
            });
        }
        assert_eq!(
            decode(data, IpcLimits::default()).unwrap().1,
            sample.non_empty(),
            "{}",
            sample.name
        );
    }
}

#[test]
fn an_aligned_body_is_not_copied() {
    let sample = samples::primitives();
    let bytes = Bytes::from(stream_bytes(
        &sample.schema,
        &sample.batches,
        &options(None),
    ));
    let range = bytes.as_ptr_range();
    let (_, batches) = decode_ipc_stream(bytes.clone(), IpcLimits::default()).unwrap();
    let column = batches[0].column_by_name("int64").unwrap().to_data();
    assert!(range.contains(&column.buffers()[0].as_ptr()));
}

pub(super) fn descriptor(command: &'static [u8]) -> FlightDescriptor {
    FlightDescriptor::new_cmd(command)
}
