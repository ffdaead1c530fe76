//! AWS Glue: what is accepted, what a commit makes of each answer, and what never shows.

use std::time::Instant;

use iceberg::spec::{NestedField, PrimitiveType, Schema, Type};
use iceberg::{ErrorKind, TableCreation, TableIdent, TableRequirement, TableUpdate};
use rstest::rstest;
use serde_json::json;

use super::glue_server::{Answer, Server, failure};
use super::*;
use crate::catalog::commit::Outcome;

const SECRET: &str = "hunter2";

fn glue(properties: &[(&str, &str)]) -> CatalogConfig {
    let keys = [
        ("glue.region", "eu-west-1"),
        ("glue.access-key-id", "AKIDHUNTER"),
        ("glue.secret-access-key", SECRET),
        ("glue.session-token", SECRET),
    ];
    let all = keys.iter().chain(properties);
    CatalogConfig {
        kind: CatalogType::Glue,
        properties: all
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect(),
        ..config("", None)
    }
}

fn table() -> TableName {
    TableName::parse("default", "demo.stats").unwrap()
}

struct Lab {
    folder: TempDir,
    server: Server,
    catalogs: Catalogs,
}

impl Lab {
    async fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let server = Server::default();
        let config = CatalogConfig {
            warehouse: Some(folder.path().display().to_string()),
            ..glue(&[("glue.endpoint", &server.start().await)])
        };
        let catalogs = catalogs(config);
        Self {
            folder,
            server,
            catalogs,
        }
    }

    /// With a table that has a `timestamptz`.
    async fn with_table() -> (Self, Table) {
        let lab = Self::new().await;
        let catalog = lab.catalogs.get("default").await.unwrap();
        let namespace = NamespaceIdent::new("demo".to_owned());
        let made = catalog
            .create_namespace(&namespace, Default::default())
            .await;
        made.unwrap();
        let table = catalog.create_table(&namespace, creation("stats")).await;
        let table = table.unwrap();
        (lab, table)
    }

    async fn commit(&self, base: &Table) -> Result<Outcome> {
        let committer = self.catalogs.committer("default").await.unwrap();
        let updates = [("owner".to_owned(), "ann".to_owned())].into();
        let update = TableUpdate::SetProperties { updates };
        let uuid = base.metadata().uuid();
        let requirement = TableRequirement::UuidMatch { uuid };
        committer
            .commit(base, vec![requirement], vec![update])
            .await
    }

    fn metadata_files(&self) -> usize {
        let folder = self.folder.path().join("demo.db/stats/metadata");
        std::fs::read_dir(folder).unwrap().count()
    }
}

fn creation(name: &str) -> TableCreation {
    let at = Type::Primitive(PrimitiveType::Timestamptz);
    let field = NestedField::required(1, "event_timestamp", at).into();
    TableCreation::builder()
        .name(name.to_owned())
        .schema(Schema::builder().with_fields([field]).build().unwrap())
        .build()
}

fn denied() -> Answer {
    failure(
        400,
        "AccessDeniedException",
        "User: ann is not authorized to perform: it",
    )
}

#[rstest]
#[case(&[], "", 0)]
#[case(&[], "http://localhost:4566", 0)]
#[case(&[("glue.endpoint", "https://glue.example.com")], "", 0)]
#[case(&[("glue.endpoint", "thrift://metastore")], "", 1)]
#[case(&[("glue.endpoint", "https://ann:hunter2@host")], "", 1)]
#[case(&[("glue.region", "evil.example.com/")], "", 1)]
#[case(&[("glue.secret-access-key", "")], "sqlite:///x.db", 2)]
fn sections_are_checked(
    #[case] properties: &[(&str, &str)],
    #[case] uri: &str,
    #[case] count: usize,
) {
    let config = CatalogConfig {
        uri: uri.to_owned(),
        ..glue(properties)
    };
    let found = config.faults("catalogs.x");
    assert_eq!(found.len(), count, "{found:?}");
    assert!(!format!("{found:?} {config:?}").contains(SECRET));
}

#[test]
fn a_section_needs_no_uri() {
    let config: CatalogConfig = toml::from_str("type = \"glue\"").unwrap();
    assert_eq!(config.faults("catalogs.x"), [""; 0]);
    assert_eq!(config.address(), "https://glue.amazonaws.com");
    assert_eq!(glue(&[]).address(), "https://glue.eu-west-1.amazonaws.com");
    let sql: CatalogConfig = toml::from_str("type = \"sql\"").unwrap();
    assert_eq!(sql.faults("catalogs.x").len(), 1);
    let rest: CatalogConfig = toml::from_str("type = \"rest\"").unwrap();
    assert_eq!(rest.faults("catalogs.x").len(), 1);
}

