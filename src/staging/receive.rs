//! Writes an upload into an object while its batches arrive. It becomes visible, whole, when its last byte is written.

use std::hash::Hasher;
use std::sync::Arc;

use arrow::array::{Array, RecordBatch};
use arrow::datatypes::SchemaRef;
use arrow_ipc::writer::{
    CompressionContext, DictionaryTracker, EncodedData, IpcDataGenerator, IpcWriteOptions,
    write_message,
};
use bytes::Bytes;
use object_store::{MultipartUpload, ObjectStoreExt, PutPayload};
use twox_hash::XxHash64;

use super::budget::Charge;
use super::id::WellFormed;
use super::object::{self, About};
use super::objects::Objects;
use crate::error::{Error, Result};
use crate::model::Principal;

/// Bytes handed to the store at a time; more than the 5 MiB that some stores ask for.
const PART_BYTES: u64 = 8 << 20;

/// An object in the writing. Dropped before [`Incoming::complete`], it leaves nothing.
pub(super) struct Incoming {
    objects: Arc<Objects>,
    object: Box<dyn MultipartUpload>,
    encoder: Option<Encoder>,
    charge: Charge,
    /// Not yet with the store.
    part: Vec<Bytes>,
    part_bytes: u64,
    schema_bytes: u64,
    stream_bytes: u64,
    hash: XxHash64,
}

impl Incoming {
    pub(super) async fn begin(
        objects: &Arc<Objects>,
        id: &WellFormed,
        schema: SchemaRef,
        charge: Charge,
    ) -> Result<Self> {
        let (encoder, first) = Encoder::begin(schema)?;
        let object = objects.store.put_multipart(&id.path()).await;
        let mut incoming = Self {
            objects: Arc::clone(objects),
            object: object.map_err(|error| objects.failed(error))?,
            encoder: Some(encoder),
            charge,
            part: vec![],
            part_bytes: 0,
            schema_bytes: 0,
            stream_bytes: 0,
            hash: object::hasher(),
        };
        incoming.write(vec![object::preamble()]).await?;
        incoming.write_stream(first).await?;
        incoming.schema_bytes = incoming.stream_bytes;
        Ok(incoming)
    }

    /// Charges for the batch before it is encoded, and puts the charge right afterwards.
    pub(super) async fn add(&mut self, batch: RecordBatch) -> Result<()> {
        let before = self.charge.bytes();
        self.charge
            .resize(before.saturating_add(content_bytes(&batch)))?;
        let mut encoder = self
            .encoder
            .take()
            .ok_or_else(|| Error::internal("encoding an upload", "failed before"))?;
        let encoding = tokio::task::spawn_blocking(move || {
            encoder.encode(batch).map(|chunks| (encoder, chunks))
        });
        let encoded = encoding
            .await
            .map_err(|error| Error::internal("encoding an upload", error))?;
        let (encoder, chunks) = encoded?;
        self.encoder = Some(encoder);
        self.charge.resize(before)?;
        self.write_stream(chunks).await
    }

    pub(super) async fn complete(
        mut self,
        owner: &Principal,
        id: &WellFormed,
        rows: u64,
    ) -> Result<()> {
        self.write_stream(vec![Bytes::from_static(&object::END_OF_STREAM)])
            .await?;
        let about = About {
            owner: owner.clone(),
            rows,
            expires_at_ms: id.expires_at().timestamp_millis(),
            schema_bytes: self.schema_bytes,
            stream_bytes: self.stream_bytes,
            stream_hash: self.hash.finish(),
        };
        let trailer = object::trailer(&about)?;
        self.write(vec![trailer]).await?;
        self.send().await?;
        let completed = self.object.complete().await;
        completed.map_err(|error| self.objects.failed(error))?;
        self.objects.keep(id.clone(), self.charge);
        Ok(())
    }

    async fn write_stream(&mut self, chunks: Vec<Bytes>) -> Result<()> {
        for chunk in &chunks {
            self.hash.write(chunk);
            self.stream_bytes += chunk.len() as u64;
        }
        self.write(chunks).await
    }

    async fn write(&mut self, chunks: Vec<Bytes>) -> Result<()> {
        let bytes: u64 = chunks.iter().map(|chunk| chunk.len() as u64).sum();
        self.charge.resize(self.charge.bytes() + bytes)?;
        self.part.extend(chunks);
        self.part_bytes += bytes;
        if self.part_bytes >= PART_BYTES {
            self.send().await?;
        }
        Ok(())
    }

    async fn send(&mut self) -> Result<()> {
        self.part_bytes = 0;
        let part: PutPayload = std::mem::take(&mut self.part).into_iter().collect();
        let sent = self.object.put_part(part).await;
        sent.map_err(|error| self.objects.failed(error))
    }
}

/// An estimate that slices of large buffers do not inflate.
fn content_bytes(batch: &RecordBatch) -> u64 {
    let column = |column: &Arc<dyn Array>| {
        let bytes = column.to_data().get_slice_memory_size();
        bytes.unwrap_or_else(|_| column.get_array_memory_size()) as u64
    };
    batch.columns().iter().map(column).sum()
}

/// Turns batches into the chunks of an IPC stream, bodies uncopied.
struct Encoder {
    generator: IpcDataGenerator,
    dictionaries: DictionaryTracker,
    options: IpcWriteOptions,
    compression: CompressionContext,
    schema: SchemaRef,
}

impl Encoder {
    /// The encoder and the schema's message.
    fn begin(schema: SchemaRef) -> Result<(Self, Vec<Bytes>)> {
        let mut encoder = Self {
            generator: IpcDataGenerator::default(),
            dictionaries: DictionaryTracker::new(false),
            options: IpcWriteOptions::default(),
            compression: CompressionContext::default(),
            schema,
        };
        let Self {
            generator,
            dictionaries,
            options,
            schema,
            ..
        } = &mut encoder;
        let message =
            generator.schema_to_bytes_with_dictionary_tracker(schema, dictionaries, options);
        let chunks = framed(message, options)?;
        Ok((encoder, chunks))
    }

    fn encode(&mut self, batch: RecordBatch) -> Result<Vec<Bytes>> {
        if batch.schema_ref().fields() != self.schema.fields() {
            return Err(Error::internal(
                "encoding an upload",
                "a batch is not of the schema announced",
            ));
        }
        let Self {
            generator,
            dictionaries,
            options,
            compression,
            ..
        } = self;
        let encoded = generator.encode(&batch, dictionaries, options, compression);
        let (dictionaries, data) = encoded.map_err(Error::arrow("encoding an upload"))?;
        drop(batch);
        let mut chunks = Vec::with_capacity(2 * dictionaries.len() + 2);
        for message in dictionaries.into_iter().chain([data]) {
            chunks.extend(framed(message, options)?);
        }
        Ok(chunks)
    }
}

fn framed(mut message: EncodedData, options: &IpcWriteOptions) -> Result<Vec<Bytes>> {
    let body = std::mem::take(&mut message.arrow_data);
    let mut header = Vec::with_capacity(message.ipc_message.len() + object::PREAMBLE_BYTES);
    write_message(&mut header, message, options).map_err(Error::arrow("encoding an upload"))?;
    Ok(vec![header.into(), body.into()])
}
