//! The encapsulated stream format: messages one after another in one run of bytes, as in a request's inline frame.

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use bytes::{Buf, Bytes};

use super::decoder::{Decoded, Decoder};
use super::header;
use super::limits::IpcLimits;
use super::malformed;
use crate::error::Result;

const CONTINUATION: u32 = u32::MAX;

/// Decodes a whole stream, from its schema to its end marker. Batches without rows are dropped; those with rows share
/// `bytes` where they can.
///
/// # Errors
/// [`Error::Malformed`](crate::error::Error::Malformed) if a message is not what it claims to be, or the end marker is
/// missing or not the end; [`Error::Unsupported`](crate::error::Error::Unsupported) for the types listed in the module's
/// documentation; [`Error::BudgetExceeded`](crate::error::Error::BudgetExceeded) past a limit.
pub fn decode_ipc_stream(
    mut bytes: Bytes,
    limits: IpcLimits,
) -> Result<(SchemaRef, Vec<RecordBatch>)> {
    if bytes.starts_with(b"ARROW1") {
        return Err(malformed(
            "this is the IPC file format; send the stream format",
        ));
    }
    let mut decoder = Decoder::new(limits);
    let mut batches = Vec::new();
    while let Some((message, body)) = next_message(&mut bytes, &limits)? {
        match decoder.decode(&message, body)? {
            Decoded::Batch(batch) if batch.num_rows() > 0 => batches.push(batch),
            Decoded::Batch(_) | Decoded::Nothing | Decoded::Schema => {}
        }
    }
    let schema = decoder
        .schema()
        .cloned()
        .ok_or_else(|| malformed("the stream ends before its schema"))?;
    Ok((schema, batches))
}

/// Takes the next message off `bytes`; None at the end marker.
fn next_message(bytes: &mut Bytes, limits: &IpcLimits) -> Result<Option<(Bytes, Bytes)>> {
    if take_u32(bytes)? != CONTINUATION {
        return Err(malformed(
            "a message does not begin with the continuation marker 0xFFFFFFFF",
        ));
    }
    let header_bytes = take_u32(bytes)? as usize;
    if header_bytes == 0 {
        return if bytes.is_empty() {
            Ok(None)
        } else {
            Err(malformed("bytes after the end of the stream"))
        };
    }
    let header = take(bytes, header_bytes)?;
    limits.check_message(header.len(), 0)?;
    let body = take(bytes, header::claimed_body(&header, limits)?)?;
    Ok(Some((header, body)))
}

fn take_u32(bytes: &mut Bytes) -> Result<u32> {
    bytes
        .try_get_u32_le()
        .map_err(|_| malformed("the stream ends without its end marker"))
}

fn take(bytes: &mut Bytes, count: usize) -> Result<Bytes> {
    if count > bytes.len() {
        return Err(malformed(format!(
            "a message part of {count} bytes where {} are left",
            bytes.len()
        )));
    }
    Ok(bytes.split_to(count))
}
