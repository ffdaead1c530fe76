//! Which snapshots and refs of a table expire, by Iceberg's rules: of what is known about them, without reading anything.
//!
//! A branch keeps its newest snapshots, at least so many and those that are young enough; a tag keeps its own. A ref
//! besides `main` goes once its snapshot is older than the ref may become. Snapshots that no ref leads to go by age.
//! Whatever all that says, a snapshot stays that was current within the last hour: somebody may still be reading it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use iceberg::spec::{
    MAIN_BRANCH, SnapshotReference, SnapshotRetention, TableMetadata, TableProperties,
};
use serde::Deserialize;

use super::ExpireOptions;
use crate::error::{Error, Result};
use crate::model::TableName;

/// Snapshots that were current this lately never expire. Tickets pin a snapshot for ten minutes, and what was begun with
/// one may take its time.
pub const READERS: Duration = Duration::from_secs(60 * 60);

/// What a table says of its snapshots.
#[derive(Clone, Debug, Default)]
pub(super) struct History {
    pub(super) snapshots: BTreeMap<i64, Point>,
    pub(super) refs: BTreeMap<String, SnapshotReference>,
    /// Since when (UTC) which snapshot was the current one, oldest first.
    pub(super) log: Vec<(i64, i64)>,
}

/// A snapshot's place in the history.
#[derive(Clone, Copy, Debug)]
pub(super) struct Point {
    /// May be a snapshot that has expired.
    pub(super) parent: Option<i64>,
    /// UTC.
    pub(super) at_ms: i64,
}

/// The library shows no list of the refs, but writes them.
#[derive(Deserialize)]
struct Refs {
    #[serde(default)]
    refs: BTreeMap<String, SnapshotReference>,
}

impl History {
    pub(super) fn of(metadata: &TableMetadata) -> Result<Self> {
        let unreadable = |error| Error::internal("read the refs of a table", error);
        let json = serde_json::to_vec(metadata).map_err(unreadable)?;
        let Refs { refs } = serde_json::from_slice(&json).map_err(unreadable)?;
        let snapshots = metadata.snapshots().map(|snapshot| {
            let point = Point {
                parent: snapshot.parent_snapshot_id(),
                at_ms: snapshot.timestamp_ms(),
            };
            (snapshot.snapshot_id(), point)
        });
        let log = metadata.history().iter();
        Ok(Self {
            snapshots: snapshots.collect(),
            refs,
            log: log.map(|it| (it.timestamp_ms, it.snapshot_id)).collect(),
        })
    }

    /// A snapshot and those that it descends from, newest first, as far as they are known.
    fn ancestors(&self, id: i64) -> impl Iterator<Item = (i64, Point)> {
        let known = |id: i64| Some((id, *self.snapshots.get(&id)?));
        let ancestors = std::iter::successors(known(id), move |(_, point)| known(point.parent?));
        ancestors.take(self.snapshots.len())
    }
}

/// What expires.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Expired {
    pub(super) snapshots: BTreeSet<i64>,
    pub(super) refs: BTreeSet<String>,
}

/// What decides, where a ref does not say it itself.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules {
    /// UTC.
    pub(super) now_ms: i64,
    /// Snapshots of this age stay.
    pub(super) max_age_ms: i64,
    /// So many snapshots of each branch stay.
    pub(super) keep_last: usize,
    /// What was current within this time stays.
    pub(super) readers_ms: i64,
    /// Refs whose snapshots are of this age stay.
    pub(super) max_ref_age_ms: i64,
}

impl Rules {
    /// As asked for, else as the table's properties say.
    pub(super) fn new(
        name: &TableName,
        properties: &HashMap<String, String>,
        options: &ExpireOptions,
        now_ms: i64,
    ) -> Result<Self> {
        let property = |key: &str| number(name, properties, key);
        let max_age_ms = match options.older_than {
            Some(age) => millis(age),
            None => property(TableProperties::PROPERTY_MAX_SNAPSHOT_AGE_MS)?
                .unwrap_or_else(|| millis(options.default_age)),
        };
        let keep_last = match options.keep_last {
            Some(least) => least,
            None => property(TableProperties::PROPERTY_MIN_SNAPSHOTS_TO_KEEP)?
                .map_or(options.default_keep, count),
        };
        let max_ref_age_ms = property(TableProperties::PROPERTY_MAX_REF_AGE_MS)?;
        Ok(Self {
            now_ms,
            max_age_ms,
            keep_last,
            readers_ms: if options.force_younger {
                0
            } else {
                millis(READERS)
            },
            max_ref_age_ms: max_ref_age_ms.unwrap_or(i64::MAX),
        })
    }

