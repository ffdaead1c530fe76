//! What the server and a worker say to each other over the worker's standard input and output.
//!
//! The other side is `python/src/feast_murre/worker.py`, which refers to this text. Everything is a frame: one byte of
//! kind, the payload's length in bytes as an unsigned 32-bit little-endian integer, the payload.
//!
//! | kind | sent by | payload |
//! |---|---|---|
//! | `H` hello | worker, once, as soon as it can work | JSON `{"protocol": 1}` |
//! | `R` request | server | JSON `{"full_feature_names": bool, "views": [{"name", "alias", "features": [name, ...]}, ...]}` |
//! | `D` definition | server, one per view of the request and in that order | a serialized `feast.core.OnDemandFeatureView` |
//! | `O` done | worker, after the last definition | nothing |
//! | `B` batch | server | rows to compute from: an Arrow IPC stream |
//! | `B` batch | worker | the requested features by their plain names, in the request's order and row by row: an Arrow IPC stream |
//! | `E` error | worker, instead of `O` or `B` | JSON `{"view", "type", "message"}` |
//!
//! The server waits for each answer before it sends more. Batches belong to the latest request. `alias` is the name that
//! the view goes by. After an error the worker goes on; at the end of its input it exits.

use std::io::{Error as IoError, ErrorKind, Read, Result as IoResult, Write};
use std::sync::atomic::{AtomicU64, Ordering};

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use arrow::datatypes::Field;
use arrow::error::ArrowError;
use arrow_ipc::reader::StreamReader;
use arrow_ipc::writer::StreamWriter;
use bytes::Bytes;
use serde::Deserialize;

use super::Evaluator;
use crate::registry::ResolvedOnDemand;

pub(super) const HELLO: u8 = b'H';
pub(super) const REQUEST: u8 = b'R';
pub(super) const DEFINITION: u8 = b'D';
pub(super) const DONE: u8 = b'O';
pub(super) const BATCH: u8 = b'B';
pub(super) const ERROR: u8 = b'E';

/// Longest answer that is read.
const MAX_ANSWER_BYTES: u32 = 1 << 30;

/// One request's views, as sent to workers.
#[derive(Debug)]
pub(super) struct Job {
    /// Tells jobs apart, so that a worker is told about one only once.
    pub(super) id: u64,
    pub(super) header: Vec<u8>,
    pub(super) definitions: Vec<Bytes>,
    /// Names of the views, for messages.
    pub(super) names: Vec<String>,
    /// Columns of the result, named and typed; one for each requested feature.
    pub(super) columns: Vec<Field>,
}

/// What a worker says went wrong.
#[derive(Debug, Deserialize)]
pub(super) struct Complaint {
    #[serde(default)]
    pub(super) view: String,
    #[serde(rename = "type", default)]
    pub(super) kind: String,
    #[serde(default)]
    pub(super) message: String,
}

impl Job {
    pub(super) fn new(views: &[ResolvedOnDemand], full_feature_names: bool) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let described = views.iter().map(|view| {
            serde_json::json!({
                "name": view.view.name,
                "alias": view.name,
                "features": view.features,
            })
        });
        let header = serde_json::json!({
            "full_feature_names": full_feature_names,
            "views": described.collect::<Vec<_>>(),
        });
        Self {
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            header: header.to_string().into_bytes(),
            definitions: views.iter().map(|v| v.view.definition.clone()).collect(),
            names: views.iter().map(|view| view.name.clone()).collect(),
            columns: Evaluator::columns(views, full_feature_names),
        }
    }
}

pub(super) fn write_frame(to: &mut impl Write, kind: u8, payload: &[u8]) -> IoResult<()> {
    let too_long = |_| IoError::new(ErrorKind::InvalidInput, "frame over 4 GiB");
    let length = u32::try_from(payload.len()).map_err(too_long)?;
    to.write_all(&[kind])?;
    to.write_all(&length.to_le_bytes())?;
    to.write_all(payload)?;
    to.flush()
}

pub(super) fn read_frame(from: &mut impl Read) -> IoResult<(u8, Vec<u8>)> {
    let mut head = [0; 5];
    from.read_exact(&mut head)?;
    let [kind, length @ ..] = head;
    let length = u32::from_le_bytes(length);
    if length > MAX_ANSWER_BYTES {
        return Err(IoError::new(ErrorKind::InvalidData, "answer over 1 GiB"));
    }
    let mut payload = Vec::new();
    let read = from.take(length.into()).read_to_end(&mut payload)?;
    match u32::try_from(read) == Ok(length) {
        true => Ok((kind, payload)),
        false => Err(ErrorKind::UnexpectedEof.into()),
    }
}

pub(super) fn encode(batch: &RecordBatch) -> Result<Vec<u8>, ArrowError> {
    let mut writer = StreamWriter::try_new(Vec::new(), &batch.schema())?;
    writer.write(batch)?;
    writer.into_inner()
}

pub(super) fn decode(bytes: &[u8]) -> Result<RecordBatch, ArrowError> {
    let reader = StreamReader::try_new(bytes, None)?;
    let schema = reader.schema();
    let batches = reader.collect::<Result<Vec<_>, _>>()?;
    concat_batches(&schema, &batches)
}
