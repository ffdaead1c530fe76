//! What an expiry can be told.

use std::time::Duration;

use super::READERS;
use crate::error::{Error, Result};

/// What is to expire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExpireOptions {
    /// Snapshots of this age or younger stay; [`READERS`] at least. None: as the table's property
    /// `history.expire.max-snapshot-age-ms` says, else `default_age`.
    pub older_than: Option<Duration>,
    /// So many snapshots of each branch stay, 1 at least. None: as the table's property
    /// `history.expire.min-snapshots-to-keep` says, else `default_keep`.
    pub keep_last: Option<usize>,
    /// See `older_than`.
    pub default_age: Duration,
    /// See `keep_last`.
    pub default_keep: usize,
    /// Also what was current within the time of [`READERS`]: requests that are going on may miss their snapshot.
    pub force_younger: bool,
    /// For this long after its commit, an idempotency key is known though its snapshot has expired.
    pub key_retention: Duration,
}

impl Default for ExpireOptions {
    fn default() -> Self {
        Self {
            older_than: None,
            keep_last: None,
            default_keep: 1,
            force_younger: false,
            default_age: Duration::from_secs(5 * 24 * 60 * 60),
            key_retention: Duration::from_secs(24 * 60 * 60),
        }
    }
}

impl ExpireOptions {
    /// Refuses what would disturb readers.
    ///
    /// # Errors
    /// [`Error::InvalidRequest`] naming the option.
    pub fn check(&self) -> Result<()> {
        let ages = [
            ("older_than", self.older_than),
            ("default_age", Some(self.default_age)),
        ];
        for (option, age) in ages {
            if let Some(age) = age.filter(|age| *age < READERS && !self.force_younger) {
                let (least, found) = (
                    humantime::format_duration(READERS),
                    humantime::format_duration(age),
                );
                let message = format!(
                    "expected {least} at least, since readers may need a snapshot for so long; found {found}"
                );
                return Err(Error::invalid(option, message));
            }
        }
        match self.keep_last {
            Some(0) => Err(Error::invalid("keep_last", "expected 1 or more, found 0")),
            _ => Ok(()),
        }
    }
}
