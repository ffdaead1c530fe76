//! Snapshots that nobody needs any more leave a table's metadata in one commit, and then the files go that only they
//! referred to.
//!
//! What expires is decided by [`rules`]. The idempotency keys of the writes that go are kept in the table's ledger, which
//! is written before the commit. Whatever others commit meanwhile, the commit happens only if all that was planned may
//! still go. Files are deleted only once it is certain that the table has forgotten the snapshots: where the answer was
//! lost, they stay, and orphan removal finds them.

mod files;
mod options;
mod paths;
mod plan;
mod report;
mod rules;
#[cfg(test)]
mod tests;

use std::time::UNIX_EPOCH;

use iceberg::TableRequirement;
use iceberg::spec::{
    FormatVersion, MAIN_BRANCH, SnapshotReference, TableMetadata, TableProperties,
};
use iceberg::table::Table;
use indicatif::ProgressBar;

use super::Maintenance;
use crate::catalog::Catalogs;
use crate::catalog::commit::{delete_quietly, staged, with_metadata};
use crate::error::{Error, Result};
use crate::model::TableName;
use crate::table::commit::{Change, KeyLedgers, Ledger, commit_change, ledger_location};
use files::Sweep;
use plan::Plan;
use rules::{Expired, History, Rules, millis};

pub use options::ExpireOptions;
pub use report::{ExpireReport, ExpiredFiles};
pub use rules::READERS;

/// Times that an expiry is begun anew because somebody else changed what it depends on.
const ATTEMPTS: u32 = 5;

impl Maintenance {
    /// Expires snapshots of one table, and deletes what only they referred to; with `dry_run` only says what it would do.
    /// Writers are not held up.
    ///
    /// # Errors
    /// [`Error::InvalidRequest`] naming an option or a table property; [`Error::NotAllowed`] for a table whose property
    /// `gc.enabled` is false; [`Error::Unsupported`] for one of format version 1, whose tags are not known;
    /// [`Error::CommitConflict`] if others were faster each time. With these nothing was changed.
    /// [`Error::CatalogUnavailable`] also if it is not known whether snapshots expired. No file was deleted with any.
    pub async fn expire(
        &self,
        name: &TableName,
        options: &ExpireOptions,
        dry_run: bool,
        progress: &ProgressBar,
    ) -> Result<ExpireReport> {
        options.check()?;
        let now = self.clock.now().duration_since(UNIX_EPOCH);
        let expiry = Expiry {
            catalogs: self.tables.catalogs(),
            name,
            options,
            now_ms: millis(now.unwrap_or_default()),
        };
        let mut attempts = 0;
        loop {
            attempts += 1;
            match expiry.once(dry_run, progress).await {
                Err(Error::CommitConflict { .. }) if attempts < ATTEMPTS => progress.reset(),
                done => return done,
            }
        }
    }
}

/// One expiry of one table.
struct Expiry<'a> {
    catalogs: &'a Catalogs,
    name: &'a TableName,
    options: &'a ExpireOptions,
    /// UTC.
    now_ms: i64,
}

