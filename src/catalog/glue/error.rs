//! What Glue's answer to one request means. Whether a change may have happened decides whether its files may be deleted, so
//! that what is not certainly a refusal counts as unknown.

use std::error::Error as StdError;
use std::future::Future;
use std::io;
use std::time::Duration;

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_glue::error::{ProvideErrorMetadata, SdkError};
use iceberg::{Error, ErrorKind};

use crate::clock;
use crate::error;

/// Requests that Glue took for one too many are sent again this often.
const THROTTLED_RETRIES: u32 = 4;
/// What proxies answer instead of a name.
const TOO_MANY_REQUESTS: u16 = 429;
const FIRST_WAIT_MS: u64 = 250;
const NO_CREDENTIALS: &str = "no credentials for AWS: neither properties nor environment, profile, container or instance have any";
/// Characters of Glue's own words that are shown.
const SHOWN: usize = 300;

const THROTTLES: [&str; 7] = [
    "RequestLimitExceeded",
    "RequestThrottled",
    "RequestThrottledException",
    "SlowDown",
    "Throttling",
    "ThrottlingException",
    "TooManyRequestsException",
];
/// Answers with the status of a refusal after which the work may go on.
const UNDECIDED: [&str; 4] = [
    "FederationSourceException",
    "FederationSourceRetryableException",
    "InternalServiceException",
    "OperationTimeoutException",
];

#[derive(Debug)]
pub(super) enum Failure {
    NotFound,
    Exists,
    /// Somebody else changed the same thing.
    Conflict,
    /// The request is wrong, in Glue's words.
    Refused(String),
    /// Nothing was done, and it is not the request's fault: nobody answers, or Glue lets us not.
    Unavailable(String),
    /// It may have been done, now or later.
    Unknown(String),
}

/// Stands in an Iceberg error for a catalog that is down.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Outage(String);

/// Stands in an Iceberg error for a request that Glue cannot serve.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Refusal(String);

/// Glue's or the connection's words, if the catalog is what failed.
pub(in crate::catalog) fn outage(error: &Error) -> Option<String> {
    let outage = error.source()?.downcast_ref::<Outage>()?;
    Some(outage.0.clone())
}

/// What is wrong with the request, if it is what failed.
pub(in crate::catalog) fn refusal(error: &Error) -> Option<String> {
    let refusal = error.source()?.downcast_ref::<Refusal>()?;
    Some(refusal.0.clone())
}

pub(super) fn refused(message: impl Into<String>) -> Error {
    let message = message.into();
    Error::new(ErrorKind::DataInvalid, "glue").with_source(Refusal(message))
}

pub(super) fn unavailable(message: impl Into<String>) -> Error {
    let message = message.into();
    Error::new(ErrorKind::Unexpected, "glue").with_source(Outage(message))
}

/// An error of ours for callers that speak the library's.
pub(super) fn into_iceberg(error: error::Error) -> Error {
    match error {
        error::Error::Iceberg { source, .. } => *source,
        error::Error::CatalogUnavailable { message, .. } => unavailable(message),
        error::Error::TableNotFound { table, .. } => Error::new(ErrorKind::TableNotFound, table),
        other => Error::new(ErrorKind::Unexpected, "glue").with_source(other),
    }
}

