//! gRPC messages that come as their bytes: what Murre does not read of them must not be lost.
#![expect(
    clippy::disallowed_types,
    reason = "tonic's codecs name it; a registry server is asked over gRPC"
)]

use std::marker::PhantomData;

use bytes::{Buf, BufMut, Bytes};
use prost::Message;
use tonic::Status;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};

/// Sends messages, receives bytes.
#[derive(Debug)]
pub(super) struct RawCodec<M>(PhantomData<M>);

impl<M> RawCodec<M> {
    pub(super) fn new() -> Self {
        Self(PhantomData)
    }
}

impl<M: Message + 'static> Codec for RawCodec<M> {
    type Encode = M;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Received;

    fn encoder(&mut self) -> Self {
        Self::new()
    }

    fn decoder(&mut self) -> Received {
        Received
    }
}

impl<M: Message + 'static> Encoder for RawCodec<M> {
    type Item = M;
    type Error = Status;

    fn encode(&mut self, message: M, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put_slice(&message.encode_to_vec());
        Ok(())
    }
}

#[derive(Debug)]
pub(super) struct Received;

impl Decoder for Received {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(buffer.copy_to_bytes(buffer.remaining())))
    }
}
