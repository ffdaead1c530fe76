//! Merges: the plan by itself, and real tables with deletes, foreign files and others at work.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use iceberg::spec::{Literal, ManifestContentType, Operation, Struct};
use indicatif::ProgressBar;
use proptest::prelude::*;
use rstest::rstest;

use super::plan::{FileState, Sizes, plan};
use super::*;
use crate::maintenance::FoldLimits;
use crate::maintenance::lab::{Lab, Row, commit_rows, hybrid, to_main};
use crate::table::commit::{Change, Removed, current_sequence};
use crate::table::layout::PartitionBy;
use crate::table::write::Attempt;

mod random;

const SIZES: Sizes = Sizes {
    file_bytes: 100,
    group_bytes: 200,
};

fn state(partition: Option<&Struct>, bytes: u64) -> FileState<'_> {
    FileState {
        partition,
        bytes,
        sequence: 1,
        deletes: false,
    }
}

fn partition(value: i32) -> Struct {
    std::iter::once(Some(Literal::int(value))).collect()
}

fn files_of(groups: &[Group]) -> Vec<Vec<usize>> {
    groups.iter().map(|group| group.files.clone()).collect()
}

#[test]
fn small_files_of_a_partition_are_put_together_and_tidy_ones_stay() {
    let (a, b, c) = (partition(1), partition(2), partition(3));
    let deleted = FileState {
        deletes: true,
        ..state(Some(&c), 150)
    };
    let files = [
        state(Some(&a), 40),
        state(Some(&b), 10),
        state(Some(&a), 75),
        state(Some(&a), 300),
        state(Some(&a), 50),
        state(Some(&c), 300),
        deleted,
        state(Some(&a), 60),
    ];
    // Of the first partition 40 and 50 fit, 60 stays alone, 75 is large enough; the second one is tidy.
    assert_eq!(files_of(&plan(&files, SIZES)), [vec![0, 4], vec![6]]);
    assert_eq!(plan(&files[1..4], SIZES), []);
}

#[test]
fn files_of_another_spec_are_moved_first() {
    let a = partition(1);
    let files = [
        state(Some(&a), 1),
        state(None, 150),
        state(Some(&a), 1),
        state(None, 50),
        state(None, 500),
    ];
    let groups = plan(&files, SIZES);
    assert_eq!(files_of(&groups), [vec![1, 3], vec![4]]);
    let outputs: Vec<u64> = groups.iter().map(|group| group.outputs).collect();
    assert_eq!(outputs, [3, 5]);
}

proptest! {
    /// Every group fits or is one file; bins fill files; following the plan ends, with at most one file that is at most half
    /// full in each partition.
    #[test]
    fn a_plan_ends_in_a_tidy_table(sizes in prop::collection::vec((0..3i32, 1..130u64), 0..200)) {
        let partitions: Vec<Struct> = (0..3).map(partition).collect();
        let mut files: Vec<(i32, u64)> = sizes;
        for round in 0.. {
            prop_assert!(round < ROUNDS, "a plan that is followed leaves nothing to do");
            let place = |it: &(i32, u64)| state(Some(&partitions[it.0 as usize]), it.1);
            let states: Vec<FileState<'_>> = files.iter().map(place).collect();
            let groups = plan(&states, SIZES);
            if groups.is_empty() {
                break;
            }
            let mut gone = BTreeSet::new();
            let mut came = Vec::new();
            for group in &groups {
                let bytes: u64 = group.files.iter().map(|file| files[*file].1).sum();
                prop_assert_eq!(bytes, group.bytes);
                prop_assert!(bytes <= SIZES.group_bytes || group.files.len() == 1);
                let mut by_partition: BTreeMap<i32, u64> = BTreeMap::new();
                for file in &group.files {
                    prop_assert!(gone.insert(*file), "a file goes once");
                    *by_partition.entry(files[*file].0).or_default() += files[*file].1;
                }
                for (partition, mut bytes) in by_partition {
                    while bytes > 0 {
                        came.push((partition, bytes.min(SIZES.file_bytes)));
                        bytes -= bytes.min(SIZES.file_bytes);
                    }
                }
            }
            prop_assert!(came.len() < gone.len());
            let stay = files.iter().enumerate().filter(|(index, _)| !gone.contains(index));
            files = stay.map(|(_, file)| *file).chain(came).collect();
        }
        for partition in 0..3 {
            let half = files.iter().filter(|it| it.0 == partition && it.1 <= SIZES.file_bytes / 2);
            prop_assert!(half.count() <= 1);
        }
    }
}

