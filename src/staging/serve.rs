//! Reads uploads back, for their owner only, as long as they live.

use std::ops::Range;

use arrow::array::RecordBatch;
use arrow::buffer::Buffer;
use arrow::datatypes::SchemaRef;
use arrow_ipc::reader::StreamDecoder;
use bytes::Bytes;
use object_store::ObjectStoreExt;

use super::id::WellFormed;
use super::object::{self, About, PREAMBLE_BYTES, TAIL_BYTES, Tail};
use super::{StagedDescription, StagedFrame, StagedUpload, Staging, expired, unknown};
use crate::error::{Error, Result};
use crate::model::{Principal, UploadId};

impl Staging {
    /// What `owner` has uploaded as `id`, without decoding its data.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub async fn describe(&self, owner: &Principal, id: &UploadId) -> Result<StagedDescription> {
        let (name, about) = self.about(owner, id).await?;
        let end = PREAMBLE_BYTES as u64 + about.schema_bytes;
        let message = self.range(&name, PREAMBLE_BYTES as u64..end).await?;
        let stream = [&message[..], &object::END_OF_STREAM].concat();
        let (schema, _) = decode(id, stream.into()).await?;
        let upload = StagedUpload {
            id: id.clone(),
            rows: about.rows,
            expires_at: name.expires_at(),
        };
        Ok(StagedDescription { upload, schema })
    }

    /// The data that `owner` has uploaded as `id`. With a store in memory, the batches share the stored bytes.
    ///
    /// # Errors
    /// [`Error::UploadNotFound`] if the upload expired (the reason says when), or is not known or another's (these two
    /// cannot be told apart); [`Error::StorageUnavailable`] if the store fails; [`Error::Internal`] if the stored bytes
    /// are damaged.
    pub async fn open(&self, owner: &Principal, id: &UploadId) -> Result<StagedFrame> {
        let (name, about) = self.about(owner, id).await?;
        let object = self
            .store
            .objects
            .get(&name.path())
            .await
            .map_err(self.store.missing(id))?;
        let bytes = object.bytes().await.map_err(self.store.missing(id))?;
        let stream =
            whole_stream(bytes, &about).ok_or_else(|| damaged(id, "its length has changed"))?;
        let (schema, batches) = checked(id, stream, about.stream_hash).await?;
        let rows: u64 = batches.iter().map(|batch| batch.num_rows() as u64).sum();
        if rows != about.rows {
            return Err(damaged(id, "it has another number of rows than it says"));
        }
        Ok(StagedFrame {
            schema,
            batches,
            rows,
            expires_at: name.expires_at(),
        })
    }

    /// The one gate of all reads: form, expiry, existence, ownership.
    async fn about(&self, owner: &Principal, id: &UploadId) -> Result<(WellFormed, About)> {
        let name = WellFormed::parse(&id.0).ok_or_else(|| unknown(id))?;
        if name.is_expired(self.now()) {
            self.delete(&name).await?;
            return Err(expired(id, name.expires_at()));
        }
        let about = self.read_about(&name, id).await?;
        if about.owner != *owner {
            return Err(unknown(id));
        }
        Ok((name, about))
    }

    async fn read_about(&self, name: &WellFormed, id: &UploadId) -> Result<About> {
        let size = self
            .store
            .objects
            .head(&name.path())
            .await
            .map_err(self.store.missing(id))?
            .size;
        let torn = || damaged(id, "its end is missing");
        let tail_at = size.checked_sub(TAIL_BYTES as u64).ok_or_else(torn)?;
        let tail = Tail::parse(&self.range(name, tail_at..size).await?).ok_or_else(torn)?;
        let about_at = tail_at
            .checked_sub(tail.about_bytes as u64)
            .ok_or_else(torn)?;
        let about = tail
            .about(&self.range(name, about_at..tail_at).await?)
            .ok_or_else(torn)?;
        if about.fits(size, tail) && about.expires_at_ms == name.expires_at().timestamp_millis() {
            Ok(about)
        } else {
            Err(damaged(id, "it is not what its end says"))
        }
    }

    async fn range(&self, name: &WellFormed, range: Range<u64>) -> Result<Bytes> {
        let bytes = self.store.objects.get_range(&name.path(), range).await;
        bytes.map_err(self.store.missing(&name.upload_id()))
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
