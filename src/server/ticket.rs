//! Requests on the wire: bytes of a ticket, a descriptor's command or an action's body to and from [`Request`].
//!
//! The only place that tells the port's dialects apart and the only one that knows Murre's own; its specification is
//! `proto/murre/v1/request.proto`. Clients write requests, the server writes tickets: the same message with
//! [`Pins`](crate::model::Pins) added, so a ticket is self-contained and any replica can serve it.
//!
//! A message that decodes is then checked field by field; an error names the field by its path.

mod from_wire;
mod json;
mod to_wire;

use bytes::Bytes;
use prost::Message;

use crate::error::{Error, Result};
use crate::model::{HistoricalRequest, Request};
use crate::proto::v1;

/// Version of the meaning of a ticket's pins.
const PINS_VERSION: u32 = 1;

/// The language of a request, told by its first byte.
enum Dialect {
    Json,
    FlightSql,
    Protobuf,
}

impl Dialect {
    fn of(bytes: &[u8]) -> Self {
        match bytes.first() {
            Some(b'{') => Self::Json,
            Some(0x0a) => Self::FlightSql,
            _ => Self::Protobuf,
        }
    }
}

/// Decodes and checks a request.
///
/// # Errors
/// [`Error::Malformed`] for bytes that are no message, [`Error::InvalidRequest`] for a field that cannot be served,
/// [`Error::Unsupported`] for dialects that this call does not speak.
pub(crate) fn decode(bytes: &Bytes) -> Result<Request> {
    match Dialect::of(bytes) {
        Dialect::Json => from_wire::request(json::parse(bytes)?),
        Dialect::FlightSql => Err(Error::Unsupported {
            what: "Flight SQL".to_owned(),
        }),
        Dialect::Protobuf => from_wire::request(parse_protobuf(bytes)?),
    }
}

/// Whether a command or ticket is one of Feast's remote offline store: a JSON object with a key `api`.
pub(crate) fn is_feast(bytes: &[u8]) -> bool {
    #[derive(serde::Deserialize)]
    struct Probe {
        #[serde(rename = "api")]
        _api: serde::de::IgnoredAny,
    }
    matches!(Dialect::of(bytes), Dialect::Json) && serde_json::from_slice::<Probe>(bytes).is_ok()
}

/// The request as protobuf; [`decode`] gives it back.
pub(crate) fn encode(request: &HistoricalRequest) -> Bytes {
    to_wire::request(request).encode_to_vec().into()
}

fn parse_protobuf(bytes: &Bytes) -> Result<v1::Request> {
    v1::Request::decode(bytes.clone()).map_err(|error| Error::Malformed {
        what: "request",
        message: match bytes.trim_ascii_start().first() {
            Some(b'{') => {
                "JSON must start with `{` at its first byte, without white space".to_owned()
            }
            _ => format!("neither JSON nor protobuf: {error}"),
        },
    })
}

#[cfg(test)]
mod tests;
