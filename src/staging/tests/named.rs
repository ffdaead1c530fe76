//! Uploads that are found by name.

use std::time::Duration;

use bytesize::ByteSize;
use futures::stream;

use super::{Place, TTL, alice, numbers};
use crate::error::Result;
use crate::model::Principal;
use crate::staging::{StagedUpload, Staging, UploadName};

fn name(secret: &str) -> UploadName {
    UploadName::new(&alice(), secret.as_bytes())
}

async fn put(staging: &Staging, name: &UploadName, rows: usize) -> Result<StagedUpload> {
    let batches = stream::iter([Ok(numbers(rows))]);
    staging
        .put_named(&alice(), name, numbers(0).schema(), batches)
        .await
}

async fn rows(staging: &Staging, name: &UploadName) -> Option<u64> {
    let id = staging.find_named(name).await.unwrap()?;
    Some(staging.open(&alice(), &id).await.unwrap().rows)
}

#[test]
fn names_belong_to_their_owner_and_say_nothing() {
    let mallory = Principal("mallory".to_owned());
    assert_eq!(name("a"), name("a"));
    assert_ne!(name("a"), name("b"));
    assert_ne!(name("a"), UploadName::new(&mallory, b"a"));
    let shifted = UploadName::new(&Principal("alic".to_owned()), b"ea");
    assert_ne!(
        name("a"),
        shifted,
        "where the owner ends is part of the name"
    );
    assert!(!format!("{:?}", name("secret")).contains("secret"));
}

#[tokio::test]
async fn a_named_upload_is_found_until_it_expires() {
    for place in Place::both(ByteSize::mib(1)) {
        put(&place.staging, &name("a"), 10).await.unwrap();
        assert_eq!(rows(&place.staging, &name("a")).await, Some(10));
        assert_eq!(rows(&place.staging, &name("b")).await, None);
        place.clock.advance(TTL - Duration::from_millis(1));
        assert_eq!(rows(&place.staging, &name("a")).await, Some(10));
        place.clock.advance(Duration::from_millis(1));
        assert_eq!(rows(&place.staging, &name("a")).await, None);
        assert_eq!(place.staging.sweep().await.unwrap(), 1);
        assert!(place.names().await.is_empty());
        assert_eq!(place.staging.budget.used_bytes(), 0);
    }
}

#[tokio::test]
async fn the_last_upload_of_a_name_counts() {
    for place in Place::both(ByteSize::mib(1)) {
        put(&place.staging, &name("a"), 10).await.unwrap();
        place.clock.advance(TTL / 2);
        put(&place.staging, &name("a"), 20).await.unwrap();
        assert_eq!(rows(&place.staging, &name("a")).await, Some(20));
        place.clock.advance(TTL / 2);
        assert_eq!(rows(&place.staging, &name("a")).await, Some(20));
    }
}

#[tokio::test]
async fn removing_gives_the_bytes_back() {
    for place in Place::both(ByteSize::kib(100)) {
        put(&place.staging, &name("a"), 6000).await.unwrap();
        put(&place.staging, &name("b"), 6000).await.unwrap();
        assert!(put(&place.staging, &name("c"), 6000).await.is_err());
        place.staging.remove_named(&name("a")).await.unwrap();
        place.staging.remove_named(&name("a")).await.unwrap();
        assert_eq!(rows(&place.staging, &name("a")).await, None);
        put(&place.staging, &name("c"), 6000).await.unwrap();
        place.staging.remove_named(&name("b")).await.unwrap();
        place.staging.remove_named(&name("c")).await.unwrap();
        assert_eq!(place.staging.budget.used_bytes(), 0);
        assert!(place.names().await.is_empty());
    }
}

#[tokio::test]
async fn a_frame_that_was_opened_outlives_its_upload() {
    for place in Place::both(ByteSize::mib(1)) {
        put(&place.staging, &name("a"), 10).await.unwrap();
        let id = place.staging.find_named(&name("a")).await.unwrap().unwrap();
        let frame = place.staging.open(&alice(), &id).await.unwrap();
        place.staging.remove_named(&name("a")).await.unwrap();
        assert_eq!(frame.batches, [numbers(10)]);
    }
}

#[tokio::test]
async fn another_server_finds_sweeps_and_removes_it() {
    let place = Place::directory(ByteSize::mib(1));
    let replica = place.replica();
    put(&place.staging, &name("a"), 10).await.unwrap();
    put(&place.staging, &name("b"), 20).await.unwrap();
    assert_eq!(rows(&replica, &name("a")).await, Some(10));
    replica.remove_named(&name("a")).await.unwrap();
    assert_eq!(rows(&place.staging, &name("a")).await, None);
    place.clock.advance(TTL);
    assert_eq!(replica.sweep().await.unwrap(), 1);
    assert!(place.names().await.is_empty());
}
