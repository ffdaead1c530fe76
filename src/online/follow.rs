//! From one state of a table to the next: what is resident stays, and only rows that are new are read.
//!
//! A snapshot of operation `append` brings rows; one of `replace` (a fold, a compaction) only moves them. After such
//! snapshots a part is complete once the new rows are added to what it had, since a layer keeps the latest row of each
//! key whatever else it is given. After any other snapshot, a part stays only if no file of it is gone or has new deletes.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use iceberg::spec::{Operation, SnapshotRef};

use super::layer::LayerBuilder;
use super::load::Loader;
use super::part::{Part, with_layer};
use super::slot::Slot;
use super::state::{State, expected_bytes};
use crate::error::Result;
use crate::model::ScanReport;
use crate::table::files::FileEntry;

/// What new rows may be expected to take in memory; after more of them, parts that they belong to are loaded anew when
/// somebody asks, each for itself.
const FOLLOWED_BYTES: u64 = 256 << 20;

/// Fills `new`'s places with what `old` has and files bring.
///
/// # Errors
/// Of reading the new files.
pub(super) async fn follow(old: &State, mut new: State, loader: &Loader) -> Result<State> {
    if !new.knows(old, &old.columns) {
        return Ok(new);
    }
    new.columns = Arc::clone(&old.columns);
    // A load of everything shared could otherwise be overtaken by every commit, and never be of use.
    old.shared.settled().await;
    let mut residents = Residents::of(old, &new, loader.budget.limit());
    let change = Change::between(old, &new, &residents);
    if expected_bytes(&change.added) > FOLLOWED_BYTES {
        residents = Residents::default();
    }
    let mut step = Step {
        old,
        residents,
        change,
        loader,
        buckets: BTreeMap::new(),
    };
    if step.change.moved {
        step.take_shared_rows(&new)?;
    }
    step.carry(&mut new).await?;
    Ok(new)
}

/// What is in memory and is to stay there; looked at once, since loads and evictions go on meanwhile.
#[derive(Default)]
struct Residents {
    buckets: BTreeMap<usize, Arc<Part>>,
    shared: Option<Arc<Part>>,
}

impl Residents {
    fn of(old: &State, new: &State, limit_bytes: u64) -> Self {
        let mut residents = Self::default();
        if new.keeps_buckets(limit_bytes) {
            let slots = old.buckets.iter().enumerate();
            let held = slots.filter_map(|(bucket, slot)| Some((bucket, slot.resident()?)));
            residents.buckets = held.collect();
        }
        if new.keeps_shared(limit_bytes) {
            // Where there are no such files, all their rows are in memory.
            let nothing = || Part::new(Arc::clone(&new.columns), Vec::new(), ScanReport::default());
            residents.shared = match old.files.shared.is_empty() {
                true => Some(Arc::new(nothing())),
                false => old.shared.resident(),
            };
        }
        residents
    }
}

/// What happened between two states.
struct Change {
    /// Files whose rows the old state may lack.
    added: Vec<Arc<FileEntry>>,
    /// Whether rows may have moved from shared files into buckets.
    moved: bool,
    /// Whether rows can only have been added or moved.
    lossless: bool,
}

impl Change {
    fn between(old: &State, new: &State, residents: &Residents) -> Self {
        let known = paths(old.files.all());
        let unknown = || {
            let files = new.files.all();
            files
                .filter(|file| !known.contains(file.path.as_str()))
                .cloned()
        };
        let steps = snapshots_between(old, new);
        let is = |snapshot: &SnapshotRef, wanted| snapshot.summary().operation == wanted;
        let lossless = steps.as_ref().is_some_and(|steps| {
            steps
                .iter()
                .all(|step| is(step, Operation::Append) || is(step, Operation::Replace))
        });
        let steps = steps.unwrap_or_default();
        // A merging of manifests moves nothing.
        let moved = steps.iter().any(|step| is(step, Operation::Replace))
            && !contains(&new.files.shared, &old.files.shared);
        let appended: Vec<&SnapshotRef> = steps
            .iter()
            .filter(|step| is(step, Operation::Append))
            .collect();
        // Rows that were moved out of shared files are taken from memory, or else from the files that they moved to.
        let at_hand = !moved || residents.shared.is_some();
        let added = match lossless && at_hand && all_live(&appended, new) {
            true => unknown()
                .filter(|file| has_sequence(&appended, file.sequence_number))
                .collect(),
            false => unknown().collect(),
        };
        Self {
            added,
            moved,
            lossless,
        }
    }
}

