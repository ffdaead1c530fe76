//! PostgreSQL and REST catalogs: what is accepted, what never shows, and what an outage looks like.

use rstest::rstest;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;

fn rest(uri: &str) -> CatalogConfig {
    CatalogConfig {
        kind: CatalogType::Rest,
        ..config(uri, Some("lake"))
    }
}

fn table() -> TableName {
    TableName::parse("default", "demo.stats").unwrap()
}

/// Answers every request with this status and body.
async fn answering(status: &'static str, body: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = vec![0; 8192];
            let read = stream.read(&mut request).await.unwrap();
            let is_config = request[..read].starts_with(b"GET /v1/config");
            let (status, body) = match is_config {
                true => ("200 OK", r#"{"defaults": {}, "overrides": {}}"#),
                false => (status, body),
            };
            let answer = format!(
                "HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
                body.len()
            );
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    format!("http://{address}")
}

#[rstest]
#[case("postgresql://ann:secret@db:5432/lake")]
#[case("postgresql+psycopg2://ann:secret@db/lake?sslmode=require")]
#[case("postgresql+asyncpg://db/lake?prepared_statement_cache_size=0")]
#[case("postgres:///lake?host=/run/postgresql")]
fn postgresql_is_accepted_as_sqlalchemy_writes_it(#[case] uri: &str) {
    assert_eq!(faults(uri, "w"), [""; 0]);
}

#[rstest]
#[case("postgresql://ann@db:port/lake")]
#[case("postgresql://ann@db/lake?sslmode=perhaps")]
fn faults_of_postgresql_show_no_password(#[case] uri: &str) {
    let found = faults(&uri.replace("ann", "ann:hunter2"), "w");
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(!found[0].contains("hunter2"), "{found:?}");
}

#[tokio::test]
async fn postgresql_that_is_down_is_unavailable_and_shows_no_password() {
    let catalogs = catalogs(config(
        "postgresql+psycopg2://ann:hunter2@127.0.0.1:1/lake",
        None,
    ));
    let error = catalogs.load_table(&table()).await.unwrap_err();
    assert!(matches!(error, Error::CatalogUnavailable { .. }), "{error}");
    assert!(error.to_string().contains("127.0.0.1:1"), "{error}");
    assert!(!format!("{error} {error:?}").contains("hunter2"));
}

#[rstest]
#[case("http://localhost:8181", 0)]
#[case("https://catalog.example.com/api/", 0)]
#[case("thrift://metastore", 1)]
#[case("http://", 1)]
#[case("http://user:secret@host", 1)]
fn rest_catalogs_have_a_web_address(#[case] uri: &str, #[case] count: usize) {
    let found = rest(uri).faults("catalogs.x");
    assert_eq!(found.len(), count, "{found:?}");
    assert!(!format!("{found:?}").contains("secret"));
}

#[rstest]
#[case("http://127.0.0.1:1", "refused")]
#[case("https://127.0.0.1:1", "refused")]
#[tokio::test]
async fn a_rest_catalog_that_is_down_is_unavailable(#[case] uri: &str, #[case] expected: &str) {
    let error = catalogs(rest(uri)).load_table(&table()).await.unwrap_err();
    assert!(
        matches!(&error, Error::CatalogUnavailable { message, .. } if message.contains(expected)),
        "{error}"
    );
}

#[tokio::test]
async fn a_rest_catalog_that_speaks_no_tls_is_unavailable() {
    let uri = answering("200 OK", "").await.replace("http", "https");
    let error = catalogs(rest(&uri)).load_table(&table()).await.unwrap_err();
    assert!(matches!(error, Error::CatalogUnavailable { .. }), "{error}");
    assert!(!error.to_string().contains("scheme"), "{error}");
}

#[tokio::test]
async fn a_rest_catalog_tells_of_missing_tables_and_of_refusals() {
    let missing = answering("404 Not Found", "{}").await;
    let error = catalogs(rest(&missing)).load_table(&table()).await;
    assert!(
        matches!(error, Err(Error::TableNotFound { .. })),
        "{error:?}"
    );

    let refusing = answering("403 Forbidden", "a long page").await;
    let error = catalogs(rest(&refusing)).load_table(&table()).await;
    let error = error.unwrap_err().to_string();
    assert!(
        error.ends_with("the server answered 403 Forbidden"),
        "{error}"
    );
}
