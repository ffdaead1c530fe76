//! Removal of orphans: files in a table's folder that nothing refers to, left by attempts that died, lost a race or were
//! compacted away and expired.
//!
//! A file goes only if it is older than any write can take, if nothing that the metadata knows refers to it, and if no attempt
//! of this machine that is not settled has written it. Files are listed first and the table is loaded after that, so that a
//! file committed meanwhile is referred to. What cannot be told stays: if a manifest cannot be read nothing is deleted, and a
//! folder that is another table's too is not looked at.

mod neighbours;
mod recover;
mod report;
mod sweep;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use iceberg::table::Table;
use indicatif::ProgressBar;
use uuid::Uuid;

use super::Maintenance;
use crate::error::{Error, Result};
use crate::model::TableName;
use crate::storage::{Listed, canonical};
use crate::table::references::file_name;
pub use recover::RecoverReport;
pub use report::GcReport;
use sweep::Sweep;

/// Younger files may be of writes in flight.
const YOUNGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// Which files may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GcOptions {
    /// Files that were last written so long ago; at least a day.
    pub older_than: Duration,
    /// Accept less than a day. Danger: files of writes in flight look like orphans. Deleted, they take rows with them that
    /// are acknowledged later, and the table cannot be read. Use it only while nobody writes to the table, in whatever engine.
    pub force_younger: bool,
}

impl Default for GcOptions {
    fn default() -> Self {
        Self {
            older_than: 3 * YOUNGEST,
            force_younger: false,
        }
    }
}

impl GcOptions {
    fn check(self) -> Result<()> {
        if self.force_younger || self.older_than >= YOUNGEST {
            return Ok(());
        }
        let age = humantime::format_duration(self.older_than);
        Err(Error::invalid(
            "older_than",
            format!(
                "{age} is less than a day, so that files of writes in flight would be taken for orphans"
            ),
        ))
    }
}

impl Maintenance {
    /// Removes the orphans of one table, after what attempts of this machine that died have left in it; with `dry_run` only
    /// says which orphans they are. Counts listed files in `progress`.
    ///
    /// # Errors
    /// [`Error::InvalidRequest`] for an age of less than a day; [`Error::NotAllowed`] for a table with `gc.enabled=false` or
    /// in a folder that is another table's too; if a part of the metadata cannot be read. Nothing was deleted then that is
    /// referred to.
    pub async fn gc(
        &self,
        name: &TableName,
        options: GcOptions,
        dry_run: bool,
        progress: &ProgressBar,
    ) -> Result<GcReport> {
        options.check()?;
        let catalogs = self.tables.catalogs();
        let table = catalogs.load_table(name).await?;
        check_enabled(name, &table)?;
        let folder = table.metadata().location().to_owned();
        neighbours::check(catalogs, name, &table).await?;
        if !dry_run {
            self.recover_table(name).await?;
        }
        let choice = Choice {
            folder: spelled(&folder)?,
            until: self.clock.now().checked_sub(options.older_than),
            unsettled: self.unsettled()?,
        };
        let mut sweep = Sweep::begin(catalogs, name, table, dry_run).await?;
        sweep
            .run(&folder, |file| choice.has(file), progress)
            .await?;
        Ok(sweep.end())
    }

    fn unsettled(&self) -> Result<BTreeSet<Uuid>> {
        let journal = self.journal.as_ref();
        journal.map_or_else(|| Ok(BTreeSet::new()), |journal| journal.unsettled())
    }
}

/// What may be an orphan, as far as a file itself tells.
struct Choice {
    folder: String,
    /// `None`: the clock has not got that far.
    until: Option<SystemTime>,
    unsettled: BTreeSet<Uuid>,
}

impl Choice {
    fn has(&self, file: &Listed) -> Result<bool> {
        let is_old = self.until.is_some_and(|until| file.modified <= until);
        let in_flight = attempt_of(&file.path).is_some_and(|id| self.unsettled.contains(&id));
        Ok(is_old && !in_flight && !self.is_hidden(&spelled(&file.path)?))
    }

    /// As other engines have it, names that start with a dot or an underscore are not the table's, unless they are folders of a
    /// partition.
    fn is_hidden(&self, path: &str) -> bool {
        let below = path.strip_prefix(&self.folder).unwrap_or(path);
        let hidden = |part: &str| part.starts_with(['.', '_']) && !part.contains('=');
        below.split('/').any(hidden)
    }
}

/// The attempt whose data file this is, if it is one of ours.
fn attempt_of(path: &str) -> Option<Uuid> {
    let id = file_name(path).get(..36)?;
    Uuid::try_parse(id).ok()
}

fn check_enabled(name: &TableName, table: &Table) -> Result<()> {
    let enabled = table.metadata().properties().get("gc.enabled");
    match enabled.is_some_and(|it| it.eq_ignore_ascii_case("false")) {
        false => Ok(()),
        true => Err(Error::NotAllowed {
            what: format!(
                "removing orphans of table `{name}`, whose property gc.enabled is false,"
            ),
            remedy: "others may use its files; set the property to true if they do not".to_owned(),
        }),
    }
}

fn spelled(location: &str) -> Result<String> {
    canonical(location).map_err(|message| Error::invalid("location", message))
}
