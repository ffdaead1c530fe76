//! What there is to do for a table: when it is due, and doing it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use iceberg::spec::{TableMetadata, TableProperties};
use iceberg::table::Table;
use indicatif::ProgressBar;

use super::Schedule;
use crate::error::Result;
use crate::maintenance::triggers::Reason;
use crate::maintenance::{expire_options, gc_options, lease};
use crate::model::TableName;

/// Table property with the time, in milliseconds since 1970, of the last search for files that nothing refers to.
pub(in crate::maintenance) const GC_AT: &str = "murre.gc-at";
/// Between two expiries of one table.
const EXPIRY_INTERVAL: Duration = Duration::from_secs(60 * 60);
/// After one that found nothing: tags and branches may keep old snapshots for ever.
const IDLE_EXPIRY_INTERVAL: Duration = Duration::from_secs(24 * 60 * 60);

/// One kind of upkeep.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Job {
    /// Files are merged.
    Compact,
    /// Manifests are merged.
    MergeManifests,
    /// Snapshots expire.
    Expire,
    /// Files that nothing refers to are removed.
    Gc,
}

impl fmt::Display for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Compact => "compact",
            Self::MergeManifests => "merge the manifests of",
            Self::Expire => "expire snapshots of",
            Self::Gc => "remove orphan files of",
        })
    }
}

impl Schedule {
    /// What is due for a table, in the order in which it is done: what compaction leaves behind is younger than anything that
    /// expires.
    pub(super) async fn due(&self, name: &TableName, table: &Table) -> Vec<Job> {
        let now = self.sources.clock.now();
        let mut jobs = self.due_rewrites(name).await;
        if self.has_old_snapshots(table.metadata()) {
            jobs.push(Job::Expire);
        }
        if self.needs_gc(table.metadata()) {
            jobs.push(Job::Gc);
        }
        jobs.retain(|job| self.memory.may(name, *job, now));
        jobs
    }

    async fn due_rewrites(&self, name: &TableName) -> Vec<Job> {
        if !self
            .memory
            .may(name, Job::Compact, self.sources.clock.now())
        {
            return Vec::new();
        }
        match self.maintenance.due_reason(name).boxed().await {
            Ok(None) => Vec::new(),
            Ok(Some(Reason::Manifests { .. })) => vec![Job::MergeManifests],
            Ok(Some(_)) => vec![Job::Compact, Job::MergeManifests],
            Err(error) => {
                self.note(name, Job::Compact, Err(error));
                Vec::new()
            }
        }
    }

    /// Decided without reading anything; whether they may go is the expiry's to say.
    fn has_old_snapshots(&self, metadata: &TableMetadata) -> bool {
        let own = metadata
            .properties()
            .get(TableProperties::PROPERTY_MAX_SNAPSHOT_AGE_MS);
        let own = own.and_then(|age| Some(Duration::from_millis(age.parse().ok()?)));
        let age = own.unwrap_or(self.config.snapshot_age);
        let oldest = metadata.snapshots().map(|it| it.timestamp_ms()).min();
        let oldest = oldest.and_then(|at| u64::try_from(at).ok());
        metadata.snapshots().len() > 1 && oldest.is_some_and(|at| self.is_past(at, age))
    }

    fn needs_gc(&self, metadata: &TableMetadata) -> bool {
        let last = metadata.properties().get(GC_AT);
        let last: u64 = last.and_then(|at| at.parse().ok()).unwrap_or_default();
        let interval = self.config.gc_interval;
        !interval.is_zero() && self.is_past(last, interval)
    }

    /// Whether a time in milliseconds since 1970 is so long ago.
    fn is_past(&self, at_ms: u64, age: Duration) -> bool {
        let now = lease::millis(self.sources.clock.now());
        u128::from(now.saturating_sub(at_ms)) >= age.as_millis()
    }

    /// Does one job and logs what it did; answers after how long it may be looked at again.
    pub(super) async fn job(self: Arc<Self>, name: TableName, job: Job) -> Result<Duration> {
        let (maintenance, hidden) = (&self.maintenance, ProgressBar::hidden());
        match job {
            Job::Compact => {
                let report = maintenance.compact(&name, false, &hidden).boxed().await?;
                tracing::info!(table = %name, "compacted {report}");
                Ok(Duration::ZERO)
            }
            Job::MergeManifests => {
                let report = maintenance.merge_manifests(&name, false).boxed().await?;
                tracing::info!(table = %name, "merged manifests of {report}");
                Ok(Duration::ZERO)
            }
            Job::Expire => {
                let options = expire_options(&self.config);
                let report = maintenance
                    .expire(&name, &options, false, &hidden)
                    .boxed()
                    .await?;
                tracing::info!(table = %name, "expired snapshots of {report}");
                Ok(match report.snapshots_before > report.snapshots_after {
                    true => EXPIRY_INTERVAL,
                    false => IDLE_EXPIRY_INTERVAL,
                })
            }
            Job::Gc => {
                let options = gc_options(&self.config);
                let report = maintenance
                    .gc(&name, options, false, &hidden)
                    .boxed()
                    .await?;
                tracing::info!(table = %name, "removed orphan files of {report}");
                Ok(self.config.gc_interval)
            }
        }
    }
}
