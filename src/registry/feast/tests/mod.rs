//! Registries that real Feast wrote (see tests/fixtures/feast/make.py), and broken ones.

mod decoding;
mod following;
mod remote;
mod sent;
mod sql;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use tempfile::TempDir;

use super::decode::Decoder;
use crate::catalog::Catalogs;
use crate::registry::{Registry, RegistryReader};

/// Releases of Feast that wrote fixtures.
const RELEASES: [&str; 2] = ["0.66", "0.67"];

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures/feast")
        .join(name)
}

fn file_registry(release: &str) -> Bytes {
    std::fs::read(fixture(&format!("registry-{release}.db")))
        .unwrap()
        .into()
}

fn catalogs() -> Catalogs {
    Catalogs::connect(&BTreeMap::new()).unwrap()
}

fn decoder() -> Decoder {
    Decoder::new(
        "rides".to_owned(),
        PathBuf::from("/repo"),
        catalogs(),
        |_| None,
    )
}

/// A feature repository whose settings have this registry.
fn repo(registry: &str) -> TempDir {
    let repo = TempDir::new().unwrap();
    let text = format!("project: rides\nprovider: local\nregistry: {registry}\n");
    std::fs::write(repo.path().join("feature_store.yaml"), text).unwrap();
    repo
}

fn opened(repo: &TempDir) -> Arc<dyn RegistryReader> {
    super::open(repo.path(), &catalogs()).unwrap()
}

fn view_names(registry: &Registry) -> Vec<&str> {
    let views = registry.feature_views();
    views.map(|view| view.name.as_str()).collect()
}

/// Names of the views in the fixtures.
const VIEWS: [&str; 9] = [
    "both_keys",
    "driver_stats",
    "everywhere",
    "in_bigquery",
    "in_delta",
    "in_glue",
    "in_s3",
    "pushed",
    "streamed",
];