#[tokio::test]
async fn a_table_is_made_changed_and_read() {
    let (lab, made) = Lab::with_table().await;
    let Ok(Outcome::Committed(changed)) = lab.commit(&made).await else {
        panic!("expected a commit");
    };
    let read = lab.catalogs.load_table(&table()).await.unwrap();
    assert_eq!(read.metadata_location(), changed.metadata_location());
    assert_eq!(read.metadata().properties()["owner"], "ann");
    let folder = format!("file://{}", lab.folder.path().display());
    let location = read.metadata().location().trim_start_matches("file://");
    assert_eq!(
        location,
        format!("{folder}/demo.db/stats").trim_start_matches("file://")
    );

    let state = lab.server.0.lock().unwrap();
    let stored = &state.tables["stats"];
    assert_eq!(
        stored["Parameters"]["previous_metadata_location"],
        made.metadata_location().unwrap()
    );
    assert_eq!(
        stored["StorageDescriptor"]["Columns"][0]["Type"],
        "timestamp"
    );
    let update = state
        .bodies
        .iter()
        .find(|body| body["VersionId"] == "0")
        .unwrap();
    assert_eq!(update["SkipArchive"], true);
}

#[tokio::test]
async fn what_others_keep_with_a_table_stays() {
    let (lab, made) = Lab::with_table().await;
    {
        let mut state = lab.server.0.lock().unwrap();
        let stored = state.tables.get_mut("stats").unwrap();
        stored["Parameters"]["optimizer"] = json!("on");
        stored["Description"] = json!("by hand");
        stored["StorageDescriptor"]["InputFormat"] = json!("other");
    }
    lab.commit(&made).await.unwrap();
    let state = lab.server.0.lock().unwrap();
    let stored = &state.tables["stats"];
    assert_eq!(stored["Parameters"]["optimizer"], "on");
    assert_eq!(stored["Description"], "by hand");
    assert_eq!(stored["StorageDescriptor"]["InputFormat"], "other");
}

#[tokio::test]
async fn a_table_that_others_changed_is_a_conflict_whose_file_is_told() {
    let (lab, made) = Lab::with_table().await;
    let conflict = failure(400, "ConcurrentModificationException", "another version");
    lab.server.next("UpdateTable", conflict);
    // The refusal may be that of a second sending, and the file the table's.
    let refused = lab.commit(&made).await;
    assert!(matches!(refused, Ok(Outcome::Conflict { wrote: Some(_) })));
    assert_eq!(lab.metadata_files(), 2);

    assert!(matches!(lab.commit(&made).await, Ok(Outcome::Committed(_))));
    assert!(matches!(
        lab.commit(&made).await,
        Ok(Outcome::Conflict { .. })
    ));
    assert_eq!(lab.metadata_files(), 3);
    let committer = lab.catalogs.committer("default").await.unwrap();
    assert!(!committer.drop_unchanged(&made).await.unwrap());
    let now = lab.catalogs.load_table(&table()).await.unwrap();
    assert!(committer.drop_unchanged(&now).await.unwrap());
}

#[tokio::test]
async fn a_commit_whose_answer_is_lost_keeps_its_files_and_is_not_repeated() {
    let (lab, made) = Lab::with_table().await;
    let lost = failure(500, "InternalServiceException", "try again");
    lab.server.next_after_doing("UpdateTable", lost);
    let outcome = lab.commit(&made).await;
    assert!(
        matches!(outcome, Ok(Outcome::Unknown { .. })),
        "{outcome:?}"
    );
    assert_eq!(
        (lab.metadata_files(), lab.server.count("UpdateTable")),
        (2, 1)
    );
    let read = lab.catalogs.load_table(&table()).await.unwrap();
    assert_eq!(read.metadata().properties()["owner"], "ann");
}

#[tokio::test]
async fn throttled_requests_are_sent_again() {
    let (lab, made) = Lab::with_table().await;
    for action in ["UpdateTable", "UpdateTable", "GetTable"] {
        lab.server
            .next(action, failure(400, "ThrottlingException", "Rate exceeded"));
    }
    assert!(matches!(lab.commit(&made).await, Ok(Outcome::Committed(_))));
    assert_eq!(lab.server.count("UpdateTable"), 3);

    for _ in 0..20 {
        lab.server.next(
            "GetTable",
            failure(400, "ThrottlingException", "Rate exceeded"),
        );
    }
    let error = lab.catalogs.load_table(&table()).await.unwrap_err();
    assert!(matches!(error, Error::CatalogUnavailable { .. }), "{error}");
    assert!(error.to_string().contains("Rate exceeded"), "{error}");
}

#[tokio::test]
async fn a_denied_action_is_named() {
    let (lab, made) = Lab::with_table().await;
    lab.server.next("GetTable", denied());
    let error = lab.catalogs.load_table(&table()).await.unwrap_err();
    let expected = "catalog `default` is unavailable: glue:GetTable is denied: User: ann is not authorized to perform: it";
    assert_eq!(error.to_string(), expected);

    lab.server.next("UpdateTable", denied());
    let error = lab.commit(&made).await.unwrap_err();
    assert!(
        error.to_string().contains("glue:UpdateTable is denied"),
        "{error}"
    );
    assert_eq!(lab.metadata_files(), 1);
}

