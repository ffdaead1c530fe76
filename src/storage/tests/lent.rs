//! Lent credentials: whose are used where, how they are replaced, and that nobody who reads or writes notices.

use std::time::Duration;

use futures::future::join_all;
use rstest::rstest;

use super::bank::{Fixture, lent, nothing};
use super::*;
use crate::clock;

const EXPIRED: &str = "<Error><Code>ExpiredToken</Code></Error>";

#[tokio::test]
async fn readers_in_mid_stream_go_on_with_new_credentials() {
    let table = Fixture::new(Some(3600), nothing).await;
    let input = table.io.new_input("s3://lake/t/a").unwrap();
    let reader = input.reader().await.unwrap();
    reader.read(0..3).await.unwrap();
    table.advance(3301);
    reader.read(3..6).await.unwrap();
    reader.read(6..9).await.unwrap();
    assert_eq!(table.server.keys(), ["k1", "k2", "k2"]);
    let token = table.server.requests()[2]
        .header("x-amz-security-token")
        .map(str::to_owned);
    assert_eq!(token.as_deref(), Some("hunter3-k2"));
    assert_eq!(table.asked(), 1);
}

fn forbids_k1(key: &str) -> Option<Answer> {
    (key == "k1").then(|| Answer::of("403 Forbidden", EXPIRED))
}

fn rejects_k1(key: &str) -> Option<Answer> {
    (key == "k1").then(|| Answer::of("400 Bad Request", EXPIRED))
}

fn knows_no_k1(key: &str) -> Option<Answer> {
    (key == "k1").then(|| Answer::of("401 Unauthorized", ""))
}

#[rstest]
#[case(forbids_k1)]
#[case(rejects_k1)]
#[case(knows_no_k1)]
#[tokio::test]
async fn a_refused_request_is_signed_again(#[case] refuses: fn(&str) -> Option<Answer>) {
    let table = Fixture::new(None, refuses).await;
    let output = table.io.new_output("s3://lake/t/a").unwrap();
    output.write("hello".into()).await.unwrap();
    let requests = table.server.requests();
    assert_eq!(table.server.keys(), ["k1", "k2"]);
    assert_eq!(requests[1].body, b"hello");
    let digest = |request: &server::Request| {
        let digest = request.header("x-amz-content-sha256");
        digest.map(str::to_owned)
    };
    assert_eq!(digest(&requests[0]), digest(&requests[1]));
    assert_eq!(
        requests[1].header("x-amz-security-token"),
        Some("hunter3-k2")
    );
}

#[tokio::test]
async fn a_refusal_without_a_reason_may_be_about_the_credentials() {
    let table = Fixture::new(None, rejects_k1).await;
    assert!(table.io.exists("s3://lake/t/a").await.unwrap());
    assert_eq!(table.server.keys(), ["k1", "k2"]);
}

#[tokio::test]
async fn the_second_signature_is_what_a_first_would_be() {
    let sent = |request: &server::Request, name: &str| request.header(name).map(str::to_owned);
    for _ in 0..10 {
        let table = Fixture::new(None, forbids_k1).await;
        for _ in 0..2 {
            let output = table.io.new_output("s3://lake/t/a=1/b").unwrap();
            output.write("hello".into()).await.unwrap();
        }
        let requests = table.server.requests();
        if sent(&requests[1], "x-amz-date") == sent(&requests[2], "x-amz-date") {
            let signatures = requests[1..].iter();
            let signatures: Vec<_> = signatures
                .map(|request| sent(request, "authorization"))
                .collect();
            assert_eq!(signatures[0], signatures[1]);
            return;
        }
    }
    panic!("the second never stood still");
}

#[tokio::test]
async fn many_refusals_ask_once() {
    let table = Fixture::new(None, forbids_k1).await;
    let read = join_all((0..8).map(|_| table.read())).await;
    assert!(read.iter().all(Result::is_ok), "{read:?}");
    assert_eq!(table.asked(), 1);
}

#[tokio::test]
async fn who_may_not_read_does_not_make_the_catalog_lend_for_ever() {
    let table = Fixture::new(None, |_| Some(Answer::of("403 Forbidden", "AccessDenied"))).await;
    for _ in 0..3 {
        let error = table.read().await.unwrap_err();
        assert!(format!("{error:?}").contains("AccessDenied"), "{error:?}");
    }
    assert_eq!(table.asked(), 1);
}

