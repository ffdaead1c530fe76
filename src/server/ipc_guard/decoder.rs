//! Gate 5: one stream's state, and the only calls into `arrow-ipc`.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch};
use arrow::buffer::Buffer;
use arrow::datatypes::{DataType, Field, SchemaRef};
use arrow::error::ArrowError;
use arrow_ipc as ipc;
use bytes::Bytes;

use super::header::{self, BatchHeader, Header};
use super::limits::{Budget, IpcLimits};
use super::panics::guarded;
use super::rewrite::{DictionaryId, aligned, message};
use super::schema::DictionaryTypes;
use super::{inflate, layout, malformed, schema};
use crate::error::{Error, Result};

/// What a message was.
#[derive(Debug)]
pub(super) enum Decoded {
    /// Nothing for the reader: a dictionary, or no payload.
    Nothing,
    Schema,
    Batch(RecordBatch),
}

/// Decodes the messages of one stream. After an error it must not be used again.
#[derive(Debug)]
pub(super) struct Decoder {
    limits: IpcLimits,
    budget: Budget,
    opened: Option<Opened>,
}

#[derive(Debug)]
struct Opened {
    schema: SchemaRef,
    types: DictionaryTypes,
    dictionaries: HashMap<i64, ArrayRef>,
}

impl Decoder {
    pub(super) fn new(limits: IpcLimits) -> Self {
        Self {
            limits,
            budget: Budget::new(limits.max_decoded_bytes),
            opened: None,
        }
    }

    /// Forgets what batches have cost; dictionaries stay, and so does their account.
    pub(super) fn renew(&mut self) {
        let kept = self
            .opened
            .as_ref()
            .is_some_and(|opened| !opened.dictionaries.is_empty());
        if !kept {
            self.budget.renew();
        }
    }

    pub(super) fn schema(&self) -> Option<&SchemaRef> {
        self.opened.as_ref().map(|opened| &opened.schema)
    }

    pub(super) fn decode(&mut self, header: &[u8], body: Bytes) -> Result<Decoded> {
        self.limits.check_message(header.len(), body.len())?;
        self.budget.charge(header.len() as u64)?;
        match header::parse(header, body.len(), &self.limits)? {
            Header::Nothing => Ok(Decoded::Nothing),
            Header::Schema(flatbuffer) => self.open(flatbuffer),
            Header::Dictionary {
                id,
                is_delta,
                batch,
            } => self.dictionary(DictionaryId { id, is_delta }, &batch, body),
            Header::Batch(batch) => self.batch(&batch, body),
        }
    }

    fn open(&mut self, flatbuffer: ipc::Schema<'_>) -> Result<Decoded> {
        if self.opened.is_some() {
            return Err(malformed("a second schema"));
        }
        let (schema, types) = schema::convert(flatbuffer, &self.limits)?;
        self.opened = Some(Opened {
            schema,
            types,
            dictionaries: HashMap::new(),
        });
        Ok(Decoded::Schema)
    }

    fn batch(&mut self, batch: &BatchHeader, body: Bytes) -> Result<Decoded> {
        let Self { budget, opened, .. } = self;
        let opened = opened
            .as_ref()
            .ok_or_else(|| malformed("a record batch before the schema"))?;
        let fields = opened.schema.fields().iter().map(AsRef::as_ref);
        let (header, body) = admit(budget, fields, batch, body, None)?;
        let decoded = guarded(|| {
            let message = rewritten(&header)?;
            let batch = message
                .header_as_record_batch()
                .ok_or_else(|| Error::internal("decoding", "no batch"))?;
            let schema = Arc::clone(&opened.schema);
            let version = message.version();
            ipc::reader::read_record_batch(
                &body,
                batch,
                schema,
                &opened.dictionaries,
                None,
                &version,
            )
            .map_err(|error| refused(&error))
        })?;
        Ok(Decoded::Batch(decoded))
    }

    fn dictionary(
        &mut self,
        id: DictionaryId,
        batch: &BatchHeader,
        body: Bytes,
    ) -> Result<Decoded> {
        let Self { budget, opened, .. } = self;
        let opened = opened
            .as_mut()
            .ok_or_else(|| malformed("a dictionary before the schema"))?;
        let values = opened
            .types
            .get(&id.id)
            .ok_or_else(|| malformed(format!("unknown dictionary {}", id.id)))?;
        charge_delta(budget, id, &opened.dictionaries)?;
        let field = Field::new("dictionary", DataType::clone(values), true);
        let (header, body) = admit(budget, [&field], batch, body, Some(id))?;
        guarded(|| {
            let message = rewritten(&header)?;
            let batch = message
                .header_as_dictionary_batch()
                .ok_or_else(|| Error::internal("decoding", "no dictionary"))?;
            let version = message.version();
            ipc::reader::read_dictionary(
                &body,
                batch,
                &opened.schema,
                &mut opened.dictionaries,
                &version,
            )
            .map_err(|error| refused(&error))
        })?;
        Ok(Decoded::Nothing)
    }
}

/// Takes a batch through gates 3 and 4; what comes out is safe to decode.
fn admit<'a>(
    budget: &mut Budget,
    fields: impl IntoIterator<Item = &'a Field>,
    batch: &BatchHeader,
    body: Bytes,
    dictionary: Option<DictionaryId>,
) -> Result<(Vec<u8>, Buffer)> {
    let sizes = inflate::decoded_sizes(batch, &body)?;
    let layout = layout::check(fields, batch, &sizes)?;
    budget.charge(layout.cost)?;
    let (body, mut spans) = match batch.codec {
        None => (aligned(body), batch.buffers.clone()),
        Some(codec) => inflate::inflate(codec, &batch.buffers, &body)?,
    };
    for (span, bytes) in spans.iter_mut().zip(layout.lengths) {
        span.bytes = bytes;
    }
    Ok((message(batch, &spans, dictionary), body))
}

/// A delta is appended by copying, so the copy counts each time.
fn charge_delta(
    budget: &mut Budget,
    id: DictionaryId,
    known: &HashMap<i64, ArrayRef>,
) -> Result<()> {
    match (id.is_delta, known.get(&id.id)) {
        (false, _) => Ok(()),
        (true, Some(values)) => budget.charge(values.get_array_memory_size() as u64),
        (true, None) => Err(malformed(format!(
            "a delta to dictionary {}, which has not come",
            id.id
        ))),
    }
}

fn rewritten(header: &[u8]) -> Result<ipc::Message<'_>> {
    ipc::root_as_message(header)
        .map_err(|error| Error::internal("reading back a message header", error))
}

fn refused(error: &ArrowError) -> Error {
    malformed(error.to_string())
}