impl Expiry<'_> {
    async fn once(&self, dry_run: bool, progress: &ProgressBar) -> Result<ExpireReport> {
        let plan = self.plan().await?;
        let mut report = plan.report(self.name, dry_run);
        if plan.is_empty() {
            return Ok(report);
        }
        if dry_run {
            let updates = plan.updates(None);
            let after = with_metadata(&plan.base, staged(&plan.base, updates)?, None)?;
            report.files = Sweep::new(&plan.base, &after, dry_run, progress)
                .run()
                .await?;
            return Ok(report);
        }
        let after = self.commit(&plan).await?;
        let swept = Sweep::new(&plan.base, &after, dry_run, progress)
            .run()
            .await;
        report.files = swept.unwrap_or_else(|error| {
            tracing::warn!(table = %self.name, %error, "snapshots expired, but their files stay");
            ExpiredFiles {
                failures: 1,
                ..ExpiredFiles::default()
            }
        });
        Ok(report)
    }

    async fn plan(&self) -> Result<Plan> {
        let base = self.catalogs.load_table(self.name).await?;
        let ledger = KeyLedgers::default()
            .of(self.catalogs, self.name, &base)
            .await?;
        let ledger = ledger.ok_or_else(|| self.conflict())?;
        let expired = self.expired(base.metadata())?;
        let next = self.next(base.metadata(), &ledger, &expired);
        Ok(Plan {
            base,
            expired,
            ledger,
            next,
        })
    }

    /// What expires of a table, if anything may.
    fn expired(&self, metadata: &TableMetadata) -> Result<Expired> {
        let properties = metadata.properties();
        let gc = properties.get(TableProperties::PROPERTY_GC_ENABLED);
        if gc.is_some_and(|enabled| enabled.eq_ignore_ascii_case("false")) {
            return Err(Error::NotAllowed {
                what: format!("expiring snapshots of table `{}`", self.name),
                remedy: "its property `gc.enabled` is false, since others may share its files"
                    .to_owned(),
            });
        }
        if metadata.format_version() == FormatVersion::V1 {
            let what = format!(
                "expiring snapshots of table `{}`, of format version 1,",
                self.name
            );
            return Err(Error::Unsupported { what });
        }
        let rules = Rules::new(self.name, properties, self.options, self.now_ms)?;
        Ok(rules.expired(&History::of(metadata)?))
    }

    fn next(&self, metadata: &TableMetadata, ledger: &Ledger, expired: &Expired) -> Ledger {
        let since = self
            .now_ms
            .saturating_sub(millis(self.options.key_retention));
        ledger.after(metadata, &expired.snapshots, since)
    }

    /// Makes the table forget what expires; answers the table that has.
    async fn commit(&self, plan: &Plan) -> Result<Table> {
        let ledger = match plan.next.is_empty() {
            true => None,
            false => Some(plan.next.write(self.name, &plan.base).await?),
        };
        let mut sent = false;
        let committed = commit_change(self.catalogs, self.name, |now| {
            let change = self.change(plan, now, ledger.clone(), sent)?;
            sent = true;
            Ok(change)
        });
        let committed = committed.await;
        // One that was sent may be the table's, whatever the answer was.
        if let (Some(unused), Err(_), false) = (&ledger, &committed, sent) {
            delete_quietly(plan.base.file_io(), std::slice::from_ref(unused)).await;
        }
        Ok(committed?.table)
    }

    /// The change of the table as it is now, which others may have changed since the plan. After it was `sent`, it may have
    /// happened without an answer.
    fn change(
        &self,
        plan: &Plan,
        now: &Table,
        ledger: Option<String>,
        sent: bool,
    ) -> Result<Change> {
        let metadata = now.metadata();
        if metadata.uuid() != plan.base.metadata().uuid() {
            return Err(Error::TableNotFound {
                table: self.name.to_string(),
                catalog: self.name.catalog.clone(),
            });
        }
        if sent && plan.is_done(metadata) {
            return Ok(Change::default());
        }
        self.holds(plan, metadata)?;
        Ok(Change {
            updates: plan.updates(ledger),
            requirements: unmoved(metadata)?,
            ..Change::default()
        })
    }

    /// Checks that all that was planned may go, and nothing else has to, and that the ledger has the keys that it needs.
    fn holds(&self, plan: &Plan, now: &TableMetadata) -> Result<()> {
        let may = self.expired(now)?;
        let holds = may.refs == plan.expired.refs
            && may.snapshots.is_superset(&plan.expired.snapshots)
            && ledger_location(now) == ledger_location(plan.base.metadata())
            && self.next(now, &plan.ledger, &plan.expired) == plan.next;
        holds.then_some(()).ok_or_else(|| self.conflict())
    }

    fn conflict(&self) -> Error {
        Error::CommitConflict {
            table: self.name.to_string(),
        }
    }
}

/// That branches and tags are where they are, which some catalogs do not see to by themselves; they do of `main`.
fn unmoved(metadata: &TableMetadata) -> Result<Vec<TableRequirement>> {
    let refs = History::of(metadata)?.refs.into_iter();
    let others = refs.filter(|(name, _)| name != MAIN_BRANCH);
    let requirement =
        |(name, reference): (String, SnapshotReference)| TableRequirement::RefSnapshotIdMatch {
            r#ref: name,
            snapshot_id: Some(reference.snapshot_id),
        };
    Ok(others.map(requirement).collect())
}
