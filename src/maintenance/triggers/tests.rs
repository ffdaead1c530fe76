//! What is due and what is not.

use iceberg::spec::Literal;
use rstest::rstest;

use super::*;
use crate::maintenance::lab::{Lab, hybrid};

const MIB: u64 = 1024 * 1024;
const SIZES: Sizes = Sizes {
    file_bytes: 128 * MIB,
    group_bytes: 128 * MIB,
};

fn reason(files: &[(Option<i32>, u64, bool)]) -> Option<Reason> {
    let partition = |value| -> Struct { std::iter::once(Some(Literal::int(value))).collect() };
    let partitions: Vec<Struct> = (0..10).map(partition).collect();
    let state = |(partition, mib, deletes): &(Option<i32>, u64, bool)| FileState {
        partition: partition.map(|it| &partitions[it as usize]),
        bytes: mib * MIB,
        sequence: 1,
        deletes: *deletes,
    };
    let states: Vec<FileState<'_>> = files.iter().map(state).collect();
    Triggers::default().needs_compaction(&states, SIZES)
}

#[test]
fn tidy_tables_are_not_due() {
    assert_eq!(reason(&[]), None);
    assert_eq!(reason(&[(Some(1), 64, false), (Some(2), 64, false)]), None);
    assert_eq!(reason(&[(Some(1), 90, false); 20]), None);
    assert_eq!(reason(&[(Some(1), 1, false); 7]), None);
    let spread: Vec<_> = (0..10).map(|it| (Some(it), 1, false)).collect();
    assert_eq!(reason(&spread), None);
    assert_eq!(reason(&[(None, 1, false); 59]), None);
    assert_eq!(reason(&[(Some(1), 95, false), (Some(2), 5, true)]), None);
}

#[rstest]
#[case::many(&[(Some(1), 1, false); 8], "a partition has 8 small files of 8.0 MiB")]
#[case::large(&[(Some(1), 64, false); 2], "a partition has 2 small files of 128.0 MiB")]
#[case::loose(&[(None, 1, false); 60], "60 files of 60.0 MiB are in no partition yet")]
#[case::loose_bytes(&[(None, 64, false)], "1 files of 64.0 MiB are in no partition yet")]
#[case::deletes(&[(Some(1), 100, true), (Some(2), 100, false)], "deletes apply to 1 files, 50 % of all bytes")]
fn untidy_tables_are_due(#[case] files: &[(Option<i32>, u64, bool)], #[case] words: &str) {
    assert_eq!(reason(files).unwrap().to_string(), words);
}

#[rstest]
#[case(29, 90, false)]
#[case(30, 30, true)]
#[case(5, 101, true)]
#[case(0, 500, false)]
fn manifests_are_due_if_merging_helps(
    #[case] replaced: usize,
    #[case] total: usize,
    #[case] due: bool,
) {
    let count = ManifestCount {
        total,
        replaced,
        created: 1,
    };
    let found = Triggers::default().needs_manifest_merge(&count);
    assert_eq!(found.is_some(), due);
}

#[tokio::test]
async fn what_was_due_is_not_due_after_it_was_done() {
    let mut lab = Lab::new(hybrid(), &[]).await;
    assert_eq!(lab.maintenance.due(&lab.name).await.unwrap(), None);
    for hour in 0..8 {
        lab.append(&[(Some(1), hour, None)]).await;
    }
    let due = lab.maintenance.due(&lab.name).await.unwrap().unwrap();
    assert!(
        due.starts_with("a partition has 8 small files of "),
        "{due}"
    );
    lab.compact().await;
    assert_eq!(lab.maintenance.due(&lab.name).await.unwrap(), None);

    for day in 0..31 {
        lab.append(&[(Some(1), 24 * day, None)]).await;
    }
    let due = lab.maintenance.due_reason(&lab.name).await.unwrap();
    assert!(matches!(due, Some(Reason::Manifests { .. })), "{due:?}");
    let merged = lab.maintenance.merge_manifests(&lab.name, false);
    assert!(merged.await.unwrap().snapshot_id.is_some());
    assert_eq!(lab.maintenance.due(&lab.name).await.unwrap(), None);
    lab.check().await;
}
