//! The bytes of an upload's object: an Arrow IPC stream between a preamble and a trailer.
//!
//! ```text
//! preamble   "MURREUP1", zeroes up to 64 bytes     so that buffers in the stream stay 64-byte aligned
//! stream     Arrow IPC stream, uncompressed
//! about      JSON: whose it is and what is in it    written last, when it is known
//! tail       length of `about` (u64), its hash (u64), "MURREUP1"
//! ```
//! Integers are little-endian. An object whose end is missing has no tail; one whose middle is damaged
//! has another XXH64 than it says.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use twox_hash::XxHash64;

use crate::error::{Error, Result};
use crate::model::Principal;

pub(super) const PREAMBLE_BYTES: usize = 64;
pub(super) const TAIL_BYTES: usize = 24;
/// How an IPC stream ends.
pub(super) const END_OF_STREAM: [u8; 8] = [0xFF, 0xFF, 0xFF, 0xFF, 0, 0, 0, 0];
const HASH_SEED: u64 = 0;
const MAGIC: [u8; 8] = *b"MURREUP1";

/// What an upload says about itself.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct About {
    pub(super) owner: Principal,
    pub(super) rows: u64,
    /// The same as in the id.
    pub(super) expires_at_ms: i64,
    /// Length of the stream's first message.
    pub(super) schema_bytes: u64,
    /// Length of the whole stream, which is also about what it takes in memory.
    pub(super) stream_bytes: u64,
    pub(super) stream_hash: u64,
}

/// The end of an object, parsed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tail {
    pub(super) about_bytes: usize,
    about_hash: u64,
}

pub(super) fn preamble() -> Bytes {
    let mut bytes = vec![0; PREAMBLE_BYTES];
    bytes[..MAGIC.len()].copy_from_slice(&MAGIC);
    bytes.into()
}

/// The hash of this format.
pub(super) fn hash(bytes: &[u8]) -> u64 {
    XxHash64::oneshot(HASH_SEED, bytes)
}

/// Likewise, of bytes that come in parts.
pub(super) fn hasher() -> XxHash64 {
    XxHash64::with_seed(HASH_SEED)
}

/// `about` and the tail.
pub(super) fn trailer(about: &About) -> Result<Bytes> {
    let mut bytes =
        serde_json::to_vec(about).map_err(|error| Error::internal("finishing an upload", error))?;
    let length = bytes.len() as u64;
    let hash = hash(&bytes);
    bytes.extend_from_slice(&length.to_le_bytes());
    bytes.extend_from_slice(&hash.to_le_bytes());
    bytes.extend_from_slice(&MAGIC);
    Ok(bytes.into())
}

impl Tail {
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let (about_bytes, rest) = bytes.split_first_chunk()?;
        let (about_hash, magic) = rest.split_first_chunk()?;
        (magic == MAGIC).then_some(Self {
            about_bytes: usize::try_from(u64::from_le_bytes(*about_bytes)).ok()?,
            about_hash: u64::from_le_bytes(*about_hash),
        })
    }

    pub(super) fn about(self, bytes: &[u8]) -> Option<About> {
        if hash(bytes) != self.about_hash {
            return None;
        }
        serde_json::from_slice(bytes).ok()
    }
}

impl About {
    /// Whether an object of `size` bytes has room for exactly what is said here.
    pub(super) fn fits(&self, size: u64, tail: Tail) -> bool {
        let around = (PREAMBLE_BYTES + TAIL_BYTES) as u64 + tail.about_bytes as u64;
        self.stream_bytes.checked_add(around) == Some(size)
            && self.schema_bytes <= self.stream_bytes
    }
}