#[tokio::test]
async fn a_table_that_is_not_there_is_missing() {
    let (lab, made) = Lab::with_table().await;
    let other = TableName::parse("default", "demo.other").unwrap();
    let error = lab.catalogs.load_table(&other).await.unwrap_err();
    assert!(matches!(error, Error::TableNotFound { .. }), "{error}");
    lab.server.next(
        "UpdateTable",
        failure(400, "EntityNotFoundException", "gone"),
    );
    let error = lab.commit(&made).await.unwrap_err();
    assert!(matches!(error, Error::TableNotFound { .. }), "{error}");
    assert_eq!(lab.metadata_files(), 1);
}

#[tokio::test]
async fn what_is_not_icebergs_is_told_so_and_not_listed() {
    let (lab, _) = Lab::with_table().await;
    let hive = json!({"Name": "hive", "Parameters": {"table_type": "x"}, "VersionId": "0"});
    lab.server
        .0
        .lock()
        .unwrap()
        .tables
        .insert("hive".to_owned(), hive);
    let catalog = lab.catalogs.get("default").await.unwrap();
    let namespace = NamespaceIdent::new("demo".to_owned());
    let listed = catalog.list_tables(&namespace).await.unwrap();
    assert_eq!(
        listed,
        [TableIdent::new(namespace.clone(), "stats".to_owned())]
    );
    assert_eq!(lab.server.count("GetTables"), 2);
    let hive = TableName::parse("default", "demo.hive").unwrap();
    let error = lab.catalogs.load_table(&hive).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "table: `hive` is not an Iceberg table in AWS Glue"
    );

    let refused = catalog.drop_namespace(&namespace).await.unwrap_err();
    assert!(refused.to_string().contains("not empty"), "{refused}");
}

#[tokio::test]
async fn tables_are_renamed_registered_and_dropped() {
    let (lab, made) = Lab::with_table().await;
    let catalog = lab.catalogs.get("default").await.unwrap();
    let name = |name: &str| TableIdent::new(made.identifier().namespace().clone(), name.to_owned());
    catalog
        .rename_table(&name("stats"), &name("other"))
        .await
        .unwrap();
    assert!(!catalog.table_exists(&name("stats")).await.unwrap());
    let file = made.metadata_location().unwrap().to_owned();
    let again = catalog.register_table(&name("again"), file).await.unwrap();
    assert_eq!(again.metadata().uuid(), made.metadata().uuid());

    lab.server.next("DeleteTable", denied());
    let error = catalog.rename_table(&name("other"), &name("third")).await;
    assert!(error.is_err());
    assert!(!catalog.table_exists(&name("third")).await.unwrap());
    catalog.drop_table(&name("other")).await.unwrap();
    let error = catalog.drop_table(&name("other")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TableNotFound);
}

#[tokio::test]
async fn a_namespace_has_one_level_and_a_table_needs_a_place() {
    let lab = Lab::new().await;
    let deep = TableName::parse("default", "a.b.stats").unwrap();
    let error = lab.catalogs.load_table(&deep).await.unwrap_err();
    let expected = "table: namespace `a.b` has 2 levels; AWS Glue has databases, so one level";
    assert_eq!(error.to_string(), expected);

    let endpoint = lab.server.start().await;
    let placeless = catalogs(glue(&[("glue.endpoint", &endpoint)]));
    let catalog = placeless.get("default").await.unwrap();
    let namespace = NamespaceIdent::new("demo".to_owned());
    catalog
        .create_namespace(&namespace, Default::default())
        .await
        .unwrap();
    let error = catalog.create_table(&namespace, creation("stats")).await;
    let error = table_error(&table(), error.unwrap_err());
    assert!(error.to_string().contains("no warehouse"), "{error}");
    assert_eq!(placeless.new_location(&table()).await.unwrap(), None);
    let own = lab.catalogs.new_location(&table()).await.unwrap().unwrap();
    assert!(own.contains("/demo.db/stats-"), "{own}");
}

#[tokio::test]
async fn a_glue_that_is_down_is_unavailable_in_bounded_time() {
    let began = Instant::now();
    let catalogs = catalogs(glue(&[("glue.endpoint", "http://127.0.0.1:1")]));
    let error = catalogs.load_table(&table()).await.unwrap_err();
    assert!(matches!(error, Error::CatalogUnavailable { .. }), "{error}");
    assert!(error.to_string().contains("refused"), "{error}");
    assert!(!format!("{error} {error:?}").contains(SECRET));
    assert!(began.elapsed() < Duration::from_secs(20));
}

#[tokio::test]
async fn answers_that_repeat_the_request_show_no_secret() {
    let (lab, made) = Lab::with_table().await;
    let words =
        format!("The signature does not match.\n\nCanonical:\nx-amz-security-token:{SECRET}");
    for action in ["GetTable", "UpdateTable"] {
        lab.server
            .next(action, failure(400, "InvalidSignatureException", &words));
    }
    let read = lab.catalogs.load_table(&table()).await.unwrap_err();
    let commit = lab.commit(&made).await.unwrap_err();
    for error in [read, commit] {
        assert!(error.to_string().contains("does not match"), "{error}");
        assert!(!format!("{error} {error:?}").contains(SECRET), "{error:?}");
    }
}
