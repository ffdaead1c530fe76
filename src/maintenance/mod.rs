//! Upkeep of tables, one at a time, each verb with a report: by commands, and by the server on a schedule.

mod command;
mod compact;
mod expire;
mod gc;
#[cfg(test)]
mod lab;
mod lease;
mod manifests;
mod schedule;
mod select;
mod status;
mod triggers;

use std::sync::Arc;

use crate::clock::{Clock, SystemClock};
use crate::config::MaintenanceConfig;
use crate::table::Tables;
use crate::table::write::Journal;

pub use command::{ExpireArgs, Format, GcArgs, TableOptions, Verb, run};
pub use compact::{CompactReport, Extent, FoldLimits};
pub use expire::{ExpireOptions, ExpireReport, ExpiredFiles, READERS};
pub use gc::{GcOptions, GcReport, RecoverReport};
pub use lease::{Holder, LEASE, Lease, MAINTAINER, Maintainer, Take};
pub use manifests::ManifestReport;
pub use schedule::{Job, Schedule, ScheduleSources};
pub use select::Selection;
pub use status::TableStatus;
pub use triggers::{Reason, Triggers};

/// What keeps tables in shape.
#[derive(Clone, Debug)]
pub struct Maintenance {
    tables: Arc<Tables>,
    limits: FoldLimits,
    triggers: Triggers,
    clock: Arc<dyn Clock>,
    journal: Option<Arc<Journal>>,
}

impl Maintenance {
    /// Upkeep of these tables.
    pub fn new(tables: Arc<Tables>) -> Self {
        Self {
            tables,
            limits: FoldLimits::default(),
            triggers: Triggers::default(),
            clock: Arc::new(SystemClock),
            journal: None,
        }
    }

    /// The same with other limits.
    pub fn with_limits(mut self, limits: FoldLimits) -> Self {
        self.limits = limits;
        self
    }

    /// The same, where other things make a compaction due.
    pub fn with_triggers(mut self, triggers: Triggers) -> Self {
        self.triggers = triggers;
        self
    }

    /// The same with another clock.
    pub fn with_clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// The same with the journal of this machine's attempts at commits.
    #[must_use]
    pub fn with_journal(self, journal: Arc<Journal>) -> Self {
        let journal = Some(journal);
        Self { journal, ..self }
    }

    /// The same within what the configuration allows.
    pub fn with_config(self, config: &MaintenanceConfig) -> Self {
        self.with_limits(limits(config))
    }
}

/// A pass holds about 150 bytes for each row and as many again while its map grows; the rows of a group take several times
/// the bytes of their files. The two are not in memory together.
fn limits(config: &MaintenanceConfig) -> FoldLimits {
    let running = u64::try_from(config.max_running).unwrap_or(1).max(1);
    let bytes = config.memory_limit.as_u64() / running;
    FoldLimits {
        pass_rows: bytes / 256,
        group_bytes: bytes / 8,
        grace: config.grace,
    }
}

/// What the schedule expires, and commands that are told nothing else.
fn expire_options(config: &MaintenanceConfig) -> ExpireOptions {
    ExpireOptions {
        default_age: config.snapshot_age,
        default_keep: config.keep_last,
        key_retention: config.key_retention,
        ..ExpireOptions::default()
    }
}

/// What the schedule removes, and commands that are told nothing else.
fn gc_options(config: &MaintenanceConfig) -> GcOptions {
    GcOptions {
        older_than: config.orphan_age,
        force_younger: false,
    }
}

/// The journal of the configured folder. Where it cannot be opened, writes go on without: what they leave behind when they
/// die is removed as orphans.
pub fn journal(config: &MaintenanceConfig) -> Option<Arc<Journal>> {
    let folder = Some(&config.journal).filter(|it| !it.as_os_str().is_empty())?;
    let opened = Journal::open(folder);
    let opened = opened.inspect_err(|error| {
        let folder = folder.display();
        tracing::warn!(%folder, %error, "writes are not noted; maintenance.journal can name another folder");
    });
    opened.ok().map(Arc::new)
}

#[cfg(test)]
mod tests {
    use bytesize::ByteSize;

    use super::*;

    #[test]
    fn tables_that_are_worked_on_at_a_time_share_the_memory() {
        let config = MaintenanceConfig {
            memory_limit: ByteSize::mib(600),
            max_running: 2,
            ..MaintenanceConfig::default()
        };
        let limits = limits(&config);
        assert_eq!(limits.pass_rows, 300 * 1024 * 1024 / 256);
        assert_eq!(limits.group_bytes, 300 * 1024 * 1024 / 8);
    }
}