/// Rows of some drivers on some days.
fn rows(drivers: i64, hours: i64) -> Vec<Row> {
    let row = |i: i64| {
        let driver = (i % (drivers + 1) != 0).then_some(i % drivers);
        (driver, (i * 7) % hours, (i % 3 != 0).then_some(i))
    };
    (0..40).map(row).collect()
}

async fn per_partition(lab: &Lab) -> usize {
    let mut counts: HashMap<_, usize> = HashMap::new();
    for file in lab.files().await {
        let place = (file.partition_spec.spec_id(), file.partition.clone());
        *counts.entry(place).or_default() += 1;
    }
    counts.values().copied().max().unwrap_or(0)
}

async fn delete_files(lab: &Lab) -> usize {
    let table = lab.table().await;
    let current = table.metadata().current_snapshot().unwrap();
    let list = table.manifest_list_reader(current).load().await.unwrap();
    let deletes = list.entries().iter();
    deletes
        .filter(|it| it.content == ManifestContentType::Deletes)
        .map(|it| it.added_files_count.unwrap() + it.existing_files_count.unwrap())
        .sum::<u32>() as usize
}

#[rstest]
#[case(Vec::new())]
#[case(hybrid())]
#[tokio::test]
async fn small_files_are_merged_and_no_row_changes(#[case] partition_by: Vec<PartitionBy>) {
    let mut lab = Lab::new(partition_by, &[]).await;
    for _ in 0..4 {
        lab.append(&rows(5, 60)).await;
    }
    let before = lab.files().await.len() as u64;
    let hidden = ProgressBar::hidden();
    let said = lab.maintenance.compact(&lab.name, true, &hidden).await;
    let said = said.unwrap();
    assert_eq!(said.snapshot_id, None);
    assert_eq!(lab.files().await.len() as u64, before);

    let report = lab.compact().await;
    lab.check().await;
    let files = lab.files().await;
    let table = lab.table().await;
    let current = table.metadata().current_snapshot().unwrap();
    assert_eq!(current.summary().operation, Operation::Replace);
    assert_eq!(report.snapshot_id, Some(current.snapshot_id()));
    assert_eq!(
        (report.before.files, report.before.rows, report.after.rows),
        (before, 160, 160)
    );
    assert_eq!(report.after.files, files.len() as u64);
    assert_eq!(
        (said.files_removed, said.after.files),
        (report.files_removed, report.after.files)
    );
    assert_eq!(per_partition(&lab).await, 1);
    let sequence = current.sequence_number();
    assert!(files.iter().all(|file| file.sequence_number == sequence));
    assert_eq!(report.feature_view, None);

    let again = lab.compact().await;
    assert_eq!((again.snapshot_id, again.files_removed), (None, 0));
    assert_eq!(current_sequence(&lab.table().await), sequence);
}

#[tokio::test]
async fn only_partitions_that_are_untidy_are_rewritten() {
    let mut lab = Lab::new(hybrid(), &[]).await;
    lab.append(&[(Some(1), 0, None), (Some(1), 30, None)]).await;
    let old = lab.files().await;
    lab.append(&[(Some(1), 1, Some(4))]).await;
    let report = lab.compact().await;
    assert_eq!((report.files_removed, report.files_added), (2, 1));
    let now: BTreeSet<String> = lab.files().await.iter().map(|it| it.path.clone()).collect();
    assert_eq!(old.iter().filter(|it| now.contains(&it.path)).count(), 1);
    lab.check().await;
}

