//! Which manifests are chosen.

use rstest::rstest;

use super::*;

fn manifest(content: ManifestContentType, spec: i32, entries: u32, length: i64) -> ManifestFile {
    ManifestFile {
        manifest_path: format!("{spec}/{entries}/{length}"),
        manifest_length: length,
        partition_spec_id: spec,
        content,
        sequence_number: 1,
        min_sequence_number: 1,
        added_snapshot_id: 1,
        added_files_count: Some(entries),
        existing_files_count: Some(0),
        deleted_files_count: Some(0),
        added_rows_count: Some(1),
        existing_rows_count: Some(0),
        deleted_rows_count: Some(0),
        partitions: None,
        key_metadata: None,
        first_row_id: None,
    }
}

fn data(spec: i32, entries: u32, length: i64) -> ManifestFile {
    manifest(ManifestContentType::Data, spec, entries, length)
}

fn lengths(choice: &Choice) -> (Vec<Vec<i64>>, usize) {
    let lengths = |batch: &Vec<ManifestFile>| batch.iter().map(|it| it.manifest_length).collect();
    (
        choice.batches.iter().map(lengths).collect(),
        choice.rest.len(),
    )
}

const FEW: Limits = Limits {
    least: 3,
    bytes: 100,
};

#[test]
fn small_ones_of_a_spec_are_chosen_smallest_first() {
    let manifests = vec![
        data(0, 10, 60),
        data(0, 10, 30),
        data(1, 10, 1),
        data(0, 999, 5),
        data(0, 1_000, 2),
        data(1, 10, 1),
        data(0, 10, 20),
    ];
    let choice = Choice::of(manifests, &FEW);
    assert_eq!(lengths(&choice), (vec![vec![5, 20, 30]], 4));
}

#[test]
fn deletes_are_apart_and_unknown_counts_are_left_alone() {
    let deletes = || manifest(ManifestContentType::Deletes, 0, 1, 10);
    let unknown = ManifestFile {
        added_files_count: None,
        ..data(0, 1, 1)
    };
    let manifests = vec![deletes(), data(0, 1, 1), deletes(), data(0, 1, 1), unknown];
    assert_eq!(lengths(&Choice::of(manifests.clone(), &FEW)), (vec![], 5));
    let more = manifests.into_iter().chain([deletes()]).collect();
    assert_eq!(lengths(&Choice::of(more, &FEW)), (vec![vec![10; 3]], 3));
}

#[test]
fn one_that_is_too_large_by_itself_is_not_chosen_alone() {
    let manifests = vec![data(0, 1, 90), data(0, 1, 90), data(0, 1, 90)];
    assert_eq!(lengths(&Choice::of(manifests, &FEW)), (vec![], 3));
}

#[test]
fn all_are_chosen_in_batches_that_fit_into_memory() {
    let manifests = (0..200).map(|length| data(0, 900, length)).collect();
    let choice = Choice::of(manifests, &Limits::ALL);
    let sizes: Vec<usize> = choice.batches.iter().map(Vec::len).collect();
    assert_eq!(sizes, [72, 72, 56]);
    assert!(choice.rest.is_empty());
}

#[rstest]
#[case(&[], Some(100))]
#[case(&[("commit.manifest-merge.enabled", "true")], Some(100))]
#[case(&[("commit.manifest-merge.enabled", "false")], None)]
#[case(&[("commit.manifest.min-count-to-merge", "7")], Some(7))]
#[case(&[("commit.manifest.min-count-to-merge", "0")], Some(2))]
#[case(&[("commit.manifest.min-count-to-merge", "many")], Some(100))]
fn writes_merge_as_the_table_says(
    #[case] properties: &[(&str, &str)],
    #[case] least: Option<usize>,
) {
    let properties = properties.iter();
    let properties = properties.map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    let limits = Limits::of_write(&properties.collect());
    assert_eq!(limits.map(|limits| limits.least), least);
}
