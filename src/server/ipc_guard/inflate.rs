//! Gate 4: compressed bodies are inflated here, into exactly as many bytes as were announced and charged.
//!
//! `arrow-ipc` would allocate whatever the length prefix says, and lets an lz4 frame grow beyond it.

use std::io::Read;

use arrow::buffer::{Buffer, MutableBuffer};

use super::header::{BatchHeader, Span};
use super::malformed;
use crate::error::{Error, Result};

/// Starts of buffers in an inflated body, as the format recommends.
const ALIGNMENT: usize = 64;
const PREFIX_BYTES: usize = 8;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Codec {
    Lz4,
    Zstd,
}

impl Codec {
    /// The most that `bytes` can hold: lz4 spends a byte per 255 repeated ones, zstd 4 bytes per block of 128 KiB.
    fn most(self, bytes: usize) -> usize {
        match self {
            Self::Lz4 => bytes.saturating_mul(255),
            Self::Zstd => (bytes / 4 + 1).saturating_mul(128 << 10),
        }
    }
}

/// One buffer as sent and as it will be.
#[derive(Clone, Copy, Debug)]
struct Compressed {
    payload: Span,
    /// None: stored as it is.
    inflated: Option<usize>,
}

impl Compressed {
    fn bytes(self) -> usize {
        self.inflated.unwrap_or(self.payload.bytes)
    }
}

/// Decoded length of every buffer of `batch`; reads length prefixes, inflates nothing.
pub(super) fn decoded_sizes(batch: &BatchHeader, body: &[u8]) -> Result<Vec<usize>> {
    match batch.codec {
        None => Ok(batch.buffers.iter().map(|span| span.bytes).collect()),
        Some(codec) => batch
            .buffers
            .iter()
            .map(|span| Ok(compressed(codec, *span, body)?.bytes()))
            .collect(),
    }
}

/// The inflated body and the places of its buffers.
pub(super) fn inflate(codec: Codec, spans: &[Span], body: &[u8]) -> Result<(Buffer, Vec<Span>)> {
    let parts: Vec<_> = spans
        .iter()
        .map(|span| compressed(codec, *span, body))
        .collect::<Result<_>>()?;
    let places = places(&parts)?;
    let mut target = allocate(places.last().map_or(0, |last| last.start + last.bytes))?;
    let mut inflater = Inflater::try_new(codec)?;
    for (part, place) in parts.iter().zip(&places) {
        let source = &body[part.payload.start..][..part.payload.bytes];
        let slot = &mut target.as_slice_mut()[place.start..][..place.bytes];
        match part.inflated {
            None => slot.copy_from_slice(source),
            Some(0) => {}
            Some(_) => inflater.fill(source, slot)?,
        }
    }
    Ok((target.into(), places))
}

fn compressed(codec: Codec, span: Span, body: &[u8]) -> Result<Compressed> {
    if span.bytes == 0 {
        return Ok(Compressed {
            payload: span,
            inflated: None,
        });
    }
    let bytes = &body[span.start..][..span.bytes];
    let (prefix, _) = bytes
        .split_first_chunk::<PREFIX_BYTES>()
        .ok_or_else(|| malformed("a compressed buffer without its length"))?;
    let payload = Span {
        start: span.start + PREFIX_BYTES,
        bytes: span.bytes - PREFIX_BYTES,
    };
    match i64::from_le_bytes(*prefix) {
        -1 => Ok(Compressed {
            payload,
            inflated: None,
        }),
        claimed => match usize::try_from(claimed) {
            Ok(inflated) if inflated <= codec.most(payload.bytes) => Ok(Compressed {
                payload,
                inflated: Some(inflated),
            }),
            _ => Err(malformed(format!(
                "{} compressed bytes cannot hold {claimed} bytes",
                payload.bytes
            ))),
        },
    }
}

fn places(parts: &[Compressed]) -> Result<Vec<Span>> {
    let mut end = 0_usize;
    let mut places = Vec::with_capacity(parts.len());
    for part in parts {
        let start = end.checked_next_multiple_of(ALIGNMENT);
        let next = start.and_then(|start| start.checked_add(part.bytes()));
        let (Some(start), Some(next)) = (start, next) else {
            return Err(malformed("an inflated body beyond all memory"));
        };
        places.push(Span {
            start,
            bytes: part.bytes(),
        });
        end = next;
    }
    Ok(places)
}

/// Fails, instead of ending the process, where the system has no such memory to give. The pages are zeroed lazily.
fn allocate(bytes: usize) -> Result<MutableBuffer> {
    let mut probe = Vec::<u8>::new();
    probe
        .try_reserve_exact(bytes)
        .map_err(|_| Error::BudgetExceeded {
            what: "inflating an arrow ipc message".to_owned(),
            needed_bytes: bytes as u64,
            limit_bytes: 0,
            hint: "the system has no memory left; retry later or send smaller batches",
        })?;
    drop(probe);
    Ok(MutableBuffer::from_len_zeroed(bytes))
}

enum Inflater {
    Lz4,
    Zstd(zstd::bulk::Decompressor<'static>),
}

impl Inflater {
    fn try_new(codec: Codec) -> Result<Self> {
        match codec {
            Codec::Lz4 => Ok(Self::Lz4),
            Codec::Zstd => zstd::bulk::Decompressor::new()
                .map(Self::Zstd)
                .map_err(|source| Error::Io {
                    action: "starting zstd".to_owned(),
                    source,
                }),
        }
    }

    fn fill(&mut self, source: &[u8], target: &mut [u8]) -> Result<()> {
        let filled = match self {
            Self::Lz4 => fill_lz4(source, target),
            Self::Zstd(inflater) => inflater.decompress_to_buffer(source, target),
        };
        match filled {
            Ok(bytes) if bytes == target.len() => Ok(()),
            Ok(bytes) => Err(malformed(format!(
                "a buffer of {} bytes inflates to {bytes}",
                target.len()
            ))),
            Err(error) => Err(malformed(format!(
                "a buffer does not inflate to {} bytes: {error}",
                target.len()
            ))),
        }
    }
}

fn fill_lz4(source: &[u8], target: &mut [u8]) -> std::io::Result<usize> {
    let mut frame = lz4_flex::frame::FrameDecoder::new(source);
    frame.read_exact(target)?;
    let beyond = frame.read(&mut [0])?;
    Ok(target.len() + beyond)
}