    /// Everything that is to go.
    pub(super) fn expired(&self, history: &History) -> Expired {
        let (kept, gone): (BTreeMap<_, _>, BTreeMap<_, _>) = history
            .refs
            .iter()
            .partition(|(name, reference)| self.keeps_ref(history, name, reference));
        let mut stay = self.read_lately(history);
        let mut referenced = BTreeSet::new();
        for reference in kept.into_values() {
            stay.extend(self.kept_by(history, reference));
            referenced.extend(leads_to(history, reference));
        }
        let young = |(id, point): (&i64, &Point)| {
            (!referenced.contains(id) && self.is_within(self.max_age_ms, point.at_ms))
                .then_some(*id)
        };
        stay.extend(history.snapshots.iter().filter_map(young));
        let all = history.snapshots.keys().copied();
        Expired {
            snapshots: all.filter(|id| !stay.contains(id)).collect(),
            refs: gone.into_keys().cloned().collect(),
        }
    }

    fn is_within(&self, age_ms: i64, at_ms: i64) -> bool {
        at_ms >= self.now_ms.saturating_sub(age_ms)
    }

    fn keeps_ref(&self, history: &History, name: &str, reference: &SnapshotReference) -> bool {
        let (SnapshotRetention::Branch { max_ref_age_ms, .. }
        | SnapshotRetention::Tag { max_ref_age_ms }) = &reference.retention;
        let age_ms = max_ref_age_ms.unwrap_or(self.max_ref_age_ms);
        let snapshot = history.snapshots.get(&reference.snapshot_id);
        name == MAIN_BRANCH || snapshot.is_some_and(|it| self.is_within(age_ms, it.at_ms))
    }

    /// The snapshots that stay because of one ref.
    fn kept_by(&self, history: &History, reference: &SnapshotReference) -> BTreeSet<i64> {
        let (least, age_ms) = match &reference.retention {
            SnapshotRetention::Tag { .. } => return BTreeSet::from([reference.snapshot_id]),
            SnapshotRetention::Branch {
                min_snapshots_to_keep,
                max_snapshot_age_ms,
                ..
            } => (
                min_snapshots_to_keep.map_or(self.keep_last, |it| count(it.into())),
                max_snapshot_age_ms.unwrap_or(self.max_age_ms),
            ),
        };
        let stays = |(position, (_, point)): &(usize, (i64, Point))| {
            *position < least.max(1) || self.is_within(age_ms, point.at_ms)
        };
        let ancestors = history.ancestors(reference.snapshot_id).enumerate();
        ancestors.take_while(stays).map(|(_, (id, _))| id).collect()
    }

    /// The snapshots that were made or superseded within the time of readers.
    fn read_lately(&self, history: &History) -> BTreeSet<i64> {
        let lately = |at_ms| self.is_within(self.readers_ms, at_ms);
        let young = history.snapshots.iter().filter(|(_, it)| lately(it.at_ms));
        let made = young.flat_map(|(id, point)| [Some(*id), point.parent]);
        let followed = history.log.iter().zip(history.log.iter().skip(1));
        let superseded = followed.filter(|(_, (until, _))| lately(*until));
        let superseded = superseded.map(|((_, id), _)| *id);
        made.flatten().chain(superseded).collect()
    }
}

/// The snapshots that a ref leads to, whether they stay or not.
fn leads_to(history: &History, reference: &SnapshotReference) -> BTreeSet<i64> {
    let ancestors = history.ancestors(reference.snapshot_id);
    let depth = match reference.is_branch() {
        true => usize::MAX,
        false => 1,
    };
    ancestors.take(depth).map(|(id, _)| id).collect()
}

fn number(
    name: &TableName,
    properties: &HashMap<String, String>,
    key: &str,
) -> Result<Option<i64>> {
    let Some(text) = properties.get(key) else {
        return Ok(None);
    };
    let field = || format!("property `{key}` of table `{name}`");
    let parsed: Option<i64> = text.parse().ok().filter(|number| *number >= 0);
    let parsed = parsed
        .ok_or_else(|| Error::invalid(field(), format!("expected a whole number, found `{text}`")));
    parsed.map(Some)
}

fn count(number: i64) -> usize {
    usize::try_from(number).unwrap_or(1)
}

pub(super) fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
