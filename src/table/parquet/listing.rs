//! Which Parquet files a location has now, and a digest that changes whenever they do.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::{StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStoreExt};
use twox_hash::XxHash64;

use super::hive::{self, PartitionKey};
use crate::error::{Error, Result};
use crate::model::ParquetLocation;
use crate::storage::{self, Located};
use crate::table::read::{FileRef, FileStore, object_failure};

/// A location with more files is refused.
const MAX_FILES: usize = 1 << 18;
const EXTENSIONS: [&str; 3] = ["parquet", "pq", "parq"];

/// A Parquet file as it was when it was listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedFile {
    /// Absolute path or `s3://bucket/key`.
    pub path: String,
    /// Length in bytes.
    pub size_bytes: u64,
    /// What tells this content from another under the same path.
    pub version: Arc<str>,
    /// Columns that its folders are named for, outermost first.
    pub partition: Vec<PartitionKey>,
}

impl ListedFile {
    pub(super) fn as_ref<'a>(&'a self, table: &'a str) -> FileRef<'a> {
        FileRef {
            table,
            path: &self.path,
            size_bytes: self.size_bytes,
            version: Some(&self.version),
        }
    }

    /// What its content is known by.
    pub(super) fn identity(&self) -> String {
        format!("{}#{}", self.path, self.version)
    }
}

/// The files of a location, by path; at least one.
#[derive(Debug)]
pub(super) struct Listing {
    pub(super) uri: String,
    pub(super) store: FileStore,
    pub(super) files: Vec<ListedFile>,
}

impl Listing {
    /// Lists the one file or the folder at a location.
    pub(super) async fn new(location: &ParquetLocation) -> Result<Self> {
        let uri = &location.uri;
        let located = storage::open(uri, &properties(location))?;
        let mut files = match one_file(uri, &located).await? {
            Some(file) => vec![listed(uri, &located.path, file)?],
            None => folder(uri, &located).await?,
        };
        files.sort_by(|a, b| a.path.cmp(&b.path));
        match files.is_empty() {
            true => Err(Error::NoParquetFiles { uri: uri.clone() }),
            false => Ok(Self {
                uri: uri.clone(),
                store: FileStore::Objects(located.store),
                files,
            }),
        }
    }

    /// A number that other files, or the same with other content, do not have.
    pub(super) fn digest(&self) -> i64 {
        let identities: Vec<String> = self.files.iter().map(ListedFile::identity).collect();
        let hash = XxHash64::oneshot(0, identities.join("\n").as_bytes());
        i64::try_from(hash >> 1).expect("63 bits fit")
    }
}

fn properties(location: &ParquetLocation) -> BTreeMap<String, String> {
    let endpoint = location.s3_endpoint.iter();
    endpoint
        .map(|endpoint| ("s3.endpoint".to_owned(), endpoint.clone()))
        .collect()
}

async fn one_file(uri: &str, located: &Located) -> Result<Option<ObjectMeta>> {
    if located.path.as_ref().is_empty() {
        return Ok(None);
    }
    match located.store.head(&located.path).await {
        Ok(file) => Ok(Some(file)),
        Err(object_store::Error::NotFound { .. }) => Ok(None),
        Err(error) => Err(object_failure(uri, uri, &error)),
    }
}

async fn folder(uri: &str, located: &Located) -> Result<Vec<ListedFile>> {
    let base = &located.path;
    let files: Vec<ObjectMeta> = located
        .store
        .list(Some(base))
        .try_filter(|file| std::future::ready(is_data(base, &file.location)))
        .take(MAX_FILES + 1)
        .try_collect()
        .await
        .map_err(|error| object_failure(uri, uri, &error))?;
    if files.len() > MAX_FILES {
        return Err(Error::Unsupported {
            what: format!("reading the more than {MAX_FILES} files of `{uri}`"),
        });
    }
    let listed = |file| listed(uri, base, file);
    files.into_iter().map(listed).collect()
}

/// Where a path within the store of `uri` is.
fn absolute(uri: &str, path: &Path) -> String {
    match uri.split_once("://") {
        Some((scheme, rest)) if !scheme.eq_ignore_ascii_case("file") => {
            let bucket = rest.split('/').next().unwrap_or_default();
            format!("{scheme}://{bucket}/{path}")
        }
        _ => format!("/{path}"),
    }
}

/// As others do, names that start with a dot or an underscore are left out.
fn is_data(base: &Path, file: &Path) -> bool {
    let hidden = |name: &str| name.starts_with(['.', '_']);
    let known = |extension: &str| EXTENSIONS.contains(&extension.to_ascii_lowercase().as_str());
    let below = file.prefix_match(base);
    below.is_some_and(|mut parts| !parts.any(|part| hidden(part.as_ref())))
        && file.extension().is_some_and(known)
}

fn listed(uri: &str, base: &Path, file: ObjectMeta) -> Result<ListedFile> {
    let path = absolute(uri, &file.location);
    let version = file.e_tag.ok_or_else(|| Error::Unsupported {
        what: format!("reading `{path}` from a store without entity tags"),
    })?;
    let folders = file.location.prefix_match(base);
    let folders: Vec<_> = folders.into_iter().flatten().collect();
    Ok(ListedFile {
        partition: folders
            .iter()
            .filter_map(|folder| hive::parse(folder.as_ref()))
            .collect(),
        size_bytes: file.size,
        version: version.into(),
        path,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_absolute_in_the_words_of_the_uri() {
        let path = Path::parse("a/b.parquet").unwrap();
        assert_eq!(absolute("/a", &path), "/a/b.parquet");
        assert_eq!(absolute("FILE:///a", &path), "/a/b.parquet");
        assert_eq!(
            absolute("s3a://bucket/a", &path),
            "s3a://bucket/a/b.parquet"
        );
    }
}
