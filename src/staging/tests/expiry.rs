//! Nothing outlives its time, whoever received it.

use std::sync::Arc;
use std::time::Duration;

use bytesize::ByteSize;
use futures::{StreamExt, stream};

use super::{Place, TTL, alice, numbers, put_numbers, reason};
use crate::clock::SystemClock;
use crate::error::ErrorKind;
use crate::model::Principal;
use crate::staging::id::WellFormed;
use crate::staging::{Staging, StagingConfig};

#[tokio::test]
async fn nothing_is_kept_after_expiry() {
    for place in Place::both(ByteSize::mib(1)) {
        let upload = put_numbers(&place.staging, 10).await.unwrap();
        assert_eq!(upload.expires_at.to_rfc3339(), "2027-01-15T08:10:00+00:00");
        place.clock.advance(TTL - Duration::from_millis(1));
        assert_eq!(place.staging.sweep().await.unwrap(), 0);
        assert!(place.staging.open(&alice(), &upload.id).await.is_ok());
        place.clock.advance(Duration::from_millis(1));
        let expired = reason(place.staging.open(&alice(), &upload.id).await.unwrap_err());
        assert_eq!(expired, "expired at 2027-01-15T08:10:00.000Z");
        assert!(
            place.names().await.is_empty(),
            "opening an expired upload deletes it"
        );
        let again = place
            .staging
            .describe(&alice(), &upload.id)
            .await
            .unwrap_err();
        assert_eq!(again.kind(), ErrorKind::NotFound);
        assert_eq!(reason(again), expired, "the reason outlives the upload");
    }
}

#[tokio::test]
async fn a_sweep_deletes_what_expired_and_gives_its_bytes_back() {
    for place in Place::both(ByteSize::mib(1)) {
        put_numbers(&place.staging, 1000).await.unwrap();
        put_numbers(&place.staging, 1000).await.unwrap();
        let used = place.staging.budget.used_bytes();
        assert!((16_000..24_000).contains(&used), "{used}");
        place.clock.advance(TTL / 2);
        let late = put_numbers(&place.staging, 1000).await.unwrap();
        place.clock.advance(TTL / 2);
        assert_eq!(place.staging.sweep().await.unwrap(), 2);
        assert_eq!(place.names().await, [format!("{}.upload", late.id)]);
        assert_eq!(place.staging.budget.used_bytes(), used / 2);
    }
}

#[tokio::test]
async fn an_upload_slower_than_its_life_is_not_kept() {
    for place in Place::both(ByteSize::mib(1)) {
        let clock = Arc::clone(&place.clock);
        let batches = stream::iter([Ok(numbers(10))]).inspect(|_| clock.advance(TTL));
        let error = place
            .staging
            .put(&alice(), numbers(0).schema(), batches)
            .await
            .unwrap_err();
        assert!(reason(error).starts_with("expired at"));
        assert!(place.becomes_empty().await);
        assert_eq!(place.staging.budget.used_bytes(), 0);
    }
}

#[tokio::test]
async fn the_background_sweeps_too() {
    let config = StagingConfig {
        ttl: Duration::from_millis(40),
        ..StagingConfig::default()
    };
    let staging = Arc::new(Staging::try_new(&config, Arc::new(SystemClock)).unwrap());
    let place = Place {
        staging: Arc::clone(&staging),
        clock: Place::memory(ByteSize::b(1)).clock,
        directory: None,
    };
    let _sweeper = staging.sweep_in_background();
    put_numbers(&staging, 10).await.unwrap();
    assert!(place.becomes_empty().await);
}

#[tokio::test]
async fn another_server_serves_and_sweeps_the_same_directory() {
    let place = Place::directory(ByteSize::mib(1));
    let upload = put_numbers(&place.staging, 10).await.unwrap();
    let replica = place.replica();
    let frame = replica.open(&alice(), &upload.id).await.unwrap();
    assert_eq!(frame.batches, [numbers(10)]);
    assert_eq!(frame.expires_at, upload.expires_at);
    assert!(
        replica
            .open(&Principal::anonymous(), &upload.id)
            .await
            .is_err()
    );
    place.clock.advance(TTL);
    assert_eq!(replica.sweep().await.unwrap(), 1);
    assert!(place.names().await.is_empty());
}

/// A server that dies leaves its unfinished file; another's files are none of ours.
#[tokio::test]
async fn leftovers_are_swept_and_strangers_are_not() {
    let place = Place::directory(ByteSize::mib(1));
    let directory = place.directory.as_ref().unwrap().path();
    let now = place.staging.now();
    let touch = |name: String| std::fs::write(directory.join(name), b"x").unwrap();
    let expired = WellFormed::random(now).unwrap();
    let alive = WellFormed::random(now + Duration::from_secs(1)).unwrap();
    touch(format!("{}#1", expired.path()));
    touch(format!("{}#1", alive.path()));
    touch("readme.txt#1".to_owned());
    touch("readme.txt".to_owned());
    place.staging.sweep().await.unwrap();
    let mut expected = [
        format!("{}#1", alive.path()),
        "readme.txt".to_owned(),
        "readme.txt#1".to_owned(),
    ];
    let mut found = place.names().await;
    expected.sort();
    found.sort();
    assert_eq!(found, expected);
}
