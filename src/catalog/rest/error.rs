//! What a request ended in. Whether a change may have happened decides whether its files may be deleted, so that what is not
//! certainly a refusal counts as unknown.

use std::error::Error as StdError;

use iceberg::{Error, ErrorKind, TableIdent};
use reqwest::StatusCode;
use serde::Deserialize;

use super::secrets::Secrets;
use super::session::REQUEST_LIMIT;

/// Characters of the server's own words that are shown.
const SHOWN: usize = 300;

#[derive(Debug)]
pub(super) enum Failure {
    /// Nothing was sent, in words without secrets.
    Unreachable(String),
    /// It was sent, and the connection broke.
    Unanswered(String),
    /// It was sent, and no answer came in time.
    TimedOut(String),
    /// The server answered something else than what was asked for.
    Answered(Answer),
}

/// An answer that is no success.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    /// The exception's name, if the server told one.
    kind: String,
    message: String,
}

#[derive(Default, Deserialize)]
struct Body {
    #[serde(default)]
    error: Model,
}

#[derive(Default, Deserialize)]
struct Model {
    #[serde(default)]
    message: String,
    #[serde(default, rename = "type")]
    kind: String,
}

impl Answer {
    /// Whatever is no error in the protocol's form is a page of some proxy, which is not shown; nor are words that repeat a
    /// secret.
    pub(super) fn new(status: StatusCode, body: &[u8], secrets: &Secrets) -> Self {
        let body: Body = serde_json::from_slice(body).unwrap_or_default();
        let told = |text: &String| !secrets.are_in(text);
        let message = Some(body.error.message).filter(told).unwrap_or_default();
        Self {
            status,
            kind: Some(body.error.kind).filter(told).unwrap_or_default(),
            message: message.chars().take(SHOWN).collect(),
        }
    }

    fn shown(&self) -> String {
        match self.message.as_str() {
            "" => format!("the server answered {}", self.status),
            message => format!("the server answered {}: {message}", self.status),
        }
    }
}

/// Stands in an Iceberg error for a catalog that is down or refuses us.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Outage(String);

/// The server's or the connection's words, if the catalog is what failed.
pub(in crate::catalog) fn outage(error: &Error) -> Option<String> {
    Some(error.source()?.downcast_ref::<Outage>()?.0.clone())
}

pub(super) fn unavailable(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Unexpected, "rest catalog").with_source(Outage(message.into()))
}

impl Failure {
    /// Of a request that was not answered. The innermost error tells why: the outer ones repeat the address.
    pub(super) fn of_connection(error: &reqwest::Error) -> Self {
        let mut innermost: &(dyn StdError + 'static) = error;
        while let Some(source) = innermost.source() {
            innermost = source;
        }
        if error.is_connect() || error.is_builder() {
            let message = match error.is_timeout() {
                true => "no connection in time".to_owned(),
                false => innermost.to_string(),
            };
            return Self::Unreachable(message);
        }
        match error.is_timeout() {
            true => Self::TimedOut(format!("no answer within {} s", REQUEST_LIMIT.as_secs())),
            false => Self::Unanswered(innermost.to_string()),
        }
    }

    pub(super) fn status(&self) -> Option<StatusCode> {
        match self {
            Self::Answered(answer) => Some(answer.status),
            Self::Unreachable(_) | Self::Unanswered(_) | Self::TimedOut(_) => None,
        }
    }

    /// Whether the request's effect may be there, now or later.
    pub(super) fn is_unknown(&self) -> bool {
        match self {
            Self::Unreachable(_) => false,
            Self::Unanswered(_) | Self::TimedOut(_) => true,
            Self::Answered(answer) => {
                answer.status.is_server_error() && answer.status != StatusCode::NOT_IMPLEMENTED
            }
        }
    }

    pub(super) fn message(&self) -> String {
        match self {
            Self::Unreachable(message) | Self::Unanswered(message) | Self::TimedOut(message) => {
                message.clone()
            }
            Self::Answered(answer) => answer.shown(),
        }
    }

    /// For requests about one table.
    pub(super) fn about_table(self, table: &TableIdent) -> Error {
        let kind = match &self {
            Self::Answered(answer) => match (answer.status, answer.kind.as_str()) {
                (StatusCode::NOT_FOUND, "NoSuchNamespaceException") => {
                    Some(ErrorKind::NamespaceNotFound)
                }
                (StatusCode::NOT_FOUND, _) => Some(ErrorKind::TableNotFound),
                (StatusCode::CONFLICT, "AlreadyExistsException") => {
                    Some(ErrorKind::TableAlreadyExists)
                }
                (StatusCode::CONFLICT, _) => Some(ErrorKind::CatalogCommitConflicts),
                _ => None,
            },
            _ => None,
        };
        self.told(kind, &table.to_string())
    }

    /// For the creation of a table, where whatever conflicts is one of that name.
    pub(super) fn about_new_table(self, table: &TableIdent) -> Error {
        match self.status() {
            Some(StatusCode::CONFLICT) => {
                self.told(Some(ErrorKind::TableAlreadyExists), &table.to_string())
            }
            Some(StatusCode::NOT_FOUND) => {
                self.told(Some(ErrorKind::NamespaceNotFound), &table.to_string())
            }
            _ => self.about_table(table),
        }
    }

    /// For requests about one namespace.
    pub(super) fn about_namespace(self, namespace: &str) -> Error {
        let kind = match self.status() {
            Some(StatusCode::NOT_FOUND) => Some(ErrorKind::NamespaceNotFound),
            Some(StatusCode::CONFLICT) => Some(ErrorKind::NamespaceAlreadyExists),
            _ => None,
        };
        self.told(kind, namespace)
    }

    fn told(self, kind: Option<ErrorKind>, what: &str) -> Error {
        match kind {
            Some(kind) => Error::new(kind, format!("`{what}`: {}", self.message())),
            None => unavailable(self.message()),
        }
    }
}
