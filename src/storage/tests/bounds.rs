//! How long a store is waited for, and how many requests it gets at a time.

use std::time::{Duration, Instant};

use futures::future::join_all;
use rstest::rstest;

use super::super::http::{REQUEST_LIMIT, REQUESTS_AT_ONCE, RETRY_LIMIT};
use super::*;
use crate::clock;

fn of(endpoint: &str, request_limit: &str) -> BTreeMap<String, String> {
    properties(&[
        ("s3.endpoint", endpoint),
        ("s3.access-key-id", "k"),
        ("s3.secret-access-key", "hunter2"),
        ("s3.request-timeout", request_limit),
    ])
}

#[test]
fn a_store_that_does_not_answer_fails_within_half_a_minute() {
    assert!(REQUEST_LIMIT + RETRY_LIMIT <= Duration::from_secs(30));
}

#[rstest]
#[case::refuses(false)]
#[case::hangs(true)]
#[tokio::test]
async fn a_dead_store_fails_soon_and_is_named(#[case] hangs: bool) {
    let server = Server::start(|_| Answer::Never).await;
    let endpoint = if hangs {
        &server.address
    } else {
        "http://127.0.0.1:1"
    };
    let io = file_io(&of(endpoint, "0.2"));
    let began = Instant::now();
    let error = io
        .new_input("s3://lake/a")
        .unwrap()
        .read()
        .await
        .unwrap_err();
    assert!(began.elapsed() < RETRY_LIMIT + Duration::from_secs(5));
    let shown = format!("{error:?}");
    assert!(
        shown.contains(endpoint) && shown.contains("s3://lake/a"),
        "{shown}"
    );
    assert!(!shown.contains("hunter2"), "{shown}");
    assert_eq!(server.requests().len(), if hangs { 5 } else { 0 });
}

#[tokio::test]
async fn a_store_that_recovers_is_not_noticed() {
    let server = Server::start(|_| Answer::found("abc")).await;
    let failing = std::sync::atomic::AtomicUsize::new(2);
    let failing = Arc::new(failing);
    let flaky = Server::start(move |_| {
        let left = failing.fetch_update(
            std::sync::atomic::Ordering::Relaxed,
            std::sync::atomic::Ordering::Relaxed,
            |left| left.checked_sub(1),
        );
        match left {
            Ok(_) => Answer::of("503 Service Unavailable", "<Code>SlowDown</Code>"),
            Err(_) => Answer::found("abc"),
        }
    })
    .await;
    for (server, expected) in [(server, 1), (flaky, 3)] {
        let io = file_io(&of(&server.address, "5"));
        io.new_input("s3://lake/a").unwrap().read().await.unwrap();
        assert_eq!(server.requests().len(), expected);
    }
}

#[tokio::test]
async fn a_store_gets_a_limited_number_of_requests_at_a_time() {
    let server = Server::start(|_| Answer::Never).await;
    let io = file_io(&of(&server.address, "30"));
    let reads = join_all((0..REQUESTS_AT_ONCE + 20).map(|_| {
        let io = io.clone();
        async move { io.new_input("s3://lake/a").unwrap().read().await }
    }));
    tokio::select! {
        _ = reads => panic!("the server never answers"),
        () = clock::sleep(Duration::from_secs(1)) => {}
    }
    assert_eq!(server.requests().len(), REQUESTS_AT_ONCE);
}
