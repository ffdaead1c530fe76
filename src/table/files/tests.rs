//! Which deletes apply to which files, against the specification's rule over all pairs.

use iceberg::spec::Literal;

use super::*;

fn spec(id: i32) -> Arc<PartitionSpec> {
    Arc::new(PartitionSpec::unpartition_spec().with_spec_id(id))
}

fn values(value: i32) -> Struct {
    Struct::from_iter([Some(Literal::int(value))])
}

fn file(path: &str, spec_id: i32, partition: i32, sequence_number: i64) -> Arc<FileEntry> {
    Arc::new(FileEntry {
        path: path.to_owned(),
        size_bytes: 10,
        version: None,
        record_count: 3,
        partition_spec: spec(spec_id),
        partition: values(partition),
        lower_bounds: HashMap::new(),
        upper_bounds: HashMap::new(),
        sequence_number,
        deletes: Vec::new(),
    })
}

fn delete(path: &str, sequence_number: i64, kind: DeleteKind, scope: DeleteScope) -> ScopedDelete {
    let file = DeleteFile {
        path: path.to_owned(),
        size_bytes: 1,
        sequence_number,
        kind,
    };
    ScopedDelete {
        file: Arc::new(file),
        scope,
    }
}

fn equality() -> DeleteKind {
    DeleteKind::Equality { field_ids: vec![1] }
}

/// Data file path and the delete files assigned to it.
fn assigned(files: &[Arc<FileEntry>], deletes: &[ScopedDelete]) -> Vec<(String, Vec<String>)> {
    let paths = |file: &Arc<FileEntry>| {
        file.deletes
            .iter()
            .map(|delete| delete.path.clone())
            .collect()
    };
    let index = FileIndex::assign(files, deletes);
    index
        .files
        .iter()
        .map(|file| (file.path.clone(), paths(file)))
        .collect()
}

fn expect(pairs: &[(&str, &[&str])]) -> Vec<(String, Vec<String>)> {
    let owned = |deletes: &[&str]| deletes.iter().map(|path| (*path).to_owned()).collect();
    pairs
        .iter()
        .map(|(path, deletes)| ((*path).to_owned(), owned(deletes)))
        .collect()
}

#[test]
fn position_deletes_reach_their_own_commit_and_older_files() {
    let files = [
        file("old", 0, 7, 4),
        file("same", 0, 7, 5),
        file("new", 0, 7, 6),
    ];
    let deletes = [delete(
        "d",
        5,
        DeleteKind::Position,
        DeleteScope::Partition(0, values(7)),
    )];
    assert_eq!(
        assigned(&files, &deletes),
        expect(&[("old", &["d"]), ("same", &["d"]), ("new", &[])])
    );
}

#[test]
fn equality_deletes_reach_older_files_only() {
    let files = [
        file("old", 0, 7, 4),
        file("same", 0, 7, 5),
        file("new", 0, 7, 6),
    ];
    let deletes = [delete(
        "d",
        5,
        equality(),
        DeleteScope::Partition(0, values(7)),
    )];
    assert_eq!(
        assigned(&files, &deletes),
        expect(&[("old", &["d"]), ("same", &[]), ("new", &[])])
    );
}

#[test]
fn a_partition_is_a_spec_and_its_values() {
    let files = [
        file("hit", 1, 7, 1),
        file("value", 1, 8, 1),
        file("spec", 2, 7, 1),
    ];
    for kind in [DeleteKind::Position, equality()] {
        let deletes = [delete("d", 5, kind, DeleteScope::Partition(1, values(7)))];
        assert_eq!(
            assigned(&files, &deletes),
            expect(&[("hit", &["d"]), ("value", &[]), ("spec", &[])])
        );
    }
}

#[test]
fn deletes_of_an_unpartitioned_spec_reach_every_partition() {
    let files = [file("a", 1, 7, 4), file("b", 2, 8, 4), file("new", 1, 7, 5)];
    let deletes = [delete("d", 5, equality(), DeleteScope::Table)];
    assert_eq!(
        assigned(&files, &deletes),
        expect(&[("a", &["d"]), ("b", &["d"]), ("new", &[])])
    );
}

