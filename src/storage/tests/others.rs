//! Google's and Azure's stores, as far as a server that answers by script can tell.

use std::time::{Duration, SystemTime};

use async_trait::async_trait;

use super::super::lent::Lent;
use super::*;
use crate::clock::ManualClock;

#[derive(Debug)]
struct Bank(Vec<(&'static str, &'static str)>);

#[async_trait]
impl Lender for Bank {
    async fn lend(&self) -> Result<Vec<Loan>, String> {
        Ok(vec![Loan {
            prefix: String::new(),
            properties: properties(&self.0),
        }])
    }
}

/// Reads a file with what is lent first, and again two minutes later with what is lent then.
async fn read_twice(
    location: &str,
    base: &[(&str, &str)],
    first: &[(&str, &str)],
    second: Vec<(&'static str, &'static str)>,
) {
    let clock = Arc::new(ManualClock::new(SystemTime::UNIX_EPOCH));
    let loan = Loan {
        prefix: String::new(),
        properties: properties(first),
    };
    let lender = Arc::new(Bank(second));
    let given = Arc::<ManualClock>::clone(&clock);
    let lent = Lent::new(&properties(base), vec![loan], lender, given);
    let io = iceberg_io::lent_file_io(Arc::new(lent));
    let read = async || io.new_input(location).unwrap().read().await.unwrap();
    assert_eq!(read().await, "abc");
    clock.advance(Duration::from_secs(120));
    assert_eq!(read().await, "abc");
}

#[tokio::test]
async fn google_s_tokens_are_replaced() {
    let server = Server::start(|_| Answer::found("abc")).await;
    read_twice(
        "gs://lake/a/b",
        &[("gcs.service.host", &server.address)],
        &[
            ("gcs.oauth2.token", "one"),
            ("gcs.oauth2.token-expires-at", "100000"),
        ],
        vec![("gcs.oauth2.token", "two")],
    )
    .await;
    let requests = server.requests();
    let sent: Vec<_> = requests
        .iter()
        .map(|request| request.header("authorization"))
        .collect();
    assert_eq!(sent, [Some("Bearer one"), Some("Bearer two")]);
    assert!(
        requests[0].head.starts_with("GET /lake/a%2Fb "),
        "{}",
        requests[0].head
    );
}

#[tokio::test]
async fn azure_s_signatures_are_replaced() {
    let server = Server::start(|_| Answer::found("abc")).await;
    let connection = format!("AccountName=acct;BlobEndpoint={}/acct", server.address);
    read_twice(
        "az://lake/a/b",
        &[("adls.connection-string", &connection)],
        &[
            (
                "adls.sas-token.acct.dfs.core.windows.net",
                "?sv=1&sig=a%2Bb%3D",
            ),
            (
                "adls.sas-token-expires-at-ms.acct.dfs.core.windows.net",
                "100000",
            ),
        ],
        vec![("adls.sas-token.acct.dfs.core.windows.net", "sv=1&sig=two")],
    )
    .await;
    let requests = server.requests();
    let first = &requests[0].head;
    assert!(
        first.starts_with("GET /acct/lake/a/b?sv=1&sig=a%2Bb%3D "),
        "{first}"
    );
    let second = &requests[1].head;
    assert!(
        second.starts_with("GET /acct/lake/a/b?sv=1&sig=two "),
        "{second}"
    );
}

#[tokio::test]
async fn public_buckets_need_no_credentials() {
    let server = Server::start(|_| Answer::found("abc")).await;
    let properties = properties(&[("gcs.endpoint", &server.address), ("gcs.no-auth", "true")]);
    let io = file_io(&properties);
    io.new_input("gs://lake/a").unwrap().read().await.unwrap();
    assert_eq!(server.requests()[0].header("authorization"), None);
}
