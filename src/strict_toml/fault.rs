//! Faults and where they were made; serde's errors in a reader's words, and without values that may be secrets.

use std::fmt;
use std::sync::Arc;

use serde::de::{Expected, Unexpected};

use crate::error::{did_you_mean, nearest};

/// Where a value was set.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Origin {
    /// Nowhere: it is the default.
    #[default]
    Default,
    /// A line of a file, from 1.
    File(Arc<str>, usize),
    /// An environment variable.
    Environment(String),
    /// A command line flag.
    Flag(&'static str),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(file, line) => write!(f, "{file}:{line}"),
            Self::Environment(variable) => write!(f, "environment variable {variable}"),
            Self::Flag(flag) => write!(f, "flag {flag}"),
        }
    }
}

/// One thing that is wrong, shown as `key: message (origin)`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Fault {
    /// Where it was set; first, so that faults sort in the order of the file.
    pub(crate) origin: Origin,
    /// Dotted path, empty where the whole document is meant.
    pub(crate) key: String,
    /// What was expected and found.
    pub(crate) message: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        write!(f, "{} ({})", self.message, self.origin)
    }
}

#[derive(Debug)]
pub(super) struct Error {
    pub(super) message: String,
    /// The field that is missing, if that is what is wrong.
    pub(super) missing: Option<&'static str>,
    /// Whether a fault was noted for it.
    pub(super) reported: bool,
}

impl std::error::Error for Error {}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl serde::de::Error for Error {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self {
            message: message.to_string(),
            missing: None,
            reported: false,
        }
    }

    /// Names the kind only: the value may be a secret that was not put in quotes.
    fn invalid_type(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        serde::de::Error::custom(format!(
            "expected {}, found {}",
            wanted(expected),
            kind(found)
        ))
    }

    fn invalid_value(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        serde::de::Error::custom(format!("expected {}, found {found}", wanted(expected)))
    }

    fn unknown_variant(name: &str, known: &'static [&'static str]) -> Self {
        let hint = did_you_mean(&nearest(name, known.iter().copied()));
        serde::de::Error::custom(format!(
            "expected one of `{}`, found `{name}`{hint}",
            known.join("`, `")
        ))
    }

    fn missing_field(field: &'static str) -> Self {
        Self {
            missing: Some(field),
            ..<Self as serde::de::Error>::custom(format!("`{field}` is missing"))
        }
    }
}

/// Says in a reader's words what libraries and Rust call by their own names.
fn wanted(expected: &dyn Expected) -> String {
    let text = expected.to_string();
    match text.as_str() {
        "parsable string" | "integer overflow" | "an integer or string" => {
            "a size such as \"512MiB\"".to_owned()
        }
        "usize" | "u64" | "u32" | "u16" => "a whole number, 0 or more".to_owned(),
        "a map" => "a section".to_owned(),
        "a sequence" => "a list".to_owned(),
        "a duration" => "a duration such as \"1h\" or \"7d\"".to_owned(),
        _ if text.starts_with("struct ") => "a section".to_owned(),
        _ => text,
    }
}

fn kind(found: Unexpected<'_>) -> &'static str {
    match found {
        Unexpected::Bool(_) => "a boolean",
        Unexpected::Unsigned(_) | Unexpected::Signed(_) => "an integer",
        Unexpected::Float(_) => "a float",
        Unexpected::Str(_) => "a string",
        Unexpected::Seq => "a list",
        Unexpected::Map => "a section",
        _ => "a date or time",
    }
}
