//! Flight's wrapping: one message per `FlightData`, with the descriptor on the first of them.
#![expect(
    clippy::disallowed_types,
    reason = "inbound gRPC streams carry tonic's status"
)]

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow_flight::{FlightData, FlightDescriptor};
use futures::stream::{self, BoxStream};
use futures::{Stream, StreamExt};
use tonic::Status;

use super::decoder::{Decoded, Decoder};
use super::limits::IpcLimits;
use super::malformed;
use crate::error::{Error, Result};

/// Bodies above this are decoded off the async threads.
const INLINE_BYTES: usize = 256 << 10;

/// An inbound stream of record batches, checked message by message. After an error it is at its end.
pub struct GuardedStream {
    messages: BoxStream<'static, Result<FlightData, Status>>,
    /// None after an error.
    decoder: Option<Decoder>,
    begun: Option<Begun>,
}

/// The first message, and whether its payload is still to be decoded.
struct Begun {
    descriptor: Option<FlightDescriptor>,
    pending: Option<FlightData>,
}

impl std::fmt::Debug for GuardedStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GuardedStream")
            .field("decoder", &self.decoder)
            .finish_non_exhaustive()
    }
}

/// Guards the messages of a DoPut or DoExchange. Nothing is read before it is asked for.
pub fn decode_flight(
    messages: impl Stream<Item = Result<FlightData, Status>> + Send + 'static,
    limits: IpcLimits,
) -> GuardedStream {
    GuardedStream {
        messages: messages.boxed(),
        decoder: Some(Decoder::new(limits)),
        begun: None,
    }
}

impl GuardedStream {
    /// The descriptor of the call, which its first message carries; reads that message if need be.
    ///
    /// # Errors
    /// [`Error::Malformed`] if the stream breaks before its first message.
    pub async fn descriptor(&mut self) -> Result<Option<&FlightDescriptor>> {
        if self.begun.is_none() {
            let mut first = self.receive().await?;
            let descriptor = first
                .as_mut()
                .and_then(|data| data.flight_descriptor.take());
            self.begun = Some(Begun {
                descriptor,
                pending: first,
            });
        }
        Ok(self
            .begun
            .as_ref()
            .and_then(|begun| begun.descriptor.as_ref()))
    }

    /// The schema; reads up to it if need be. Messages without a payload are passed over.
    ///
    /// # Errors
    /// As [`next_batch`](Self::next_batch), and [`Error::Malformed`] if the stream ends before its schema.
    pub async fn schema(&mut self) -> Result<SchemaRef> {
        loop {
            if let Some(schema) = self.decoder.as_ref().and_then(Decoder::schema) {
                return Ok(SchemaRef::clone(schema));
            }
            if self.next_decoded().await?.is_none() {
                return Err(malformed("the stream ends before its schema"));
            }
        }
    }

    /// The next batch that has rows; None at the end of the stream.
    ///
    /// # Errors
    /// [`Error::Malformed`] if a message is not what it claims to be or the connection breaks,
    /// [`Error::Unsupported`] for the types listed in the module's documentation,
    /// [`Error::BudgetExceeded`] past a limit.
    pub async fn next_batch(&mut self) -> Result<Option<RecordBatch>> {
        self.schema().await?;
        while let Some(decoded) = self.next_decoded().await? {
            match decoded {
                Decoded::Batch(batch) if batch.num_rows() > 0 => return Ok(Some(batch)),
                Decoded::Batch(_) | Decoded::Nothing | Decoded::Schema => {}
            }
        }
        Ok(None)
    }

    /// The next batch of a channel, which is answered and forgotten before the stream ends: the limits hold for each
    /// batch by itself, and a batch without rows is one too.
    ///
    /// # Errors
    /// As [`next_batch`](Self::next_batch).
    pub async fn next_of_channel(&mut self) -> Result<Option<RecordBatch>> {
        self.schema().await?;
        if let Some(decoder) = &mut self.decoder {
            decoder.renew();
        }
        while let Some(decoded) = self.next_decoded().await? {
            if let Decoded::Batch(batch) = decoded {
                return Ok(Some(batch));
            }
        }
        Ok(None)
    }

    /// The remaining batches.
    pub fn into_batches(self) -> BoxStream<'static, Result<RecordBatch>> {
        let batches = stream::try_unfold(self, async |mut guarded| {
            let batch = guarded.next_batch().await?;
            Ok(batch.map(|batch| (batch, guarded)))
        });
        batches.boxed()
    }

    /// Receives what is left and forgets it.
    pub async fn drain(&mut self) {
        self.decoder = None;
        if let Some(begun) = &mut self.begun {
            begun.pending = None;
        }
        while let Some(Ok(_)) = self.messages.next().await {}
    }

    async fn next_decoded(&mut self) -> Result<Option<Decoded>> {
        self.descriptor().await?;
        let pending = self.begun.as_mut().and_then(|begun| begun.pending.take());
        let data = match pending {
            Some(data) => Some(data),
            None => self.receive().await?,
        };
        match data {
            None => Ok(None),
            Some(data) => self.decode(data).await.map(Some),
        }
    }

    async fn receive(&mut self) -> Result<Option<FlightData>> {
        if self.decoder.is_none() {
            return Ok(None);
        }
        match self.messages.next().await.transpose() {
            Ok(Some(data)) => Ok(Some(data)),
            Ok(None) => {
                // A call that was cancelled ends like one that is complete; it is dropped before it goes on from here.
                tokio::task::yield_now().await;
                Ok(None)
            }
            Err(status) => {
                self.decoder = None;
                Err(malformed(format!(
                    "the upload broke off: {}",
                    status.message()
                )))
            }
        }
    }

    /// The decoder is put back only if it may go on.
    async fn decode(&mut self, data: FlightData) -> Result<Decoded> {
        if data.data_header.is_empty() {
            return empty_header(&data);
        }
        let mut decoder = self
            .decoder
            .take()
            .ok_or_else(|| malformed("the stream has failed before"))?;
        let is_small = data.data_header.len() + data.data_body.len() <= INLINE_BYTES;
        let work = move || {
            let decoded = decoder.decode(&data.data_header, data.data_body);
            (decoder, decoded)
        };
        let (decoder, decoded) = if is_small {
            work()
        } else {
            let done = tokio::task::spawn_blocking(work).await;
            done.map_err(|error| Error::internal("decoding an upload", error))?
        };
        self.decoder = decoded.is_ok().then_some(decoder);
        decoded
    }
}

/// pyarrow begins a DoExchange with nothing but a descriptor, and may send application metadata alone.
fn empty_header(data: &FlightData) -> Result<Decoded> {
    if data.data_body.is_empty() {
        Ok(Decoded::Nothing)
    } else {
        Err(malformed("a body without a header"))
    }
}
