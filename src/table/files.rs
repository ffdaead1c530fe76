//! The live files of one snapshot with the deletes that apply to each: what planning needs and iceberg's own scan
//! hides. Built once per snapshot, immutable after.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

use iceberg::spec::{Datum, PartitionSpec, Struct};

#[cfg(test)]
mod tests;

/// A live Parquet data file.
#[derive(Clone, Debug)]
pub struct FileEntry {
    /// Location as listed.
    pub path: String,
    /// Length in bytes.
    pub size_bytes: u64,
    /// What tells this content from another under the same path; `None` where files never change.
    pub version: Option<Arc<str>>,
    /// Rows before deletes.
    pub record_count: u64,
    /// The spec that the file was written with.
    pub partition_spec: Arc<PartitionSpec>,
    /// Its values, in the order of the spec's fields.
    pub partition: Struct,
    /// By field id: not above any non-null, non-NaN value. Typed as the column was when the file was listed.
    pub lower_bounds: HashMap<i32, Datum>,
    /// By field id: not below any non-null, non-NaN value. Typed as the column was when the file was listed.
    pub upper_bounds: HashMap<i32, Datum>,
    /// Data sequence number.
    pub sequence_number: i64,
    /// Deletes that apply, oldest first.
    pub deletes: Vec<Arc<DeleteFile>>,
}

/// A live Parquet delete file.
#[derive(Debug)]
pub struct DeleteFile {
    /// Location as listed.
    pub path: String,
    /// Length in bytes.
    pub size_bytes: u64,
    /// Data sequence number.
    pub sequence_number: i64,
    /// How it names the rows.
    pub kind: DeleteKind,
}

/// How a delete file names the rows that it deletes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeleteKind {
    /// By file path and row position. It may list positions of other files too.
    Position,
    /// By values.
    Equality {
        /// The columns that must all be equal.
        field_ids: Vec<i32>,
    },
}

/// The data files that a delete file can apply to, before sequence numbers are compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum DeleteScope {
    /// The one file of that path.
    Path(String),
    /// Files of this spec id and partition.
    Partition(i32, Struct),
    /// Every file.
    Table,
}

/// A delete file and its scope.
#[derive(Clone, Debug)]
pub(super) struct ScopedDelete {
    pub(super) file: Arc<DeleteFile>,
    pub(super) scope: DeleteScope,
}

/// All live data files of a snapshot, in manifest order.
#[derive(Clone, Debug)]
pub struct FileIndex {
    /// The files.
    pub files: Arc<[Arc<FileEntry>]>,
}

impl FileIndex {
    /// An index of files whose deletes are already assigned.
    pub fn new(files: impl IntoIterator<Item = Arc<FileEntry>>) -> Self {
        Self {
            files: files.into_iter().collect(),
        }
    }

    /// Assigns `deletes` to `files`. Files without any are shared, not copied.
    pub(super) fn assign<'a>(
        files: impl IntoIterator<Item = &'a Arc<FileEntry>>,
        deletes: impl IntoIterator<Item = &'a ScopedDelete>,
    ) -> Self {
        let index = DeleteIndex::new(deletes);
        Self::new(files.into_iter().map(|file| index.assign(file)))
    }

    /// Rows before deletes.
    pub fn record_count(&self) -> u64 {
        self.files.iter().map(|file| file.record_count).sum()
    }
}

type Deletes = Vec<Arc<DeleteFile>>;

/// Deletes by what a data file can be looked up with, so that assignment costs one look-up a file and not a comparison
/// with every delete. Each list is sorted by sequence number: what applies is a suffix.
#[derive(Default)]
struct DeleteIndex<'a> {
    by_path: HashMap<&'a str, Deletes>,
    positions: HashMap<(i32, &'a Struct), Deletes>,
    equality: HashMap<(i32, &'a Struct), Deletes>,
    everywhere: Deletes,
}

impl<'a> DeleteIndex<'a> {
    fn new(deletes: impl IntoIterator<Item = &'a ScopedDelete>) -> Self {
        let mut index = Self::default();
        for delete in deletes {
            index.list_of(delete).push(Arc::clone(&delete.file));
        }
        let maps = index
            .positions
            .values_mut()
            .chain(index.equality.values_mut())
            .chain(index.by_path.values_mut());
        for list in maps.chain([&mut index.everywhere]) {
            list.sort_by_key(|delete| delete.sequence_number);
        }
        index
    }

    fn list_of(&mut self, delete: &'a ScopedDelete) -> &mut Deletes {
        match (&delete.scope, &delete.file.kind) {
            (DeleteScope::Path(path), _) => self.by_path.entry(path).or_default(),
            (DeleteScope::Table, _) => &mut self.everywhere,
            (DeleteScope::Partition(spec, values), DeleteKind::Position) => {
                self.positions.entry((*spec, values)).or_default()
            }
            (DeleteScope::Partition(spec, values), DeleteKind::Equality { .. }) => {
                self.equality.entry((*spec, values)).or_default()
            }
        }
    }

    fn assign(&self, file: &Arc<FileEntry>) -> Arc<FileEntry> {
        let deletes = self.deletes_of(file);
        if deletes.is_empty() {
            return Arc::clone(file);
        }
        Arc::new(FileEntry {
            deletes,
            ..FileEntry::clone(file)
        })
    }

    /// Position deletes reach files of their own commit, equality deletes only older ones.
    fn deletes_of(&self, file: &FileEntry) -> Deletes {
        let partition = (file.partition_spec.spec_id(), &file.partition);
        let sequence = file.sequence_number;
        let mut deletes: Deletes = at_or_after(&self.by_path, &file.path.as_str(), sequence)
            .chain(at_or_after(&self.positions, &partition, sequence))
            .chain(at_or_after(&self.equality, &partition, sequence + 1))
            .chain(suffix(&self.everywhere, sequence + 1))
            .cloned()
            .collect();
        deletes.sort_by_key(|delete| delete.sequence_number);
        deletes
    }
}

fn at_or_after<'m, K: Eq + Hash>(
    map: &'m HashMap<K, Deletes>,
    key: &K,
    sequence: i64,
) -> impl Iterator<Item = &'m Arc<DeleteFile>> {
    map.get(key)
        .map_or_else(|| suffix(&[], sequence), |list| suffix(list, sequence))
}

fn suffix(list: &[Arc<DeleteFile>], sequence: i64) -> std::slice::Iter<'_, Arc<DeleteFile>> {
    list[list.partition_point(|delete| delete.sequence_number < sequence)..].iter()
}