fn has_sequence(snapshots: &[&SnapshotRef], sequence: i64) -> bool {
    snapshots
        .iter()
        .any(|snapshot| snapshot.sequence_number() == sequence)
}

/// Whether the files of all these snapshots are still files of the state: none was folded since.
fn all_live(appended: &[&SnapshotRef], new: &State) -> bool {
    appended.iter().all(|snapshot| {
        let summary = &snapshot.summary().additional_properties;
        let added = summary.get("added-data-files");
        let added: Option<usize> = added.and_then(|count| count.parse().ok());
        let sequence = snapshot.sequence_number();
        let live = new
            .files
            .all()
            .filter(|file| file.sequence_number == sequence);
        added == Some(live.count())
    })
}

/// Snapshots after the old state's up to the new state's; `None` if one does not descend from the other.
fn snapshots_between(old: &State, new: &State) -> Option<Vec<SnapshotRef>> {
    let last = old.pinned.pin().snapshot.map(|id| id.0);
    let mut steps = Vec::new();
    let mut at = new.pinned.pin().snapshot.map(|id| id.0);
    while at != last {
        let snapshot = new.metadata.snapshot_by_id(at?)?;
        at = snapshot.parent_snapshot_id();
        steps.push(Arc::clone(snapshot));
    }
    Some(steps)
}

struct Step<'a> {
    old: &'a State,
    residents: Residents,
    change: Change,
    loader: &'a Loader,
    /// Rows that each resident bucket has to be given.
    buckets: BTreeMap<usize, LayerBuilder>,
}