#[test]
fn deletes_that_name_a_file_reach_no_other() {
    let files = [file("a", 0, 7, 5), file("b", 0, 7, 5), file("c", 0, 7, 6)];
    let deletes = [
        delete(
            "of a",
            5,
            DeleteKind::Position,
            DeleteScope::Path("a".to_owned()),
        ),
        delete(
            "of c, too old",
            5,
            DeleteKind::Position,
            DeleteScope::Path("c".to_owned()),
        ),
        delete(
            "of none",
            5,
            DeleteKind::Position,
            DeleteScope::Path("gone".to_owned()),
        ),
    ];
    assert_eq!(
        assigned(&files, &deletes),
        expect(&[("a", &["of a"]), ("b", &[]), ("c", &[])])
    );
}

#[test]
fn deletes_come_oldest_first_whatever_their_kind() {
    let deletes = [
        delete(
            "9",
            9,
            DeleteKind::Position,
            DeleteScope::Path("a".to_owned()),
        ),
        delete(
            "6",
            6,
            DeleteKind::Position,
            DeleteScope::Partition(0, values(7)),
        ),
        delete("8", 8, equality(), DeleteScope::Partition(0, values(7))),
        delete("7", 7, equality(), DeleteScope::Table),
        delete(
            "5",
            5,
            DeleteKind::Position,
            DeleteScope::Partition(0, values(7)),
        ),
    ];
    assert_eq!(
        assigned(&[file("a", 0, 7, 5)], &deletes),
        expect(&[("a", &["5", "6", "7", "8", "9"])])
    );
}

#[test]
fn files_without_deletes_are_shared() {
    let files = [file("a", 0, 7, 5)];
    let index = FileIndex::assign(&files, &[]);
    assert!(Arc::ptr_eq(&index.files[0], &files[0]));
    assert_eq!(index.record_count(), 3);
}

/// The brute-force rule, straight from the specification.
fn applies(delete: &ScopedDelete, file: &FileEntry) -> bool {
    let sequence = match delete.file.kind {
        DeleteKind::Position => delete.file.sequence_number >= file.sequence_number,
        DeleteKind::Equality { .. } => delete.file.sequence_number > file.sequence_number,
    };
    sequence
        && match &delete.scope {
            DeleteScope::Path(path) => *path == file.path,
            DeleteScope::Partition(spec, values) => {
                *spec == file.partition_spec.spec_id() && *values == file.partition
            }
            DeleteScope::Table => true,
        }
}

proptest::proptest! {
    #[test]
    fn assignment_equals_comparing_every_pair(
        files in proptest::collection::vec((0..3, 0..3, 0..6i64), 0..12),
        deletes in proptest::collection::vec((0..4, 0..3, 0..3, 0..6i64), 0..12),
    ) {
        let files: Vec<_> = files.iter().enumerate()
            .map(|(i, (spec, value, sequence))| file(&format!("f{i}"), *spec, *value, *sequence)).collect();
        let deletes: Vec<_> = deletes.iter().enumerate().map(|(i, (case, spec, value, sequence))| {
            let (kind, scope) = match case {
                0 => (DeleteKind::Position, DeleteScope::Path(format!("f{value}"))),
                1 => (DeleteKind::Position, DeleteScope::Partition(*spec, values(*value))),
                2 => (equality(), DeleteScope::Partition(*spec, values(*value))),
                _ => (equality(), DeleteScope::Table),
            };
            delete(&format!("d{i}"), *sequence, kind, scope)
        }).collect();
        for (path, mut found) in assigned(&files, &deletes) {
            let file = files.iter().find(|file| file.path == path).unwrap();
            let mut expected: Vec<String> =
                deletes.iter().filter(|delete| applies(delete, file)).map(|delete| delete.file.path.clone()).collect();
            found.sort();
            expected.sort();
            proptest::prop_assert_eq!(found, expected);
        }
    }
}
