//! Gate 1: the flatbuffer of a message becomes plain, owned numbers, or is refused.

use arrow_ipc as ipc;
use flatbuffers::VerifierOptions;

use super::inflate::Codec;
use super::limits::IpcLimits;
use super::malformed;
use crate::error::Result;

/// A verified message header. The schema stays a flatbuffer until [`super::schema`] has looked at it.
#[derive(Debug)]
pub(super) enum Header<'a> {
    /// Carries nothing that matters here.
    Nothing,
    Schema(ipc::Schema<'a>),
    Dictionary {
        id: i64,
        is_delta: bool,
        batch: BatchHeader,
    },
    Batch(BatchHeader),
}

/// What a record batch claims about its body; all numbers are non-negative, none is believed yet.
#[derive(Debug)]
pub(super) struct BatchHeader {
    pub(super) rows: usize,
    pub(super) nodes: Vec<Node>,
    /// Inside the body, checked.
    pub(super) buffers: Vec<Span>,
    pub(super) variadic: Vec<usize>,
    pub(super) codec: Option<Codec>,
}

/// One array: its rows and how many are null.
#[derive(Clone, Copy, Debug)]
pub(super) struct Node {
    pub(super) rows: usize,
    pub(super) nulls: usize,
}

/// One buffer's place in a body.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    pub(super) start: usize,
    pub(super) bytes: usize,
}

/// Bytes that the body should have.
pub(super) fn claimed_body(header: &[u8], limits: &IpcLimits) -> Result<usize> {
    size(verified(header, limits)?.bodyLength(), "body length")
}

/// Verifies `header` and reads it. `body_bytes` is what really came with it.
pub(super) fn parse<'a>(
    header: &'a [u8],
    body_bytes: usize,
    limits: &IpcLimits,
) -> Result<Header<'a>> {
    let message = verified(header, limits)?;
    if !matches!(
        message.version(),
        ipc::MetadataVersion::V4 | ipc::MetadataVersion::V5
    ) {
        return Err(malformed(format!(
            "metadata version {} is neither V4 nor V5",
            message.version().0
        )));
    }
    let claimed = size(message.bodyLength(), "body length")?;
    if claimed > body_bytes {
        return Err(malformed(format!(
            "the header claims a body of {claimed} bytes, {body_bytes} came"
        )));
    }
    read(&message, claimed)
}

fn verified<'a>(header: &'a [u8], limits: &IpcLimits) -> Result<ipc::Message<'a>> {
    ipc::root_as_message_with_opts(&verifier(header.len(), limits), header).map_err(|error| {
        malformed(format!(
            "invalid message header: {}",
            first_line(&error.to_string())
        ))
    })
}

fn read<'a>(message: &ipc::Message<'a>, body_bytes: usize) -> Result<Header<'a>> {
    let missing = || malformed("message without the header it announces");
    match message.header_type() {
        ipc::MessageHeader::NONE => Ok(Header::Nothing),
        ipc::MessageHeader::Schema => message
            .header_as_schema()
            .map(Header::Schema)
            .ok_or_else(missing),
        ipc::MessageHeader::RecordBatch => {
            let batch = message.header_as_record_batch().ok_or_else(missing)?;
            batch_header(&batch, body_bytes).map(Header::Batch)
        }
        ipc::MessageHeader::DictionaryBatch => {
            let dictionary = message.header_as_dictionary_batch().ok_or_else(missing)?;
            let data = dictionary.data().ok_or_else(missing)?;
            let batch = batch_header(&data, body_bytes)?;
            Ok(Header::Dictionary {
                id: dictionary.id(),
                is_delta: dictionary.isDelta(),
                batch,
            })
        }
        other => {
            let name = other.variant_name().unwrap_or("unknown");
            Err(malformed(format!(
                "messages of type {name} are not accepted"
            )))
        }
    }
}

/// Room for every honest header; a table shared by many references counts each time, so sharing amplifies nothing.
fn verifier(header_bytes: usize, limits: &IpcLimits) -> VerifierOptions {
    VerifierOptions {
        max_depth: limits.max_nesting.saturating_add(8),
        max_tables: limits.max_fields.saturating_mul(8).saturating_add(1024),
        max_apparent_size: header_bytes.saturating_mul(8).saturating_add(1 << 20),
        ignore_missing_null_terminator: false,
    }
}

fn batch_header(batch: &ipc::RecordBatch<'_>, body_bytes: usize) -> Result<BatchHeader> {
    let nodes = batch
        .nodes()
        .ok_or_else(|| malformed("record batch without field nodes"))?;
    let buffers = batch
        .buffers()
        .ok_or_else(|| malformed("record batch without buffers"))?;
    let variadic = batch.variadicBufferCounts().into_iter().flatten();
    Ok(BatchHeader {
        rows: size(batch.length(), "row count")?,
        nodes: nodes.iter().map(node).collect::<Result<_>>()?,
        buffers: buffers
            .iter()
            .map(|buffer| span(buffer, body_bytes))
            .collect::<Result<_>>()?,
        variadic: variadic
            .map(|count| size(count, "variadic buffer count"))
            .collect::<Result<_>>()?,
        codec: batch
            .compression()
            .map(|compression| codec(&compression))
            .transpose()?,
    })
}

fn node(node: &ipc::FieldNode) -> Result<Node> {
    let rows = size(node.length(), "array length")?;
    let nulls = size(node.null_count(), "null count")?;
    if nulls > rows {
        return Err(malformed(format!(
            "an array of {rows} rows claims {nulls} nulls"
        )));
    }
    Ok(Node { rows, nulls })
}

fn span(buffer: &ipc::Buffer, body_bytes: usize) -> Result<Span> {
    let start = size(buffer.offset(), "buffer offset")?;
    let bytes = size(buffer.length(), "buffer length")?;
    match start.checked_add(bytes) {
        Some(end) if end <= body_bytes => Ok(Span { start, bytes }),
        _ => Err(malformed(format!(
            "a buffer of {bytes} bytes at {start} is outside the body of {body_bytes} bytes"
        ))),
    }
}

fn codec(compression: &ipc::BodyCompression<'_>) -> Result<Codec> {
    if compression.method() != ipc::BodyCompressionMethod::BUFFER {
        return Err(malformed(format!(
            "unknown body compression method {}",
            compression.method().0
        )));
    }
    match compression.codec() {
        ipc::CompressionType::LZ4_FRAME => Ok(Codec::Lz4),
        ipc::CompressionType::ZSTD => Ok(Codec::Zstd),
        other => Err(malformed(format!("unknown compression codec {}", other.0))),
    }
}

fn size(value: i64, what: &str) -> Result<usize> {
    usize::try_from(value).map_err(|_| malformed(format!("negative {what} {value}")))
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}
