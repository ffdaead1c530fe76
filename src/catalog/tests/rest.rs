//! The REST client against a scripted server: who is asked for what, with which token, and what an answer means.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use iceberg::spec::{NestedField, PrimitiveType, Schema, TableMetadataBuilder, Type};
use iceberg::{TableCreation, TableRequirement, TableUpdate};
use rstest::rstest;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;

use super::http::{Request, read};
use super::*;
use crate::catalog::commit::Outcome;

const CANARY: &str = "hunter2";

type Seen = Arc<Mutex<Vec<Request>>>;
type Answer = (u16, Value);

/// A server that gives tokens and its configuration, and `answer`s everything else.
async fn server(
    answer: impl Fn(&Request, usize) -> Answer + Send + Sync + 'static,
) -> (String, Seen) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let seen = Seen::default();
    let known = Arc::clone(&seen);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let request = read(&mut stream).await;
            let number = known
                .lock()
                .unwrap()
                .iter()
                .filter(|it| it.is(&request.line))
                .count();
            known.lock().unwrap().push(request.clone());
            let (status, body) = match request.line.as_str() {
                "POST /v1/oauth/tokens" => (
                    200,
                    json!({"access_token": format!("token-{number}"), "expires_in": 3600}),
                ),
                "GET /v1/config?warehouse=lake" => (200, json!({"overrides": {"prefix": "p"}})),
                _ => answer(&request, number),
            };
            let body = if body.is_null() {
                String::new()
            } else {
                body.to_string()
            };
            let answer = format!(
                "HTTP/1.1 {status} X\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
                body.len()
            );
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    (format!("http://{address}"), seen)
}

fn open(uri: &str, properties: &[(&str, &str)]) -> Catalogs {
    let pairs = properties.iter();
    catalogs(CatalogConfig {
        kind: CatalogType::Rest,
        properties: pairs
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect(),
        ..config(uri, Some("lake"))
    })
}

fn table() -> TableName {
    TableName::parse("default", "demo.stats").unwrap()
}

const TABLE: &str = "/v1/p/namespaces/demo/tables/stats";

fn loaded() -> Answer {
    let field = NestedField::optional(1, "id", Type::Primitive(PrimitiveType::Long));
    let schema = Schema::builder()
        .with_fields([field.into()])
        .build()
        .unwrap();
    let creation = TableCreation::builder()
        .name("stats".to_owned())
        .location("file:///lake/stats".to_owned())
        .schema(schema)
        .build();
    let metadata = TableMetadataBuilder::from_table_creation(creation)
        .unwrap()
        .build()
        .unwrap()
        .metadata;
    (
        200,
        json!({"metadata-location": "file:///lake/stats/metadata/v1.metadata.json", "metadata": metadata}),
    )
}

fn failure(status: u16, kind: &str) -> Answer {
    (
        status,
        json!({"error": {"message": "no", "type": kind, "code": status}}),
    )
}

fn lines(seen: &Seen) -> Vec<String> {
    seen.lock()
        .unwrap()
        .iter()
        .map(|request| request.line.clone())
        .collect()
}

#[tokio::test]
async fn a_refused_token_is_replaced_once_and_the_request_repeated() {
    let (uri, seen) = server(|request, _| match request.header("authorization") {
        Some("Bearer token-1") => loaded(),
        _ => failure(401, "NotAuthorizedException"),
    })
    .await;
    // The server's configuration is public here; the first token is refused for the table.
    let catalogs = open(
        &uri,
        &[
            ("credential", "ann:hunter2"),
            ("scope", "all"),
            ("header.X-Tenant", "7"),
        ],
    );
    catalogs.load_table(&table()).await.unwrap();
    catalogs.load_table(&table()).await.unwrap();
    let load = format!("GET {TABLE}");
    assert_eq!(
        lines(&seen),
        [
            "POST /v1/oauth/tokens",
            "GET /v1/config?warehouse=lake",
            &load,
            "POST /v1/oauth/tokens",
            &load,
            &load
        ]
    );
    let seen = seen.lock().unwrap();
    assert_eq!(
        seen[0].body,
        "grant_type=client_credentials&client_id=ann&client_secret=hunter2&scope=all"
    );
    assert_eq!(
        seen[2].header("x-iceberg-access-delegation"),
        Some("vended-credentials")
    );
    assert_eq!(seen[2].header("x-tenant"), Some("7"));
}