impl Step<'_> {
    /// Rows of shared files that a fold has moved belong to their buckets now.
    fn take_shared_rows(&mut self, new: &State) -> Result<()> {
        let Some(shared) = &self.residents.shared else {
            return Ok(());
        };
        for layer in shared.layers() {
            let rows = layer.to_rows()?;
            let by_bucket = rows.by_bucket(new.properties.buckets);
            for bucket in self.residents.buckets.keys() {
                let builder = self.buckets.entry(*bucket).or_default();
                builder.pick(rows.clone(), by_bucket[*bucket].iter().copied());
            }
        }
        Ok(())
    }

    async fn carry(&mut self, new: &mut State) -> Result<()> {
        let mut shared = LayerBuilder::default();
        self.read_added(new, &mut shared).await?;
        for bucket in 0..new.buckets.len() {
            new.buckets[bucket] = self.bucket(bucket, new)?;
        }
        new.shared = self.shared(new, shared).await?;
        Ok(())
    }

    /// Reads what was added for parts that are resident.
    async fn read_added(&mut self, new: &State, shared: &mut LayerBuilder) -> Result<()> {
        let is_shared = paths(&new.files.shared);
        let (for_all, for_one): (Vec<_>, Vec<_>) = self
            .change
            .added
            .iter()
            .cloned()
            .partition(|file| is_shared.contains(file.path.as_str()));
        if self.residents.shared.is_some() {
            let take = |rows| shared.push(rows);
            self.loader.each_batch(new, for_all, take).await?;
        }
        self.read_bucket_files(new, for_one).await
    }

    async fn read_bucket_files(&mut self, new: &State, files: Vec<Arc<FileEntry>>) -> Result<()> {
        let wanted: HashSet<String> = files.into_iter().map(|file| file.path.clone()).collect();
        for bucket in self.residents.buckets.keys() {
            let own = new.files.by_bucket[*bucket].iter();
            let own: Vec<_> = own
                .filter(|file| wanted.contains(&file.path))
                .cloned()
                .collect();
            if own.is_empty() {
                continue;
            }
            let builder = self.buckets.entry(*bucket).or_default();
            let take = |rows| builder.push(rows);
            self.loader.each_batch(new, own, take).await?;
        }
        Ok(())
    }

    /// The place of a bucket: the same one while its files are the same, so that loads under way stay of use.
    fn bucket(&mut self, bucket: usize, new: &State) -> Result<Arc<Slot>> {
        let slot = &self.old.buckets[bucket];
        let (before, after) = (
            &self.old.files.by_bucket[bucket],
            &new.files.by_bucket[bucket],
        );
        if same_files(before, after) {
            return Ok(Arc::clone(slot));
        }
        match self.residents.buckets.get(&bucket) {
            Some(part) if self.change.lossless || contains(after, before) => {
                let rows = self.buckets.remove(&bucket).unwrap_or_default();
                self.extended(part, rows)
            }
            _ => Ok(Arc::default()),
        }
    }

    async fn shared(&self, new: &State, rows: LayerBuilder) -> Result<Arc<Slot>> {
        let (before, after) = (&self.old.files.shared, &new.files.shared);
        if same_files(before, after) {
            return Ok(Arc::clone(&self.old.shared));
        }
        let brought = paths(&self.change.added);
        // Another engine may have moved rows of buckets here, which are not among the new ones.
        let others = after
            .iter()
            .filter(|file| !brought.contains(file.path.as_str()));
        let grown = contains(after, before) && contains(before, others);
        // Where nothing is in buckets, and nothing was, a fold has only rewritten the shared files.
        let mut of_buckets = self.old.files.by_bucket.iter().chain(&new.files.by_bucket);
        let rewritten = self.change.lossless && of_buckets.all(Vec::is_empty);
        match &self.residents.shared {
            Some(part) if grown || rewritten => self.extended(part, rows),
            // What remains after a fold is what was written meanwhile.
            Some(_) => {
                let part = self.loader.part(new, after.clone()).await?;
                Ok(Arc::new(Slot::holding(part)))
            }
            None => Ok(Arc::default()),
        }
    }

    fn extended(&self, part: &Part, rows: LayerBuilder) -> Result<Arc<Slot>> {
        let newer = rows.finish(&self.loader.budget)?;
        let layers = with_layer(part.layers(), newer, &self.loader.budget)?;
        let extended = Part::new(Arc::clone(&part.columns), layers, part.report);
        extended.touch(part.used_at());
        Ok(Arc::new(Slot::holding(extended)))
    }
}

fn paths<'a>(files: impl IntoIterator<Item = &'a Arc<FileEntry>>) -> HashSet<&'a str> {
    files.into_iter().map(|file| file.path.as_str()).collect()
}

fn same_files(a: &[Arc<FileEntry>], b: &[Arc<FileEntry>]) -> bool {
    a.len() == b.len() && contains(a, b)
}

/// Whether all of `some` are among `files`, with the same deletes.
fn contains<'a>(
    files: &[Arc<FileEntry>],
    some: impl IntoIterator<Item = &'a Arc<FileEntry>>,
) -> bool {
    let known: HashSet<(&str, BTreeSet<&str>)> = files.iter().map(identity).collect();
    some.into_iter().all(|file| known.contains(&identity(file)))
}

/// A file and the delete files that apply to it: engines replace these by others.
fn identity(file: &Arc<FileEntry>) -> (&str, BTreeSet<&str>) {
    let deletes = file.deletes.iter().map(|delete| delete.path.as_str());
    (file.path.as_str(), deletes.collect())
}
