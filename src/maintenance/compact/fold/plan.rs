//! What a fold does, decided from what is known of files and surviving rows. Pure functions: no I/O.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use iceberg::spec::{PrimitiveLiteral, TableMetadata, Transform};

use crate::error::{Error, Result};
use crate::table::entity_key::bucket_of;
use crate::table::files::FileEntry;
use crate::table::online::{ENTITY_KEY, EVENT_TIMESTAMP};

const HOUR_US: i64 = 3_600_000_000;
const MOST_FIELDS: usize = 2;

/// The values of the default spec's fields; those that it has not are zero.
pub(super) type Partition = [i32; MOST_FIELDS];

/// How the partition of a row follows from its key and time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    spec_id: i32,
    fields: Vec<Rule>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rule {
    Bucket(u32),
    Hours(i64),
}

impl Layout {
    /// The layout of a table's default spec.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for a spec that is none of an online table's.
    pub(super) fn of(table: &str, metadata: &TableMetadata) -> Result<Self> {
        let spec = metadata.default_partition_spec();
        let schema = metadata.current_schema();
        let source = |name: &str| schema.field_id_by_name(name);
        let rules = spec.fields().iter().map(|field| {
            let (key, time) = (source(ENTITY_KEY), source(EVENT_TIMESTAMP));
            match field.transform {
                Transform::Bucket(n) if Some(field.source_id) == key => Ok(Rule::Bucket(n)),
                Transform::Day if Some(field.source_id) == time => Ok(Rule::Hours(24)),
                Transform::Hour if Some(field.source_id) == time => Ok(Rule::Hours(1)),
                other => Err(Error::Unsupported {
                    what: format!("compacting table `{table}`, which is partitioned by {other} of another column"),
                }),
            }
        });
        let fields: Vec<Rule> = rules.collect::<Result<_>>()?;
        if fields.len() > MOST_FIELDS {
            return Err(Error::Unsupported {
                what: format!(
                    "compacting table `{table}`, which has {} partition fields",
                    fields.len()
                ),
            });
        }
        Ok(Self {
            spec_id: spec.spec_id(),
            fields,
        })
    }

    /// Where a row belongs.
    pub(super) fn of_row(&self, key: &[u8], event_us: i64) -> Partition {
        let mut partition = Partition::default();
        for (value, rule) in partition.iter_mut().zip(&self.fields) {
            let exact = match rule {
                Rule::Bucket(buckets) => i64::from(bucket_of(key, *buckets)),
                Rule::Hours(hours) => event_us.div_euclid(hours * HOUR_US),
            };
            *value = i32::try_from(exact).unwrap_or(i32::MAX);
        }
        partition
    }

    /// Whether a file of that partition can hold keys of these of `of` buckets.
    pub(super) fn may_hold(
        &self,
        partition: Option<Partition>,
        buckets: &Range<u32>,
        of: u32,
    ) -> bool {
        let of_bucket = match (self.fields.first(), partition) {
            (Some(Rule::Bucket(n)), Some([bucket, _])) if *n == of => u32::try_from(bucket).ok(),
            _ => None,
        };
        of_bucket.is_none_or(|bucket| buckets.contains(&bucket))
    }

    /// Where a file is; `None` for one that was written under another spec.
    pub(super) fn of_file(&self, file: &FileEntry) -> Option<Partition> {
        if file.partition_spec.spec_id() != self.spec_id {
            return None;
        }
        let mut partition = Partition::default();
        for (value, found) in partition.iter_mut().zip(file.partition.iter()) {
            match found?.as_primitive_literal()? {
                PrimitiveLiteral::Int(found) => *value = found,
                _ => return None,
            }
        }
        Some(partition)
    }
}

/// A file as a fold sees it.
#[derive(Clone, Debug)]
pub(super) struct Candidate {
    /// Absent: it belongs to no partition of the default spec, and goes in any case.
    pub(super) partition: Option<Partition>,
    /// Rows before deletes.
    pub(super) rows: u64,
    /// Rows that stay.
    pub(super) survivors: u64,
    pub(super) bytes: u64,
    /// Whether delete files apply to it.
    pub(super) deletes: bool,
}

/// How much is rewritten at a time, and how large a file becomes; compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sizes {
    pub(super) group_bytes: u64,
    pub(super) file_bytes: u64,
}

/// What is to be done. Nothing if no file goes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct FoldPlan {
    /// Files that go, ascending.
    pub(super) gone: Vec<usize>,
    /// Those of them that are in no partition but have rows that stay.
    pub(super) loose: Vec<usize>,
    /// What is rewritten at a time.
    pub(super) groups: Vec<Group>,
}

/// Partitions that are rewritten at a time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Group {
    /// The partitions.
    pub(super) partitions: BTreeSet<Partition>,
    /// Their files with rows that stay.
    pub(super) files: Vec<usize>,
}

/// Partitions stay as they are if they have as few files as their size allows, no row of them goes and none comes.
/// `incoming` counts the surviving rows of loose files by the partition that they belong to; a group has about
/// [`Sizes::group_bytes`] of files and of rows that come.
pub(super) fn plan(
    files: &[Candidate],
    incoming: &BTreeMap<Partition, u64>,
    sizes: Sizes,
) -> FoldPlan {
    let mut by_partition: BTreeMap<Partition, Vec<usize>> =
        incoming.keys().map(|key| (*key, Vec::new())).collect();
    let mut plan = FoldPlan::default();
    for (index, file) in files.iter().enumerate() {
        match file.partition {
            Some(partition) => by_partition.entry(partition).or_default().push(index),
            None => plan.gone.push(index),
        }
    }
    let kept = |index: &usize| files[*index].survivors > 0;
    plan.loose = plan.gone.iter().copied().filter(kept).collect();
    let loose = |of: fn(&Candidate) -> u64| -> u64 {
        plan.loose.iter().map(|index| of(&files[*index])).sum()
    };
    let row_bytes = loose(|file| file.bytes).div_ceil(loose(|file| file.rows).max(1));
    let mut bytes = 0;
    for (partition, indexes) in by_partition {
        let comes = incoming.get(&partition).copied().unwrap_or(0);
        if comes == 0 && is_tidy(indexes.iter().map(|index| &files[*index]), sizes.file_bytes) {
            continue;
        }
        plan.gone.extend(&indexes);
        let stay: Vec<usize> = indexes.iter().copied().filter(kept).collect();
        if comes == 0 && stay.is_empty() {
            continue;
        }
        let own: u64 = stay.iter().map(|index| files[*index].bytes).sum();
        let size = own + comes * row_bytes;
        if plan.groups.is_empty() || bytes + size > sizes.group_bytes {
            plan.groups.push(Group::default());
            bytes = 0;
        }
        bytes += size;
        if let Some(group) = plan.groups.last_mut() {
            group.partitions.insert(partition);
            group.files.extend(stay);
        }
    }
    plan.gone.sort_unstable();
    plan
}

fn is_tidy<'a>(files: impl Iterator<Item = &'a Candidate>, file_bytes: u64) -> bool {
    let (mut count, mut bytes, mut losses) = (0, 0, 0);
    for file in files {
        count += 1;
        bytes += file.bytes;
        losses += file.rows - file.survivors.min(file.rows) + u64::from(file.deletes);
    }
    losses == 0 && count <= 1 + bytes / file_bytes.max(1)
}
