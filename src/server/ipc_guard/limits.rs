//! What one stream may cost, and the account of what it has cost so far.

use crate::error::{Error, Result};

/// Bounds on one inbound Arrow IPC stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IpcLimits {
    /// Header and body of one message, as sent.
    pub max_message_bytes: u64,
    /// Header of one message.
    pub max_header_bytes: u64,
    /// Decoded size of the whole stream: buffers after decompression, plus a little for every array and message.
    pub max_decoded_bytes: u64,
    /// Fields of a schema, nested ones included.
    pub max_fields: usize,
    /// Levels of nesting in a schema; a plain column is level 1.
    pub max_nesting: usize,
    /// Length of a field's name.
    pub max_name_bytes: usize,
}

impl Default for IpcLimits {
    fn default() -> Self {
        Self {
            max_message_bytes: 1 << 30,
            max_header_bytes: 16 << 20,
            max_decoded_bytes: 4 << 30,
            max_fields: 10_000,
            max_nesting: 32,
            max_name_bytes: 4096,
        }
    }
}

impl IpcLimits {
    pub(super) fn check_message(&self, header_bytes: usize, body_bytes: usize) -> Result<()> {
        over(
            "an arrow ipc message header",
            header_bytes as u64,
            self.max_header_bytes,
        )?;
        over(
            "an arrow ipc message",
            header_bytes as u64 + body_bytes as u64,
            self.max_message_bytes,
        )
    }
}

/// Decoded bytes of one stream, or of one batch of a channel; only ever grows meanwhile.
#[derive(Debug)]
pub(super) struct Budget {
    used: u64,
    limit: u64,
}

impl Budget {
    pub(super) fn new(limit: u64) -> Self {
        Self { used: 0, limit }
    }

    /// Forgets what was used: it has been given back.
    pub(super) fn renew(&mut self) {
        self.used = 0;
    }

    /// Takes `bytes`, or takes nothing and fails.
    pub(super) fn charge(&mut self, bytes: u64) -> Result<()> {
        let used = self.used.saturating_add(bytes);
        over("the decoded arrow stream", used, self.limit)?;
        self.used = used;
        Ok(())
    }
}

fn over(what: &str, needed_bytes: u64, limit_bytes: u64) -> Result<()> {
    if needed_bytes <= limit_bytes {
        return Ok(());
    }
    let hint = "send less data, or raise the server's limit";
    Err(Error::BudgetExceeded {
        what: what.to_owned(),
        needed_bytes,
        limit_bytes,
        hint,
    })
}
