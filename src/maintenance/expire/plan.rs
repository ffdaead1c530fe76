//! What an expiry is going to do to a table as it was loaded, and the changes of metadata that do it.

use std::collections::HashMap;
use std::sync::Arc;

use iceberg::TableUpdate;
use iceberg::spec::TableMetadata;
use iceberg::table::Table;

use super::report::{ExpireReport, ExpiredFiles};
use super::rules::Expired;
use crate::model::TableName;
use crate::table::commit::{LEDGER, Ledger, ledger_location};

/// What an expiry is to do to a table.
pub(super) struct Plan {
    pub(super) base: Table,
    pub(super) expired: Expired,
    /// As the table has it.
    pub(super) ledger: Arc<Ledger>,
    /// As it is to be.
    pub(super) next: Ledger,
}

impl Plan {
    /// A ledger alone is written anew once none of its keys counts.
    pub(super) fn is_empty(&self) -> bool {
        let outdated = self.next.is_empty() && !self.ledger.is_empty();
        self.expired == Expired::default() && !outdated
    }

    /// Whether everything that was to go is gone.
    pub(super) fn is_done(&self, now: &TableMetadata) -> bool {
        let mut snapshots = self.expired.snapshots.iter();
        let mut refs = self.expired.refs.iter();
        snapshots.all(|id| now.snapshot_by_id(*id).is_none())
            && refs.all(|name| now.snapshot_for_ref(name).is_none())
    }

    pub(super) fn updates(&self, ledger: Option<String>) -> Vec<TableUpdate> {
        let refs = self.expired.refs.iter().cloned();
        let refs = refs.map(|ref_name| TableUpdate::RemoveSnapshotRef { ref_name });
        let snapshots = self.expired.snapshots.iter().copied();
        // One by one, because older servers take no more of them at a time.
        let removals = snapshots.clone().map(|id| TableUpdate::RemoveSnapshots {
            snapshot_ids: vec![id],
        });
        let statistics = snapshots.flat_map(|id| self.statistics(id));
        let property = self.property(ledger);
        refs.chain(statistics)
            .chain(property)
            .chain(removals)
            .collect()
    }

    /// What removes the statistics of a snapshot.
    fn statistics(&self, snapshot_id: i64) -> impl Iterator<Item = TableUpdate> {
        let metadata = self.base.metadata();
        let whole = metadata.statistics_for_snapshot(snapshot_id);
        let whole = whole.map(|_| TableUpdate::RemoveStatistics { snapshot_id });
        let partitions = metadata.partition_statistics_for_snapshot(snapshot_id);
        let partitions = partitions.map(|_| TableUpdate::RemovePartitionStatistics { snapshot_id });
        whole.into_iter().chain(partitions)
    }

    fn property(&self, ledger: Option<String>) -> Option<TableUpdate> {
        let known = ledger_location(self.base.metadata());
        match ledger {
            Some(location) => Some(TableUpdate::SetProperties {
                updates: HashMap::from([(LEDGER.to_owned(), location)]),
            }),
            None => known.map(|_| TableUpdate::RemoveProperties {
                removals: vec![LEDGER.to_owned()],
            }),
        }
    }

    pub(super) fn report(&self, name: &TableName, dry_run: bool) -> ExpireReport {
        let before = self.base.metadata().snapshots().len();
        ExpireReport {
            table: name.to_string(),
            dry_run,
            snapshots_before: before as u64,
            snapshots_after: (before - self.expired.snapshots.len()) as u64,
            refs_removed: self.expired.refs.iter().cloned().collect(),
            files: ExpiredFiles::default(),
        }
    }
}