#[tokio::test]
async fn a_token_without_a_credential_is_used_as_it_is() {
    let (uri, seen) = server(|_, _| failure(401, "NotAuthorizedException")).await;
    let error = open(&uri, &[("token", CANARY)])
        .load_table(&table())
        .await
        .unwrap_err();
    assert!(
        matches!(error, Error::CatalogUnavailable { .. }),
        "{error:?}"
    );
    assert!(!format!("{error} {error:?}").contains(CANARY));
    assert_eq!(lines(&seen).len(), 2);
}

#[tokio::test]
async fn listings_have_pages_and_namespaces_levels() {
    let (uri, _) = server(|request, _| match request.line.as_str() {
        "GET /v1/p/namespaces/a%1Fb/tables" => {
            let one = json!([{"namespace": ["a", "b"], "name": "one"}]);
            (200, json!({"identifiers": one, "next-page-token": "more&"}))
        }
        "GET /v1/p/namespaces/a%1Fb/tables?pageToken=more%26" => (
            200,
            json!({"identifiers": [{"namespace": ["a", "b"], "name": "two"}]}),
        ),
        line => panic!("{line}"),
    })
    .await;
    let catalog = open(&uri, &[]).get("default").await.unwrap();
    let namespace = NamespaceIdent::from_strs(["a", "b"]).unwrap();
    let tables = catalog.list_tables(&namespace).await.unwrap();
    let names: Vec<&str> = tables.iter().map(|table| table.name()).collect();
    assert_eq!(names, ["one", "two"]);
}

#[tokio::test]
async fn reads_are_repeated_while_the_server_is_busy() {
    let (uri, seen) = server(|_, number| {
        if number < 2 {
            (503, Value::Null)
        } else {
            loaded()
        }
    })
    .await;
    open(&uri, &[]).load_table(&table()).await.unwrap();
    assert_eq!(lines(&seen).len(), 4);
}

/// What a commit of a property becomes at a server that answers it like this.
async fn commit(answer: Answer) -> (Result<Outcome>, Seen) {
    let (uri, seen) = server(move |request, _| match request.line.starts_with("GET") {
        true => loaded(),
        false => answer.clone(),
    })
    .await;
    let catalogs = open(&uri, &[]);
    let base = catalogs.load_table(&table()).await.unwrap();
    let committer = catalogs.committer("default").await.unwrap();
    let uuid = base.metadata().uuid();
    let updates = HashMap::from([("a".to_owned(), "b".to_owned())]);
    let requirements = vec![TableRequirement::UuidMatch { uuid }];
    let updates = vec![TableUpdate::SetProperties { updates }];
    (committer.commit(&base, requirements, updates).await, seen)
}

#[tokio::test]
async fn a_commit_names_all_that_it_depends_on() {
    let (outcome, seen) = commit(loaded()).await;
    let Ok(Outcome::Committed(table)) = outcome else {
        panic!("{outcome:?}");
    };
    assert!(
        table
            .metadata_location()
            .unwrap()
            .ends_with("v1.metadata.json")
    );
    let seen = seen.lock().unwrap();
    let request = seen.last().unwrap();
    assert!(request.is(&format!("POST {TABLE}")));
    let body: Value = serde_json::from_str(&request.body).unwrap();
    let types: Vec<&str> = body["requirements"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| it["type"].as_str().unwrap())
        .collect();
    assert_eq!(
        types,
        [
            "assert-table-uuid",
            "assert-current-schema-id",
            "assert-last-assigned-field-id",
            "assert-default-spec-id",
            "assert-default-sort-order-id",
            "assert-last-assigned-partition-id",
            "assert-ref-snapshot-id",
        ]
    );
    assert_eq!(body["updates"][0]["updates"]["a"], "b");
}

