//! Sets of files by location, of 16 bytes each: the first half of the location's SHA-256. Two locations that fell together
//! would make a file stay, never go.

use std::collections::HashSet;

use iceberg::spec::TableMetadata;
use sha2::{Digest, Sha256};

use crate::storage::Location;

/// Table properties that name folders of a table besides its location.
const FOLDERS: [&str; 4] = [
    "write.data.path",
    "write.metadata.path",
    "write.folder-storage.path",
    "write.object-storage.path",
];

/// A set of files; about 30 bytes of memory for each.
#[derive(Clone, Debug, Default)]
pub(super) struct Paths(HashSet<u128>);

impl Paths {
    /// Whether the file is new in it.
    pub(super) fn insert(&mut self, path: &str) -> bool {
        self.0.insert(hash(path))
    }

    pub(super) fn contains(&self, path: &str) -> bool {
        self.0.contains(&hash(path))
    }
}

fn hash(path: &str) -> u128 {
    let digest = Sha256::digest(plain(path));
    digest
        .iter()
        .take(16)
        .fold(0, |hash, byte| (hash << 8) | u128::from(*byte))
}

/// One spelling for all that name the same file.
fn plain(path: &str) -> String {
    match Location::parse(path) {
        Ok(Location::Local(path)) => format!("local:{}", path.display()),
        Ok(Location::Remote {
            service,
            container,
            key,
        }) => format!("{service:?}:{container}/{key}"),
        Err(_) => path.to_owned(),
    }
}

/// The folders that are a table's own.
#[derive(Clone, Debug)]
pub(super) struct Folders(Vec<String>);

impl Folders {
    pub(super) fn of(metadata: &TableMetadata) -> Self {
        let named = FOLDERS
            .iter()
            .filter_map(|it| metadata.properties().get(*it));
        let all = named.map(String::as_str).chain([metadata.location()]);
        Self(
            all.map(|it| format!("{}/", plain(it.trim_end_matches('/'))))
                .collect(),
        )
    }

    /// Whether a file is in one of them.
    pub(super) fn contain(&self, path: &str) -> bool {
        let path = plain(path);
        !path.split('/').any(|part| part == "..")
            && self.0.iter().any(|folder| path.starts_with(folder))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_of_one_file_are_one() {
        let mut paths = Paths::default();
        assert!(paths.insert("s3://b/t/f.parquet"));
        assert!(!paths.insert("s3a://b/t/f.parquet"));
        assert!(paths.insert("/t/f.parquet"));
        assert!(paths.contains("file:///t/f.parquet") && paths.contains("file:/t/f.parquet"));
        assert!(!paths.contains("s3://b/t/g.parquet") && !paths.contains("gs://b/t/f.parquet"));
    }

    #[test]
    fn files_of_other_tables_are_elsewhere() {
        let folders = Folders(vec![format!("{}/", plain("s3://b/t"))]);
        assert!(folders.contain("s3a://b/t/data/f") && folders.contain("s3://b/t/f"));
        for other in [
            "s3://b/t2/f",
            "s3://c/t/f",
            "s3://b/t",
            "s3://b/t/../u/f",
            "/b/t/f",
        ] {
            assert!(!folders.contain(other), "{other}");
        }
    }
}
