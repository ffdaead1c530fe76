//! A registry file changes, tears and vanishes while it is served.

use std::fs;
use std::path::Path;

use bytes::Bytes;
use prost::Message;
use tempfile::TempDir;

use super::{VIEWS, file_registry, opened, repo, view_names};
use crate::error::ErrorKind;
use crate::proto::feast::core;

const REGISTRY: &str = "data/registry.db";

fn write(repo: &TempDir, bytes: &[u8]) {
    let path = repo.path().join(REGISTRY);
    fs::create_dir_all(path.parent().unwrap_or(Path::new("/"))).unwrap();
    fs::write(path, bytes).unwrap();
}

/// The fixture with one object less.
fn smaller() -> Vec<u8> {
    let mut message = core::Registry::decode(file_registry("0.67")).unwrap();
    message.stream_feature_views.clear();
    message.encode_to_vec()
}

#[tokio::test]
async fn a_missing_file_is_an_empty_project_until_the_first_apply() {
    let repo = repo(REGISTRY);
    let reader = opened(&repo);
    let empty = reader.current().await.unwrap();
    assert_eq!(empty.project(), "rides");
    assert_eq!(empty.feature_views().count(), 0);
    write(&repo, &file_registry("0.67"));
    assert_eq!(view_names(&reader.current().await.unwrap()), VIEWS);
    fs::remove_file(repo.path().join(REGISTRY)).unwrap();
    assert_eq!(reader.current().await.unwrap().feature_views().count(), 0);
}

#[tokio::test]
async fn each_request_sees_the_newest_apply() {
    let repo = repo(REGISTRY);
    let reader = opened(&repo);
    for _ in 0..3 {
        write(&repo, &file_registry("0.67"));
        assert_eq!(
            reader.current().await.unwrap().feature_views().count(),
            VIEWS.len()
        );
        write(&repo, &smaller());
        assert_eq!(
            reader.current().await.unwrap().feature_views().count(),
            VIEWS.len() - 1
        );
    }
}

#[tokio::test]
async fn an_unchanged_file_is_not_decoded_again() {
    let repo = repo(REGISTRY);
    write(&repo, &file_registry("0.67"));
    let reader = opened(&repo);
    let first = reader.current().await.unwrap();
    assert!(std::sync::Arc::ptr_eq(
        &first,
        &reader.current().await.unwrap()
    ));
}

#[tokio::test]
async fn a_torn_file_leaves_the_last_good_definitions_in_force() {
    let repo = repo(REGISTRY);
    let whole = file_registry("0.67");
    write(&repo, &whole);
    let reader = opened(&repo);
    let good = reader.current().await.unwrap();
    let torn = [&whole[..whole.len() / 2], &whole[..1], &[]];
    for torn in torn {
        write(&repo, torn);
        assert_eq!(reader.current().await.unwrap(), good);
    }
    write(&repo, &smaller());
    assert_ne!(reader.current().await.unwrap(), good);
}

#[tokio::test]
async fn a_file_torn_for_a_moment_is_waited_for() {
    let repo = repo(REGISTRY);
    write(&repo, &[]);
    let reader = opened(&repo);
    let (found, ()) = tokio::join!(reader.current(), async {
        tokio::task::yield_now().await;
        write(&repo, &file_registry("0.67"));
    });
    assert_eq!(view_names(&found.unwrap()), VIEWS);
}

#[tokio::test]
async fn a_file_that_never_was_a_registry_is_unavailable() {
    let repo = repo(REGISTRY);
    write(&repo, b"not a registry");
    let error = opened(&repo).current().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.to_string().contains(REGISTRY), "{error}");
}

#[tokio::test]
async fn waiting_requests_share_one_read() {
    let repo = repo(REGISTRY);
    write(&repo, &Bytes::from(smaller()));
    let reader = opened(&repo);
    let all = futures::future::join_all((0..50).map(|_| reader.current())).await;
    let first = all[0].as_ref().unwrap();
    assert!(all.iter().all(|other| other.as_ref().unwrap() == first));
}

#[tokio::test]
async fn a_repository_without_settings_is_refused() {
    let empty = TempDir::new().unwrap();
    let error = super::super::open(empty.path(), &super::catalogs()).unwrap_err();
    assert!(error.to_string().contains("feature_store.yaml"), "{error}");
}
