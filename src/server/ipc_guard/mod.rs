//! Bounds every inbound Arrow IPC message before `arrow-ipc` sees it.
//!
//! `arrow-ipc` trusts its input: a mutated message makes it panic, and a body of 64 bytes whose length prefix says
//! 1 TiB makes it abort the process, which nothing can catch. So a message goes through these gates, in this order:
//!
//! 1. `header`: its flatbuffer is verified with limits on depth, tables and size, then copied into plain numbers.
//! 2. `schema`: a schema is checked for everything that the conversion to Arrow would panic on, and for size.
//! 3. `layout`: field nodes and buffers are walked along the schema; each must be there, large enough and inside the
//!    body, and nothing may be left over. What the batch will occupy is charged to the stream's budget.
//! 4. `inflate`: compressed bodies are inflated here, never in `arrow-ipc`, into exactly the bytes that were charged.
//! 5. `decoder`: `arrow-ipc` gets a header that the guard wrote itself from the checked numbers and validates the
//!    contents (offsets, UTF-8, dictionary indices, null counts, views). A panic there becomes [`Error::Malformed`].
//!
//! Nothing is allocated before the numbers that ask for it are believed and charged. Streams come in two wrappings:
//! Flight messages ([`decode_flight`]) and the encapsulated stream format ([`decode_ipc_stream`]).
//!
//! Refused, because no entity dataframe needs them: unions, run-end encoding, fixed-size types of width 0, big-endian
//! data, metadata older than V4, tensors, and the IPC file format where the stream format is meant.

mod decoder;
mod flight;
mod frames;
mod header;
mod inflate;
mod layout;
mod limits;
mod panics;
mod rewrite;
mod schema;
#[cfg(test)]
pub(crate) mod tests;

pub use flight::{GuardedStream, decode_flight};
pub use frames::decode_ipc_stream;
pub use limits::IpcLimits;
pub use panics::{caught_panics, quiet_caught_panics};

use crate::error::Error;

fn malformed(message: impl Into<String>) -> Error {
    Error::Malformed {
        what: "arrow ipc stream",
        message: message.into(),
    }
}

fn unsupported(what: &str) -> Error {
    Error::Unsupported {
        what: what.to_owned(),
    }
}