#[tokio::test]
async fn deletes_are_applied_and_leave_the_table() {
    let mut lab = Lab::new(hybrid(), &[]).await;
    lab.append(&rows(5, 60)).await;
    lab.delete_positions(&[0, 7, 21]).await;
    lab.append(&rows(5, 60)).await;
    lab.delete_equal(&[3, 45, 46, 79]).await;
    lab.delete_positions(&[50]).await;
    assert!(delete_files(&lab).await > 3);
    lab.check().await;
    let report = lab.compact().await;
    lab.check().await;
    assert_eq!((report.before.rows, report.after.rows), (80, 72));
    assert_eq!(delete_files(&lab).await, 0);
    let table = lab.table().await;
    let summary = table.metadata().current_snapshot().unwrap().summary();
    assert_eq!(summary.operation, Operation::Replace);
    assert_eq!(lab.compact().await.snapshot_id, None);
}

#[tokio::test]
async fn files_that_lost_all_rows_go() {
    let mut lab = Lab::new(Vec::new(), &[]).await;
    lab.append(&[(Some(1), 1, None), (Some(2), 2, None)]).await;
    lab.delete_equal(&[0, 1]).await;
    let report = lab.compact().await;
    assert_eq!((report.files_removed, report.files_added), (1, 0));
    assert_eq!(lab.files().await.len() + delete_files(&lab).await, 0);
    lab.check().await;
}

#[tokio::test]
async fn a_delete_stays_while_a_file_needs_it() {
    let mut lab = Lab::new(Vec::new(), &[]).await;
    lab.append(&[(Some(1), 1, None)]).await;
    lab.append(&[(Some(2), 2, None)]).await;
    lab.delete_equal(&[0]).await;
    let files = lab.files().await;
    let first = [Arc::clone(&files[0])];
    let mut merge = Merge::default();
    let round = lab.maintenance.round(&lab.name, &mut merge).await.unwrap();
    let hidden = ProgressBar::hidden();
    let written = round.rewrite(&Attempt::unnoted(), &first, 1, &hidden).await;
    let gone = BTreeSet::from([files[0].path.clone()]);
    let swapped = lab
        .maintenance
        .swap(&round.table, &round.pinned, gone, written.unwrap());
    swapped.await.unwrap();
    assert_eq!(delete_files(&lab).await, 1);
    lab.check().await;
    lab.compact().await;
    assert_eq!(delete_files(&lab).await, 0);
    lab.check().await;
}

#[tokio::test]
async fn files_outside_of_the_partitions_are_moved_into_them() {
    let mut lab = Lab::new(hybrid(), &[]).await;
    lab.append(&rows(5, 60)).await;
    for _ in 0..3 {
        lab.append_together(&rows(4, 90)).await;
    }
    let report = lab.compact().await;
    lab.check().await;
    let default = lab.table().await.metadata().default_partition_spec_id();
    let files = lab.files().await;
    assert!(
        files
            .iter()
            .all(|it| it.partition_spec.spec_id() == default)
    );
    assert_eq!(per_partition(&lab).await, 1);
    assert_eq!(report.after.files, files.len() as u64);
    assert_eq!(
        report.files_added,
        report.after.files + report.files_removed - report.before.files
    );
    assert_eq!(lab.compact().await.snapshot_id, None);
}

#[tokio::test]
async fn a_partition_larger_than_a_group_is_merged_in_parts() {
    let mut lab = Lab::new(Vec::new(), &[]).await;
    for _ in 0..9 {
        lab.append(&rows(5, 60)).await;
    }
    let largest = lab.files().await.iter().map(|it| it.size_bytes).max();
    let limits = FoldLimits {
        group_bytes: 3 * largest.unwrap(),
        ..FoldLimits::default()
    };
    lab.maintenance = lab.maintenance.clone().with_limits(limits);
    let before = current_sequence(&lab.table().await);
    let report = lab.compact().await;
    lab.check().await;
    assert!(report.after.files < 9, "{report}");
    assert!(
        current_sequence(&lab.table().await) > before + 1,
        "several commits"
    );
    assert_eq!(lab.compact().await.snapshot_id, None);
}

