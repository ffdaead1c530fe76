//! Whether a file lies below a root, whatever its name says.

use std::fs;
use std::path::{Component, Path, PathBuf};

use crate::storage::Location;

/// Whether `location` is `root`, a folder or a prefix such as `s3://bucket/x`, or below it.
pub(super) fn is_within(location: &Location, root: &str) -> bool {
    match location {
        Location::Local(path) => match local_root(root) {
            Some(root) => is_below(path, &root),
            None => false,
        },
        Location::Remote {
            service,
            container,
            key,
        } => match Location::parse(root) {
            Ok(Location::Remote {
                service: root_service,
                container: root_container,
                key: root_key,
            }) => {
                (*service, container) == (root_service, &root_container)
                    && has_prefix(key, &root_key)
            }
            _ => false,
        },
    }
}

/// A root may be relative to the working directory.
fn local_root(root: &str) -> Option<PathBuf> {
    match Location::parse(root) {
        Ok(Location::Local(path)) => Some(path),
        Ok(Location::Remote { .. }) => None,
        Err(_) if root.contains("://") => None,
        Err(_) => std::path::absolute(root).ok(),
    }
}

fn is_below(path: &Path, root: &Path) -> bool {
    match (resolved(path), resolved(root)) {
        (Some(path), Some(root)) => path.starts_with(root),
        _ => false,
    }
}

/// The path without links and `..`, as far as it exists; none if it goes through a link to nowhere, behind which anything
/// could be created.
fn resolved(path: &Path) -> Option<PathBuf> {
    let mut current = PathBuf::from("/");
    for component in path.components() {
        match component {
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
            Component::ParentDir => drop(current.pop()),
            Component::Normal(name) => {
                current.push(name);
                if fs::symlink_metadata(&current).is_ok_and(|found| found.is_symlink()) {
                    current = fs::canonicalize(&current).ok()?;
                }
            }
        }
    }
    Some(current)
}

/// By whole segments: `a/b` is not a prefix of `a/bc`.
fn has_prefix(key: &str, prefix: &str) -> bool {
    let prefix = prefix.trim_matches('/');
    if key.split('/').any(|segment| segment == "..") {
        return false;
    }
    match key.strip_prefix(prefix) {
        Some(rest) => prefix.is_empty() || rest.is_empty() || rest.starts_with('/'),
        None => false,
    }
}
