//! Settings of object stores by pyiceberg's names.

use std::collections::BTreeMap;
use std::time::Duration;

/// The properties of one service, which is how their names begin.
#[derive(Clone, Copy)]
pub(super) struct Properties<'a> {
    service: &'static str,
    all: &'a BTreeMap<String, String>,
}

impl<'a> Properties<'a> {
    pub(super) fn new(service: &'static str, all: &'a BTreeMap<String, String>) -> Self {
        Self { service, all }
    }

    pub(super) fn all(self) -> &'a BTreeMap<String, String> {
        self.all
    }

    /// The property with this full name; an empty one counts as not set.
    pub(super) fn named(self, name: &str) -> Option<&'a str> {
        let value = self.all.get(name).map(String::as_str);
        value.filter(|value| !value.is_empty())
    }

    /// `SERVICE.NAME`.
    pub(super) fn get(self, name: &str) -> Option<&'a str> {
        self.named(&format!("{}.{name}", self.service))
    }

    /// `SERVICE.NAME`, or the name that all of Amazon's services share.
    pub(super) fn shared(self, name: &str) -> Option<&'a str> {
        let shared = || self.named(&format!("client.{name}"));
        self.get(name).or_else(shared)
    }

    pub(super) fn is_true(self, name: &str) -> Option<bool> {
        let text = self.get(name)?;
        Some(matches!(
            text.to_ascii_lowercase().as_str(),
            "true" | "1" | "yes" | "on"
        ))
    }

    /// A number of seconds, possibly with a fraction.
    pub(super) fn seconds(self, name: &str) -> Result<Option<Duration>, String> {
        let Some(text) = self.get(name) else {
            return Ok(None);
        };
        let seconds = text.trim().parse().ok();
        let duration = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        match duration.filter(|duration| !duration.is_zero()) {
            Some(duration) => Ok(Some(duration)),
            None => Err(format!(
                "{}.{name}: expected seconds, found `{text}`",
                self.service
            )),
        }
    }
}
