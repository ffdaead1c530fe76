//! SQL registries that Feast made, and what is said of those that cannot be read.

use std::fs;

use rstest::rstest;
use sqlx::{Connection, SqliteConnection};

use super::{VIEWS, catalogs, decoder, file_registry, fixture, opened, repo, view_names};
use crate::proto::feast::core;
use prost::Message;

const PLACE: &str = "{registry_type: sql, path: 'sqlite:///registry.sqlite'}";

#[rstest]
#[case("0.66")]
#[case("0.67")]
#[tokio::test]
async fn a_database_says_what_the_file_says(#[case] release: &str) {
    let repo = repo(PLACE);
    fs::copy(
        fixture(&format!("registry-{release}.sqlite")),
        repo.path().join("registry.sqlite"),
    )
    .unwrap();
    let found = opened(&repo).current().await.unwrap();
    assert_eq!(view_names(&found), VIEWS);
    let file = core::Registry::decode(file_registry(release)).unwrap();
    let file = decoder().registry(&file).unwrap();
    for (found, file) in found.feature_services().zip(file.feature_services()) {
        assert_eq!(
            (&found.name, &found.projections),
            (&file.name, &file.projections)
        );
    }
    assert_eq!(
        found.feature_services().count(),
        file.feature_services().count()
    );
    assert_eq!(found.on_demand_views().count(), 1);
    let names = |registry: &crate::registry::Registry| -> Vec<String> {
        registry
            .data_sources()
            .map(|(name, _)| name.to_owned())
            .collect()
    };
    assert_eq!(names(&found), names(&file));
}

#[tokio::test]
async fn a_database_that_is_not_there_yet_is_an_empty_project() {
    let repo = repo(PLACE);
    let reader = opened(&repo);
    assert_eq!(reader.current().await.unwrap().feature_views().count(), 0);
    let path = repo.path().join("registry.sqlite");
    fs::write(&path, []).unwrap();
    assert_eq!(reader.current().await.unwrap().feature_views().count(), 0);
    fs::copy(fixture("registry-0.67.sqlite"), &path).unwrap();
    assert_eq!(view_names(&opened(&repo).current().await.unwrap()), VIEWS);
}

#[tokio::test]
async fn each_request_sees_the_newest_apply() {
    let repo = repo(PLACE);
    let path = repo.path().join("registry.sqlite");
    fs::copy(fixture("registry-0.67.sqlite"), &path).unwrap();
    let reader = opened(&repo);
    let before = reader.current().await.unwrap();
    assert!(before.feature_view("streamed").is_ok());
    let url = format!("sqlite://{}", path.display());
    let mut feast = SqliteConnection::connect(&url).await.unwrap();
    sqlx::query("DELETE FROM stream_feature_views")
        .execute(&mut feast)
        .await
        .unwrap();
    assert!(
        reader
            .current()
            .await
            .unwrap()
            .feature_view("streamed")
            .is_err()
    );
}

#[tokio::test]
async fn a_file_that_is_no_database_is_unavailable() {
    let repo = repo(PLACE);
    fs::write(repo.path().join("registry.sqlite"), [7; 4096]).unwrap();
    let error = opened(&repo).current().await.unwrap_err().to_string();
    assert!(error.contains("sqlite:///registry.sqlite"), "{error}");
}

#[rstest]
#[case("mysql://user:hunter2@host/db")]
#[case("postgresql+psycopg://user:hunter2@host:port/db")]
#[case("sqlite://")]
fn a_database_that_cannot_be_named_is_refused_without_its_password(#[case] url: &str) {
    let repo = repo(&format!("{{registry_type: sql, path: '{url}'}}"));
    let error = super::super::open(repo.path(), &catalogs())
        .unwrap_err()
        .to_string();
    assert!(error.contains("registry.path"), "{error}");
    assert!(!error.contains("hunter2"), "{error}");
}

#[tokio::test]
async fn a_database_that_does_not_answer_is_named_without_its_password() {
    let repo =
        repo("{registry_type: sql, path: 'postgresql+psycopg://ann:hunter2@127.0.0.1:1/db'}");
    let error = opened(&repo).current().await.unwrap_err();
    assert_eq!(error.kind(), crate::error::ErrorKind::Unavailable);
    let text = error.to_string();
    assert!(
        text.contains("127.0.0.1:1") && !text.contains("hunter2"),
        "{text}"
    );
}
