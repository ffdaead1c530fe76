//! Errors on the wire: the only place that turns an [`Error`] into a gRPC status, and the only one that logs it.
//!
//! Kinds become codes; codes tell a client what to do (only `UNAVAILABLE` invites a retry). The message of an
//! internal error stays here, with the request id that the client is shown. Where waiting helps, `google.rpc.RetryInfo` in
//! `grpc-status-details-bin` says how long.

use std::error::Error as _;

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};
use uuid::Uuid;

use crate::error::{Error, ErrorKind};

/// A message travels percent-encoded in an HTTP/2 header, where clients take 8 KiB for all headers together.
pub(super) const MAX_ENCODED_MESSAGE_BYTES: usize = 5 * 1024;

/// The status of a failed request, logging what the client is not shown.
pub(crate) fn of(error: &Error, request_id: Uuid) -> Status {
    let code = code(error.kind());
    if code == Code::Internal {
        tracing::error!(%request_id, error = chain(error), "request failed");
        return Status::new(
            code,
            format!("internal error; the server's log has the cause under request id {request_id}"),
        );
    }
    let message = error.to_string();
    tracing::debug!(%request_id, ?code, error = message, "request refused");
    match error.retry_after() {
        Some(wait) => {
            let details = ErrorDetails::with_retry_info(Some(wait));
            Status::with_error_details(code, shortened(message), details)
        }
        None => Status::new(code, shortened(message)),
    }
}

/// An RPC of Flight that this server does not offer.
pub(crate) fn unimplemented(what: &'static str) -> Status {
    Status::unimplemented(what)
}

fn code(kind: ErrorKind) -> Code {
    match kind {
        ErrorKind::InvalidRequest => Code::InvalidArgument,
        ErrorKind::NotFound => Code::NotFound,
        ErrorKind::Unauthenticated => Code::Unauthenticated,
        ErrorKind::PermissionDenied => Code::PermissionDenied,
        ErrorKind::Conflict => Code::Aborted,
        ErrorKind::ResourceExhausted => Code::ResourceExhausted,
        ErrorKind::Unavailable => Code::Unavailable,
        ErrorKind::DeadlineExceeded => Code::DeadlineExceeded,
        ErrorKind::Internal => Code::Internal,
    }
}

/// The error and its causes, each once: many errors print their source themselves.
fn chain(error: &Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.contains(&next) {
            text.push_str(": ");
            text.push_str(&next);
        }
        cause = error.source();
    }
    text
}

fn shortened(mut message: String) -> String {
    let mut encoded = 0;
    let end = message.char_indices().find_map(|(at, c)| {
        encoded += encoded_bytes(c);
        (encoded > MAX_ENCODED_MESSAGE_BYTES).then_some(at)
    });
    if let Some(end) = end {
        message.truncate(end);
        message.push('…');
    }
    message
}

/// Bytes that a character of a message takes in the header.
pub(super) fn encoded_bytes(c: char) -> usize {
    if c.is_ascii_graphic() && !"\"#%<>`?{}".contains(c) {
        1
    } else {
        3 * c.len_utf8()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rstest::rstest;

    use super::*;

    fn status(error: Error) -> Status {
        of(&error, Uuid::nil())
    }

    #[rstest]
    #[case(ErrorKind::InvalidRequest, 3)]
    #[case(ErrorKind::NotFound, 5)]
    #[case(ErrorKind::DeadlineExceeded, 4)]
    #[case(ErrorKind::PermissionDenied, 7)]
    #[case(ErrorKind::ResourceExhausted, 8)]
    #[case(ErrorKind::Conflict, 10)]
    #[case(ErrorKind::Internal, 13)]
    #[case(ErrorKind::Unavailable, 14)]
    #[case(ErrorKind::Unauthenticated, 16)]
    fn kinds_have_the_codes_that_clients_rely_on(#[case] kind: ErrorKind, #[case] number: i32) {
        assert_eq!(code(kind) as i32, number);
    }

    #[test]
    fn what_is_the_callers_business_is_shown_whole() {
        let status = status(Error::invalid(
            "historical.features",
            "expected at least one `view:feature`",
        ));
        assert_eq!(status.code(), Code::InvalidArgument);
        assert_eq!(
            status.message(),
            "historical.features: expected at least one `view:feature`"
        );
    }

    #[test]
    fn a_busy_server_says_when_to_come_back() {
        let retry_after = Duration::from_secs(60);
        let busy = Error::Busy {
            running: 2,
            waiting: 3,
            retry_after,
        };
        let told = |status: &Status| status.get_details_retry_info()?.retry_delay;
        assert_eq!(told(&status(busy)), Some(retry_after));
        assert_eq!(told(&status(Error::invalid("field", "is wrong"))), None);
    }

    #[test]
    fn of_an_internal_error_only_the_request_id_is_shown() {
        let status = status(Error::internal("open /secret/path", "password=hunter2"));
        assert_eq!(status.code(), Code::Internal);
        assert!(status.message().contains(&Uuid::nil().to_string()));
        assert!(!status.message().contains("secret") && !status.message().contains("hunter2"));
    }

    #[test]
    fn the_log_has_every_cause_once() {
        let source = std::io::Error::other(Error::internal("inner", "root"));
        let error = Error::Io {
            action: "outer".to_owned(),
            source,
        };
        assert_eq!(chain(&error), "outer: inner: root");
    }

    #[rstest]
    #[case("x")]
    #[case(" ")]
    #[case("é")]
    #[case("🦀")]
    fn long_messages_are_cut_to_fit_a_header(#[case] unit: &str) {
        let mut header = http_header(&shortened(unit.repeat(100_000)));
        assert!(
            header.len() <= MAX_ENCODED_MESSAGE_BYTES + 9,
            "{}",
            header.len()
        );
        header.truncate(40);
        assert!(shortened(unit.repeat(100)) == unit.repeat(100));
    }

    fn http_header(message: &str) -> String {
        let mut headers = tonic::metadata::MetadataMap::new().into_headers();
        Status::new(Code::NotFound, message)
            .add_header(&mut headers)
            .unwrap();
        headers["grpc-message"].to_str().unwrap().to_owned()
    }
}