/// What failures are about, which decides what is missing or there already.
#[derive(Clone, Copy)]
pub(super) enum Subject<'a> {
    Namespace(&'a str),
    Table(&'a str),
}

impl Failure {
    pub(super) fn of<E>(action: &str, error: &SdkError<E>) -> Self
    where
        E: ProvideErrorMetadata + StdError + 'static,
    {
        match error {
            SdkError::TimeoutError(_) => {
                Self::Unknown(format!("no answer to glue:{action} in time"))
            }
            SdkError::ConstructionFailure(_) => Self::Unavailable(innermost(error)),
            SdkError::DispatchFailure(_) => undelivered(error),
            _ => answered(action, error),
        }
    }

    pub(super) fn about(self, subject: Subject<'_>) -> Error {
        let (missing, present, name) = match subject {
            Subject::Namespace(name) => {
                use ErrorKind::{NamespaceAlreadyExists, NamespaceNotFound};
                (NamespaceNotFound, NamespaceAlreadyExists, name)
            }
            Subject::Table(name) => (
                ErrorKind::TableNotFound,
                ErrorKind::TableAlreadyExists,
                name,
            ),
        };
        match self {
            Self::NotFound => Error::new(missing, name),
            Self::Exists => Error::new(present, name),
            Self::Conflict => {
                Error::new(ErrorKind::CatalogCommitConflicts, name).with_retryable(true)
            }
            Self::Refused(message) => refused(message),
            Self::Unavailable(message) | Self::Unknown(message) => unavailable(message),
        }
    }

    /// Whether it is not known what became of the request.
    pub(super) fn is_unknown(&self) -> bool {
        matches!(self, Self::Unknown(_))
    }
}

/// Sends a request once, and again only where Glue refused to take it up: the repetition of a change that was done after all
/// would look like a conflict with somebody else. (The client of reads repeats those itself where they failed.)
pub(super) async fn unthrottled<T, E, F>(
    action: &str,
    mut send: impl FnMut() -> F + Send,
) -> Result<T, Failure>
where
    E: ProvideErrorMetadata + StdError + Send + 'static,
    F: Future<Output = Result<T, SdkError<E>>> + Send,
    T: Send,
{
    let mut attempt = 0;
    loop {
        match send().await {
            Err(error) if is_throttled(&error) && attempt < THROTTLED_RETRIES => {}
            done => return done.map_err(|error| Failure::of(action, &error)),
        }
        let most = FIRST_WAIT_MS << attempt;
        clock::sleep(Duration::from_millis(rand::random_range(most / 2..=most))).await;
        attempt += 1;
    }
}

fn is_throttled<E: ProvideErrorMetadata>(error: &SdkError<E>) -> bool {
    let status = error.raw_response().map(|answer| answer.status().as_u16());
    let named = error.code().is_some_and(|code| THROTTLES.contains(&code));
    named || status == Some(TOO_MANY_REQUESTS)
}

fn undelivered(error: &(dyn StdError + 'static)) -> Failure {
    let message = innermost(error);
    let mut causes = chain(error);
    let unsigned = chain(error).find_map(|cause| cause.downcast_ref::<CredentialsError>());
    let refused = causes.any(|cause| {
        let connection = cause.downcast_ref::<io::Error>();
        connection.is_some_and(|cause| cause.kind() == io::ErrorKind::ConnectionRefused)
    });
    match (unsigned, refused) {
        (Some(CredentialsError::CredentialsNotLoaded(_)), _) => {
            Failure::Unavailable(NO_CREDENTIALS.to_owned())
        }
        (Some(_), _) => Failure::Unavailable(format!("no credentials for AWS: {message}")),
        (None, true) => Failure::Unavailable(message),
        (None, false) => Failure::Unknown(message),
    }
}

fn answered<E: ProvideErrorMetadata>(action: &str, error: &SdkError<E>) -> Failure {
    let status = error
        .raw_response()
        .map_or(0, |answer| answer.status().as_u16());
    let code = error.code().unwrap_or_default();
    let words = error.message().map(shortened).unwrap_or_default();
    let told = match code {
        "" => format!("glue:{action} was answered with status {status}"),
        code => format!("glue:{action} was answered with {code}: {words}"),
    };
    match code {
        "EntityNotFoundException" => Failure::NotFound,
        "AlreadyExistsException" => Failure::Exists,
        "ConcurrentModificationException" => Failure::Conflict,
        "AccessDeniedException" => {
            Failure::Unavailable(format!("glue:{action} is denied: {words}"))
        }
        "InvalidInputException" | "ValidationException" => Failure::Refused(told),
        code if THROTTLES.contains(&code) => Failure::Unavailable(told),
        code if UNDECIDED.contains(&code) => Failure::Unknown(told),
        _ if (400..500).contains(&status) => Failure::Unavailable(told),
        _ => Failure::Unknown(told),
    }
}

fn chain<'a>(
    error: &'a (dyn StdError + 'static),
) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    std::iter::successors(Some(error), |&error| error.source())
}

fn innermost(error: &(dyn StdError + 'static)) -> String {
    let last = chain(error).last().map(ToString::to_string);
    shortened(&last.unwrap_or_default())
}

/// Later lines of an answer can repeat the request with its session token.
fn shortened(message: &str) -> String {
    let line = message.lines().next().unwrap_or_default();
    line.chars().take(SHOWN).collect()
}
