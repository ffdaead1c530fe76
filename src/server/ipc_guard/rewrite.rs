//! The only headers that `arrow-ipc` decodes: written here, from numbers that passed the gates.

use arrow::buffer::Buffer;
use arrow_ipc as ipc;
use flatbuffers::{FlatBufferBuilder, WIPOffset};

use super::header::{BatchHeader, Span};

/// A dictionary's identity.
#[derive(Clone, Copy, Debug)]
pub(super) struct DictionaryId {
    pub(super) id: i64,
    pub(super) is_delta: bool,
}

/// An uncompressed message around `batch`, whose buffers lie at `spans`.
pub(super) fn message(
    batch: &BatchHeader,
    spans: &[Span],
    dictionary: Option<DictionaryId>,
) -> Vec<u8> {
    let mut builder = FlatBufferBuilder::new();
    let data = record_batch(&mut builder, batch, spans);
    let (header_type, header) = match dictionary {
        None => (ipc::MessageHeader::RecordBatch, data.as_union_value()),
        Some(DictionaryId { id, is_delta }) => {
            let args = ipc::DictionaryBatchArgs {
                id,
                data: Some(data),
                isDelta: is_delta,
            };
            let header = ipc::DictionaryBatch::create(&mut builder, &args);
            (ipc::MessageHeader::DictionaryBatch, header.as_union_value())
        }
    };
    let body_bytes = spans.iter().map(|span| span.start + span.bytes).max().unwrap_or_default();
    let version = ipc::MetadataVersion::V5;
    let args = ipc::MessageArgs {
        version,
        header_type,
        header: Some(header),
        bodyLength: body_bytes as i64,
        custom_metadata: None,
    };
    let message = ipc::Message::create(&mut builder, &args);
    builder.finish(message, None);
    builder.finished_data().to_vec()
}

fn record_batch<'b>(
    builder: &mut FlatBufferBuilder<'b>,
    batch: &BatchHeader,
    spans: &[Span],
) -> WIPOffset<ipc::RecordBatch<'b>> {
    let nodes: Vec<_> = batch
        .nodes
        .iter()
        .map(|node| ipc::FieldNode::new(node.rows as i64, node.nulls as i64))
        .collect();
    let buffers: Vec<_> = spans
        .iter()
        .map(|span| ipc::Buffer::new(span.start as i64, span.bytes as i64))
        .collect();
    let variadic: Vec<_> = batch.variadic.iter().map(|&count| count as i64).collect();
    let args = ipc::RecordBatchArgs {
        length: batch.rows as i64,
        nodes: Some(builder.create_vector(&nodes)),
        buffers: Some(builder.create_vector(&buffers)),
        compression: None,
        variadicBufferCounts: (!variadic.is_empty()).then(|| builder.create_vector(&variadic)),
    };
    ipc::RecordBatch::create(builder, &args)
}

/// `body` as a buffer whose start is aligned, copied only if it is not. Where a type needs more than 8 bytes,
/// `arrow-ipc` copies that one buffer.
pub(super) fn aligned(body: bytes::Bytes) -> Buffer {
    if body.as_ptr().align_offset(8) == 0 {
        Buffer::from(body)
    } else {
        Buffer::from_slice_ref(&body[..])
    }
}
