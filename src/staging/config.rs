//! The `[staging]` section.

use std::time::Duration;

use bytesize::ByteSize;
use serde::{Deserialize, Serialize};

/// Where uploads are kept, and how much for how long.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
pub struct StagingConfig {
    /// Where uploads are kept: `memory://`, or a directory as `file:///path`.
    pub url: String,
    /// Bytes of all uploads together.
    pub budget: ByteSize,
    /// How long an upload can be used.
    #[serde(with = "humantime_serde")]
    pub ttl: Duration,
}

impl Default for StagingConfig {
    fn default() -> Self {
        Self {
            url: "memory://".to_owned(),
            budget: ByteSize::gib(4),
            ttl: Duration::from_secs(3600),
        }
    }
}