#[tokio::test]
async fn other_bad_requests_are_not_about_credentials() {
    let table = Fixture::new(None, |_| {
        Some(Answer::of("400 Bad Request", "InvalidArgument"))
    })
    .await;
    table.read().await.unwrap_err();
    assert_eq!((table.asked(), table.server.requests().len()), (0, 1));
}

#[tokio::test]
async fn a_catalog_that_is_down_is_noticed_only_when_credentials_have_expired() {
    let table = Fixture::new(Some(3600), nothing).await;
    *table.bank.is_down.lock().unwrap() = true;
    table.advance(3400);
    table.read().await.unwrap();
    assert_eq!(
        (table.server.keys(), table.asked()),
        (vec!["k1".to_owned()], 1)
    );
    table.advance(201);
    let error = table.read().await.unwrap_err();
    let shown = format!("{error:?}");
    assert!(
        shown.contains("the credentials lent for s3://lake have expired and were not renewed: the catalog is down"),
        "{shown}"
    );
    assert!(!shown.contains("hunter"), "{shown}");
    *table.bank.is_down.lock().unwrap() = false;
    table.advance(2);
    table.read().await.unwrap();
}

#[tokio::test]
async fn connections_are_shared_by_loads_and_tables() {
    let table = Fixture::new(Some(3600), nothing).await;
    table.read().await.unwrap();
    for key in ["k1", "other"] {
        clock::sleep(Duration::from_millis(50)).await;
        let lent = lent(&table.server, &table.bank, vec![table.bank.loan("", key)]);
        let io = iceberg_io::lent_file_io(lent);
        io.new_input("s3://lake/u/a").unwrap().read().await.unwrap();
    }
    assert_eq!(table.server.keys(), ["k1", "k1", "other"]);
    assert_eq!(table.server.connections(), 1);
}

#[rstest]
#[case("s3://lake/t/a", "table")]
#[case("s3a://lake/t/a", "table")]
#[case("s3://lake/u/a", "lake")]
#[case("s3://pond/t/a", "all")]
#[tokio::test]
async fn the_longest_prefix_wins(#[case] location: &str, #[case] expected: &str) {
    let table = Fixture::new(Some(3600), nothing).await;
    let loans = [
        ("", "all"),
        ("s3://lake/t/", "table"),
        ("s3://lake", "lake"),
    ];
    let loans = loans
        .map(|(prefix, key)| table.bank.loan(prefix, key))
        .to_vec();
    let io = iceberg_io::lent_file_io(lent(&table.server, &table.bank, loans));
    io.new_input(location).unwrap().read().await.unwrap();
    assert_eq!(table.server.keys(), [expected]);
}

#[tokio::test]
async fn where_nothing_is_lent_the_catalog_s_own_keys_sign() {
    let table = Fixture::new(None, nothing).await;
    let region = Loan {
        prefix: String::new(),
        properties: properties(&[("s3.region", "eu-west-9")]),
    };
    for loans in [
        vec![],
        vec![region],
        vec![table.bank.loan("s3://pond", "k1")],
    ] {
        let io = iceberg_io::lent_file_io(lent(&table.server, &table.bank, loans));
        io.new_input("s3://lake/t/a").unwrap().read().await.unwrap();
    }
    assert_eq!(table.server.keys(), ["base"; 3]);
    let signed = table.server.requests()[1]
        .header("authorization")
        .map(str::to_owned);
    assert!(signed.unwrap().contains("/eu-west-9/s3/"));
}

#[tokio::test]
async fn nothing_lent_shows() {
    let table = Fixture::new(Some(3600), nothing).await;
    table.read().await.unwrap();
    let store = table
        .lent
        .client(Service::S3, "lake", "s3://lake/t/a")
        .unwrap();
    let loan = table.bank.loan("", "k1");
    let shown = format!("{:?} {:?} {store:?} {loan:?}", table.io, table.lent);
    assert!(shown.contains("s3.session-token"), "{shown}");
    assert!(!shown.contains("hunter"), "{shown}");
}