#[rstest]
#[case(409, "CommitFailedException", "conflict")]
#[case(500, "", "unknown")]
#[case(502, "", "unknown")]
#[case(503, "", "unknown")]
#[case(504, "", "unknown")]
#[case(404, "NoSuchTableException", "error")]
#[case(403, "ForbiddenException", "error")]
#[case(400, "BadRequestException", "error")]
#[tokio::test]
async fn outcomes_of_commits_are_told_apart(
    #[case] status: u16,
    #[case] kind: &'static str,
    #[case] expected: &str,
) {
    let (outcome, seen) = commit(failure(status, kind)).await;
    let found = match &outcome {
        Ok(Outcome::Committed(_)) => "committed",
        Ok(Outcome::Conflict { .. }) => "conflict",
        Ok(Outcome::Unknown { .. }) => "unknown",
        Err(_) => "error",
    };
    assert_eq!(found, expected, "{outcome:?}");
    // None of them may be sent twice.
    assert_eq!(
        lines(&seen)
            .iter()
            .filter(|line| line.starts_with("POST"))
            .count(),
        1
    );
}

#[tokio::test]
async fn a_table_that_was_changed_is_not_dropped() {
    let (uri, seen) = server(|_, number| {
        let (status, mut body) = loaded();
        if number > 0 {
            body["metadata-location"] = "file:///lake/stats/metadata/v2.metadata.json".into();
        }
        (status, body)
    })
    .await;
    let catalogs = open(&uri, &[]);
    let base = catalogs.load_table(&table()).await.unwrap();
    let committer = catalogs.committer("default").await.unwrap();
    assert!(!committer.drop_unchanged(&base).await.unwrap());
    assert!(!lines(&seen).iter().any(|line| line.starts_with("DELETE")));
}

#[tokio::test]
async fn a_token_server_that_repeats_the_secret_is_not_quoted() {
    let (uri, _) = server(|_, _| failure(400, CANARY)).await;
    let oauth = format!("{uri}/elsewhere");
    let catalogs = open(
        &uri,
        &[("credential", "ann:hunter2"), ("oauth2-server-uri", &oauth)],
    );
    let error = catalogs.load_table(&table()).await.unwrap_err();
    assert!(
        matches!(&error, Error::CatalogUnavailable { message, .. } if message.contains("OAuth2 server")),
        "{error}"
    );
    assert!(!format!("{error} {error:?} {catalogs:?}").contains(CANARY));
}

#[tokio::test]
async fn a_server_that_repeats_secrets_is_not_quoted() {
    let (uri, _) = server(|request, _| {
        let (status, mut body) = failure(400, "BadRequestException");
        body["error"]["message"] = format!("cannot read {}", request.head).into();
        (status, body)
    })
    .await;
    let properties = [("credential", "ann:hunter2"), ("header.X-Key", "hunter3")];
    let error = open(&uri, &properties)
        .load_table(&table())
        .await
        .unwrap_err()
        .to_string();
    assert!(
        error.ends_with("the server answered 400 Bad Request"),
        "{error}"
    );
}

#[rstest]
#[case("rest.sigv4-enabled", "true")]
#[case("auth.type", "google")]
fn what_is_not_supported_is_a_fault(#[case] key: &str, #[case] value: &str) {
    let mut config = config("http://host", None);
    config.kind = CatalogType::Rest;
    config.properties.insert(key.to_owned(), value.to_owned());
    let faults = config.faults("catalogs.x");
    assert!(faults.len() == 1 && faults[0].contains(key), "{faults:?}");
}
