//! Catalogs: how they are configured, opened and refused.

mod defined;
mod glue;
mod glue_server;
mod http;
mod remote;
mod rest;

use std::collections::BTreeMap;
use std::path::Path;

use iceberg::NamespaceIdent;
use tempfile::TempDir;

use super::*;

fn config(uri: &str, warehouse: Option<&str>) -> CatalogConfig {
    CatalogConfig {
        kind: CatalogType::Sql,
        uri: uri.to_owned(),
        warehouse: warehouse.map(str::to_owned),
        properties: BTreeMap::new(),
    }
}

fn catalogs(config: CatalogConfig) -> Catalogs {
    Catalogs::connect(&BTreeMap::from([("default".to_owned(), config)])).unwrap()
}

/// A catalog `default` in a folder, for tests that need one of any kind.
pub(crate) fn local(folder: &Path) -> Catalogs {
    let uri = format!("sqlite:///{}/catalog.db", folder.display());
    let warehouse = format!("file://{}/warehouse", folder.display());
    let catalog = config(&uri, Some(&warehouse));
    Catalogs::connect(&BTreeMap::from([("default".to_owned(), catalog)])).unwrap()
}

fn in_folder(folder: &Path) -> CatalogConfig {
    let uri = format!("sqlite:///{}", folder.join("new/catalog.db").display());
    config(&uri, Some(&folder.join("warehouse").display().to_string()))
}

fn faults(uri: &str, warehouse: &str) -> Vec<String> {
    config(uri, Some(warehouse)).faults("catalogs.x")
}

#[test]
fn a_section_reads_as_documented() {
    let text = r#"
        type = "sql"
        uri = "sqlite:///data/catalog.db"
        warehouse = "data/warehouse"
        [properties]
        "s3.region" = "eu-west-1"
    "#;
    let config: CatalogConfig = toml::from_str(text).unwrap();
    assert_eq!(config.warehouse.as_deref(), Some("data/warehouse"));
    assert_eq!(config.properties["s3.region"], "eu-west-1");
    assert!(config.faults("catalogs.x").is_empty());
    assert!(toml::from_str::<CatalogConfig>("type = \"sql\"\nuri = \"\"\nurl = \"\"").is_err());
}

#[test]
fn debug_shows_no_secret() {
    let mut config = config("postgresql://murre:hunter2@db/catalog", None);
    config
        .properties
        .insert("s3.secret-access-key".to_owned(), "hunter3".to_owned());
    let shown = format!("{config:?}");
    assert!(!shown.contains("hunter"), "{shown}");
    assert!(shown.contains("s3.secret-access-key") && shown.contains("postgresql"));
}

#[test]
fn every_fault_is_named() {
    assert_eq!(
        faults("mysql://h/db", "ftp://bucket"),
        [
            "catalogs.x.uri: `mysql` databases are not supported; expected `sqlite:///path` or `postgresql://user@host/database`",
            "catalogs.x.warehouse: `ftp` storage is not supported",
        ]
    );
    assert_eq!(faults("sqlite:///:memory:", "file://relative").len(), 2);
    assert_eq!(faults("catalog.db", "w").len(), 1);
    assert_eq!(faults("sqlite:///catalog.db?timeout=3", "w"), [""; 0]);
    assert_eq!(faults("sqlite:///catalog.db", "s3://bucket/w"), [""; 0]);
    let broken = BTreeMap::from([("x".to_owned(), config("sqlite://host", Some("")))]);
    assert!(matches!(
        Catalogs::connect(&broken),
        Err(Error::InvalidConfig { faults }) if faults.len() == 2
    ));
}

#[tokio::test]
async fn an_unknown_catalog_names_the_known_ones() {
    let folder = TempDir::new().unwrap();
    let error = catalogs(in_folder(folder.path()))
        .get("defualt")
        .await
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "catalog: `defualt` is not configured; catalogs are [default]; did you mean `default`?"
    );
}

#[tokio::test]
async fn a_missing_database_is_unavailable_until_somebody_makes_it() {
    let folder = TempDir::new().unwrap();
    let catalogs = catalogs(in_folder(folder.path()));
    let error = catalogs.get("default").await.unwrap_err();
    assert!(
        matches!(&error, Error::CatalogUnavailable { catalog, message }
        if catalog == "default" && message.contains("catalog.db") && message.contains("does not exist"))
    );
    assert!(!folder.path().join("new").exists());

    catalogs.get_or_create("default").await.unwrap();
    catalogs.get("default").await.unwrap();
}

#[tokio::test]
async fn a_file_that_is_no_database_is_unavailable() {
    let folder = TempDir::new().unwrap();
    std::fs::create_dir(folder.path().join("new")).unwrap();
    std::fs::write(
        folder.path().join("new/catalog.db"),
        "not a database, but long enough to be read as one".repeat(40),
    )
    .unwrap();
    let error = catalogs(in_folder(folder.path()))
        .get("default")
        .await
        .unwrap_err();
    assert!(
        matches!(&error, Error::CatalogUnavailable { message, .. } if message.contains("not a database")),
        "{error}"
    );
}

#[tokio::test]
async fn odd_characters_in_a_path_are_kept() {
    let folder = TempDir::new().unwrap();
    let odd = folder.path().join("a b%20c#d");
    let catalogs = catalogs(in_folder(&odd));
    catalogs.get_or_create("default").await.unwrap();
    assert!(odd.join("new/catalog.db").exists());
}

#[tokio::test]
async fn a_lock_of_another_process_is_waited_for() {
    use sqlx::Connection;
    let folder = TempDir::new().unwrap();
    let catalogs = catalogs(in_folder(folder.path()));
    let catalog = catalogs.get_or_create("default").await.unwrap();
    let file = folder.path().join("new/catalog.db");
    let mut other = sqlx::SqliteConnection::connect(&format!("sqlite://{}", file.display()))
        .await
        .unwrap();
    sqlx::query("BEGIN EXCLUSIVE")
        .execute(&mut other)
        .await
        .unwrap();

    let namespace = NamespaceIdent::new("demo".to_owned());
    let waiting = {
        let (catalog, namespace) = (Arc::clone(&catalog), namespace.clone());
        tokio::spawn(async move {
            catalog
                .create_namespace(&namespace, Default::default())
                .await
        })
    };
    crate::clock::sleep(Duration::from_millis(200)).await;
    assert!(!waiting.is_finished());
    sqlx::query("COMMIT").execute(&mut other).await.unwrap();
    waiting.await.unwrap().unwrap();
    assert!(catalog.namespace_exists(&namespace).await.unwrap());
}

#[test]
fn a_uri_keeps_all_but_its_password() {
    let shown = |uri| redacted_uri(uri);
    assert_eq!(
        shown("postgresql://ann:se:cr@t@db:5432/lake?a=b"),
        "postgresql://ann:[redacted]@db:5432/lake?[redacted]"
    );
    assert_eq!(
        shown("sqlite:///data/catalog.db"),
        "sqlite:///data/catalog.db"
    );
    assert_eq!(shown("https://host/a@b:c"), "https://host/a@b:c");
    assert_eq!(shown("plain"), "plain");
}