/// One group for each partition, planned before others change the table.
async fn planned(lab: &mut Lab) -> (Round, Merge) {
    for _ in 0..2 {
        lab.append(&[(Some(1), 1, None), (Some(1), 30, None)]).await;
    }
    let mut merge = Merge::default();
    let mut round = lab.maintenance.round(&lab.name, &mut merge).await.unwrap();
    let one = round.groups.pop().unwrap();
    let halves = [0, 1].map(|half| {
        let file = |index: &usize| round.files[*index].partition == round.files[half].partition;
        Group {
            files: one.files.iter().copied().filter(file).collect(),
            ..one.clone()
        }
    });
    round.groups = halves.to_vec();
    assert!(round.groups.iter().all(|group| group.files.len() == 2));
    (round, merge)
}

async fn remove_file(lab: &mut Lab, file: &FileEntry) {
    let stored = lab.stored().await;
    let files = lab.files().await;
    for (id, _, address) in stored {
        if files[address.file() as usize].path == file.path {
            lab.rows.remove(&id);
        }
    }
    let removed = Removed::Files {
        paths: BTreeSet::from([file.path.clone()]),
        read_at: current_sequence(&lab.table().await),
    };
    let change = Change {
        removed,
        operation: Operation::Delete,
        ..Change::default()
    };
    lab.change(change).await.unwrap();
}

#[rstest]
#[case::a_removal(true)]
#[case::a_delete(false)]
#[tokio::test]
async fn only_what_conflicts_is_planned_anew(#[case] removal: bool) {
    let mut lab = Lab::new(hybrid(), &[]).await;
    let (round, mut merge) = planned(&mut lab).await;
    lab.append(&[(Some(1), 2, Some(9))]).await;
    let file = Arc::clone(&round.files[0]);
    match removal {
        true => remove_file(&mut lab, &file).await,
        false => {
            let of_file = |it: &&(i64, Row, _)| it.1.1 == round_hour(&file);
            let id = lab.stored().await.iter().find(of_file).unwrap().0;
            lab.delete_positions(&[id]).await;
        }
    }
    let hidden = ProgressBar::hidden();
    let fruitful = lab.maintenance.merge_round(&round, &mut merge, &hidden);
    assert!(fruitful.await.unwrap());
    assert_eq!(merge.removed, 2, "the other partition was merged");
    lab.check().await;
    lab.compact().await;
    lab.check().await;
    assert_eq!(per_partition(&lab).await, 1);
    assert_eq!(delete_files(&lab).await, 0);
}

/// The event hour of a file of one row.
fn round_hour(file: &FileEntry) -> i64 {
    use iceberg::spec::PrimitiveLiteral;
    match file.lower_bounds[&3].literal() {
        PrimitiveLiteral::Long(micros) => micros / 3_600_000_000,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn files_of_a_table_that_was_rolled_back_stay() {
    let mut lab = Lab::new(hybrid(), &[]).await;
    let (round, mut merge) = planned(&mut lab).await;
    let current = round.table.metadata().current_snapshot().unwrap();
    let before = current.parent_snapshot_id().unwrap();
    lab.change(Change {
        updates: vec![to_main(before)],
        ..Change::default()
    })
    .await
    .unwrap();
    let hidden = ProgressBar::hidden();
    let fruitful = lab.maintenance.merge_round(&round, &mut merge, &hidden);
    assert!(!fruitful.await.unwrap());
    lab.rows.retain(|id, _| *id < 2);
    lab.check().await;
}

#[tokio::test]
async fn appends_go_on_while_files_are_merged() {
    let mut lab = Lab::new(hybrid(), &[]).await;
    for _ in 0..3 {
        lab.append(&rows(5, 60)).await;
    }
    let late: Vec<_> = (0..6).map(|_| lab.take(&rows(3, 40))).collect();
    let appends = async {
        for batch in late {
            commit_rows(&lab.tables, &lab.name, batch).await;
        }
    };
    let (report, ()) = futures::join!(lab.compact(), appends);
    assert!(report.snapshot_id.is_some());
    lab.check().await;
    lab.compact().await;
    lab.check().await;
    assert_eq!(per_partition(&lab).await, 1);
}
