//! Reads uploads back from their objects, for their owner only.

use std::ops::Range;

use arrow::array::RecordBatch;
use arrow::buffer::Buffer;
use arrow::datatypes::SchemaRef;
use arrow_ipc::reader::StreamDecoder;
use bytes::Bytes;
use object_store::ObjectStoreExt;

use super::id::WellFormed;
use super::object::{self, About, PREAMBLE_BYTES, TAIL_BYTES, Tail};
use super::objects::Objects;
use super::{StagedDescription, StagedFrame, StagedUpload, unknown};
use crate::error::{Error, Result};
use crate::model::{Principal, UploadId};

impl Objects {
    /// What `owner` has uploaded as `id`, without decoding its data.
    pub(super) async fn describe(
        &self,
        owner: &Principal,
        id: &WellFormed,
    ) -> Result<StagedDescription> {
        let about = self.about(owner, id).await?;
        let end = PREAMBLE_BYTES as u64 + about.schema_bytes;
        let message = self.range(id, PREAMBLE_BYTES as u64..end).await?;
        let stream = [&message[..], &object::END_OF_STREAM].concat();
        let upload = StagedUpload {
            id: id.upload_id(),
            rows: about.rows,
            expires_at: id.expires_at(),
        };
        let (schema, _) = decode(&upload.id, stream.into()).await?;
        Ok(StagedDescription { upload, schema })
    }

    /// The data that `owner` has uploaded as `id`.
    pub(super) async fn open(&self, owner: &Principal, id: &WellFormed) -> Result<StagedFrame> {
        let about = self.about(owner, id).await?;
        let bytes = self.bytes(id).await?;
        let name = id.upload_id();
        let stream =
            whole_stream(bytes, &about).ok_or_else(|| damaged(&name, "its length has changed"))?;
        let (schema, batches) = checked(&name, stream, about.stream_hash).await?;
        let rows: u64 = batches.iter().map(|batch| batch.num_rows() as u64).sum();
        if rows != about.rows {
            return Err(damaged(&name, "it has another number of rows than it says"));
        }
        Ok(StagedFrame {
            schema,
            batches,
            rows,
            expires_at: id.expires_at(),
        })
    }

    async fn bytes(&self, id: &WellFormed) -> Result<Bytes> {
        let object = self.store.get(&id.path()).await;
        let object = object.map_err(self.missing(id))?;
        object.bytes().await.map_err(self.missing(id))
    }

    async fn about(&self, owner: &Principal, id: &WellFormed) -> Result<About> {
        let about = self.read_about(id).await?;
        if about.owner == *owner {
            Ok(about)
        } else {
            Err(unknown(&id.upload_id()))
        }
    }

    async fn read_about(&self, id: &WellFormed) -> Result<About> {
        let head = self.store.head(&id.path()).await;
        let size = head.map_err(self.missing(id))?.size;
        let torn = || damaged(&id.upload_id(), "its end is missing");
        let tail_at = size.checked_sub(TAIL_BYTES as u64).ok_or_else(torn)?;
        let tail = Tail::parse(&self.range(id, tail_at..size).await?).ok_or_else(torn)?;
        let about_at = tail_at
            .checked_sub(tail.about_bytes as u64)
            .ok_or_else(torn)?;
        let about = tail
            .about(&self.range(id, about_at..tail_at).await?)
            .ok_or_else(torn)?;
        if about.fits(size, tail) && about.expires_at_ms == id.expires_at().timestamp_millis() {
            Ok(about)
        } else {
            Err(damaged(&id.upload_id(), "it is not what its end says"))
        }
    }

    async fn range(&self, id: &WellFormed, range: Range<u64>) -> Result<Bytes> {
        let bytes = self.store.get_range(&id.path(), range).await;
        bytes.map_err(self.missing(id))
    }
}

fn whole_stream(object: Bytes, about: &About) -> Option<Bytes> {
    let end = PREAMBLE_BYTES.checked_add(usize::try_from(about.stream_bytes).ok()?)?;
    (end <= object.len()).then(|| object.slice(PREAMBLE_BYTES..end))
}

async fn checked(id: &UploadId, stream: Bytes, hash: u64) -> Result<(SchemaRef, Vec<RecordBatch>)> {
    let hashed = stream.clone();
    let found = tokio::task::spawn_blocking(move || object::hash(&hashed)).await;
    if found.map_err(|error| damaged(id, error))? != hash {
        return Err(damaged(id, "its hash is wrong"));
    }
    decode(id, stream).await
}

/// Decodes off the async threads, where a panic of the decoder is an error like any other.
async fn decode(id: &UploadId, stream: Bytes) -> Result<(SchemaRef, Vec<RecordBatch>)> {
    let decoding = tokio::task::spawn_blocking(move || decode_stream(stream));
    let decoded = decoding.await.map_err(|error| damaged(id, error))?;
    decoded.map_err(|error| damaged(id, error))
}

fn decode_stream(stream: Bytes) -> Result<(SchemaRef, Vec<RecordBatch>), arrow::error::ArrowError> {
    let mut buffer = Buffer::from(stream);
    let mut decoder = StreamDecoder::new();
    let mut batches = Vec::new();
    while !buffer.is_empty() {
        batches.extend(decoder.decode(&mut buffer)?);
    }
    decoder.finish()?;
    let schema = decoder
        .schema()
        .ok_or_else(|| arrow::error::ArrowError::IpcError("no schema".to_owned()))?;
    Ok((schema, batches))
}

fn damaged(id: &UploadId, message: impl std::fmt::Display) -> Error {
    Error::internal(format!("reading upload `{id}`"), message)
}
