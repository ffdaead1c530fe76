//! Who may reach what, case by case.

use std::collections::BTreeMap;

use rstest::rstest;
use tempfile::TempDir;

use super::*;

fn rules(loopback_only: bool, config: SourcesConfig) -> SourceRules {
    SourceRules::new(config, loopback_only, None)
}

fn list(entries: &[&str]) -> Vec<String> {
    entries.iter().map(|entry| (*entry).to_owned()).collect()
}

fn file(uri: &str) -> ParquetLocation {
    ParquetLocation {
        uri: uri.to_owned(),
        s3_endpoint: None,
    }
}

fn roots(entries: &[&str]) -> SourceRules {
    let config = SourcesConfig {
        file_roots: list(entries),
        ..SourcesConfig::default()
    };
    rules(false, config)
}

fn catalog(kind: CatalogType, uri: &str) -> CatalogConfig {
    CatalogConfig {
        kind,
        uri: uri.to_owned(),
        warehouse: None,
        properties: BTreeMap::new(),
    }
}

fn uris(entries: &[&str]) -> SourceRules {
    let config = SourcesConfig {
        catalog_uris: list(entries),
        ..SourcesConfig::default()
    };
    rules(false, config)
}

fn refusal(result: Result<()>) -> String {
    match result {
        Err(error @ Error::NotAllowed { .. }) => error.to_string(),
        other => panic!("expected a refusal, found {other:?}"),
    }
}

#[test]
fn a_server_on_loopback_limits_only_what_is_listed() {
    let open = rules(true, SourcesConfig::default());
    let table = TableName::parse("default", "any.table").unwrap();
    open.check_file(&file("/etc/passwd")).unwrap();
    open.check_sent_catalog(&catalog(CatalogType::Rest, "http://any"), Some("ANY"))
        .unwrap();
    open.check_dataset(&table).unwrap();

    let config = SourcesConfig {
        environment: list(&["LAKE_TOKEN"]),
        ..SourcesConfig::default()
    };
    let partly = rules(true, config);
    partly.check_file(&file("/etc/passwd")).unwrap();
    let refused = partly.check_sent_catalog(&catalog(CatalogType::Rest, "http://any"), Some("ANY"));
    assert_eq!(
        refusal(refused),
        "environment variable `ANY` is not allowed; add it to sources.environment"
    );
}

#[test]
fn a_reachable_server_without_lists_reaches_its_repository_only() {
    let folder = TempDir::new().unwrap();
    let repo = folder.path().join("repo");
    std::fs::create_dir(&repo).unwrap();
    let rules = SourceRules::new(SourcesConfig::default(), false, Some(repo.clone()));
    let inside = repo.join("data/x.parquet").display().to_string();
    rules.check_file(&file(&inside)).unwrap();
    let outside = folder.path().join("x.parquet").display().to_string();
    assert!(refusal(rules.check_file(&file(&outside))).contains("sources.file_roots"));
    refusal(rules.check_file(&file("s3://bucket/x")));
    refusal(rules.check_sent_catalog(&catalog(CatalogType::Rest, "http://any"), None));
    refusal(rules.check_dataset(&TableName::parse("default", "any.table").unwrap()));
}

#[test]
fn a_list_replaces_the_repository() {
    let config = SourcesConfig {
        file_roots: list(&["/lake"]),
        ..SourcesConfig::default()
    };
    let rules = SourceRules::new(config, true, Some(PathBuf::from("/repo")));
    rules.check_file(&file("/lake/x.parquet")).unwrap();
    refusal(rules.check_file(&file("/repo/x.parquet")));
}

#[rstest]
#[case("/lake", "/lake", true)]
#[case("/lake", "file:///lake/a/b.parquet", true)]
#[case("file:///lake/", "/lake/a", true)]
#[case("/lake", "/lakes/a", false)]
#[case("/lake", "/lake/../etc/passwd", false)]
#[case("/lake", "/lake/a/../b", true)]
#[case("/", "/etc/passwd", true)]
#[case("/lake", "s3://lake/a", false)]
#[case("s3://b/x", "s3://b/x/y.parquet", true)]
#[case("s3://b/x/", "s3a://b/x", true)]
#[case("s3://b/x", "s3://b/xy/z", false)]
#[case("s3://b", "s3://b/x", true)]
#[case("s3://b", "s3://bc/x", false)]
#[case("s3://b/x", "s3://b/x/../y", false)]
fn files_lie_below_a_root(#[case] root: &str, #[case] uri: &str, #[case] allowed: bool) {
    let checked = roots(&[root]).check_file(&file(uri));
    assert_eq!(checked.is_ok(), allowed, "{checked:?}");
}

#[test]
fn links_out_of_a_root_are_followed_and_refused() {
    let folder = TempDir::new().unwrap();
    let (root, outside) = (folder.path().join("root"), folder.path().join("outside"));
    std::fs::create_dir(&root).unwrap();
    std::fs::create_dir(&outside).unwrap();
    std::os::unix::fs::symlink(&outside, root.join("out")).unwrap();
    std::os::unix::fs::symlink(folder.path().join("nothing"), root.join("dangling")).unwrap();
    std::os::unix::fs::symlink(&root, folder.path().join("alias")).unwrap();
    let rules = roots(&[&root.display().to_string()]);
    let at = |path: &str| file(&folder.path().join(path).display().to_string());
    rules.check_file(&at("root/new/x.parquet")).unwrap();
    rules.check_file(&at("alias/x.parquet")).unwrap();
    refusal(rules.check_file(&at("root/out/x.parquet")));
    refusal(rules.check_file(&at("root/dangling")));
}

#[test]
fn an_endpoint_is_trusted_from_the_registry_and_checked_from_a_client() {
    let config = SourcesConfig {
        file_roots: list(&["s3://lake"]),
        catalog_uris: list(&["http://minio:9000"]),
        ..SourcesConfig::default()
    };
    let rules = rules(false, config);
    let at = |endpoint: &str| ParquetLocation {
        s3_endpoint: Some(endpoint.to_owned()),
        ..file("s3://lake/x")
    };
    rules.check_file(&at("http://evil")).unwrap();
    rules.check_sent_file(&at("http://minio:9000")).unwrap();
    let refused = refusal(rules.check_sent_file(&at("http://evil")));
    assert!(refused.contains("sources.catalog_uris"), "{refused}");
    refusal(rules.check_sent_file(&file("s3://other/x")));
}

#[rstest]
#[case("http://host:8181", true)]
#[case("HTTP://HOST:8181/", true)]
#[case("http://host:8181/v1/catalog", true)]
#[case("https://host:8181", false)]
#[case("http://host:81810", false)]
#[case("http://host:8181@evil", false)]
#[case("http://user@host:8181", false)]
#[case("http://host:8181?x=y", false)]
#[case("http://host:8181#x", false)]
#[case("http://host:8181\\@evil", false)]
#[case("http://evil/http://host:8181", false)]
#[case("https://tls.example.com:443/api/v1", true)]
#[case("https://tls.example.com/api", true)]
#[case("https://tls.example.com/apis", false)]
#[case("https://tls.example.com/api/../admin", false)]
#[case("https://tls.example.com/api/%2E%2e/admin", false)]
fn rest_addresses_are_compared_by_host_and_segment(#[case] uri: &str, #[case] allowed: bool) {
    let rules = uris(&["http://host:8181", "https://tls.example.com/api"]);
    let checked = rules.check_sent_catalog(&catalog(CatalogType::Rest, uri), None);
    assert_eq!(checked.is_ok(), allowed, "{checked:?}");
}

#[rstest]
#[case("postgresql+psycopg2://ann:secret@db:5432/lake?sslmode=require", true)]
#[case("postgresql://ann:secret@db/lake", true)]
#[case("postgresql://ann:secret@db/other", false)]
#[case("postgresql://ann:secret@db/lake?host=evil", false)]
#[case("postgresql://ann:secret@evil/lake", false)]
fn databases_are_compared_by_host_and_name(#[case] uri: &str, #[case] allowed: bool) {
    let rules = uris(&["postgresql://db/lake"]);
    let checked = rules.check_sent_catalog(&catalog(CatalogType::Sql, uri), None);
    assert_eq!(checked.is_ok(), allowed, "{checked:?}");
    assert!(!format!("{checked:?}").contains("secret"));
}

#[rstest]
#[case("sqlite:////lake/catalog.db", "/lake/w", true)]
#[case("sqlite:////etc/catalog.db", "/lake/w", false)]
#[case("sqlite:////lake/catalog.db", "/etc", false)]
#[case("sqlite:////lake/catalog.db", "w", false)]
#[case("sqlite:////lake/catalog.db", "s3://bucket", false)]
fn sqlite_files_and_warehouses_lie_below_a_root(
    #[case] uri: &str,
    #[case] warehouse: &str,
    #[case] allowed: bool,
) {
    let sent = CatalogConfig {
        warehouse: Some(warehouse.to_owned()),
        ..catalog(CatalogType::Sql, uri)
    };
    let checked = roots(&["/lake"]).check_sent_catalog(&sent, None);
    assert_eq!(checked.is_ok(), allowed, "{checked:?}");
}

#[rstest]
#[case("token", "anything", true)]
#[case("prefix", "lake", true)]
#[case("prefix", "../../admin", false)]
#[case("s3.endpoint", "http://host:8181/s3", true)]
#[case("s3.endpoint", "http://evil", false)]
#[case("s3.endpoint", "evil:80", false)]
#[case("oauth2-server-uri", "http://evil/token", false)]
#[case("anything", "http://evil", false)]
fn properties_name_no_other_address(#[case] key: &str, #[case] value: &str, #[case] allowed: bool) {
    let mut sent = catalog(CatalogType::Rest, "http://host:8181");
    sent.properties.insert(key.to_owned(), value.to_owned());
    let checked = uris(&["http://host:8181"]).check_sent_catalog(&sent, None);
    assert_eq!(checked.is_ok(), allowed, "{checked:?}");
}

#[rstest]
#[case("", &[("glue.region", "eu-west-1")], true)]
#[case("", &[("glue.region", "us-east-1")], false)]
#[case("", &[], false)]
#[case("sqlite:////lake/c.db", &[("glue.region", "us-east-1")], false)]
#[case("", &[("glue.region", "eu-west-1"), ("glue.endpoint", "http://evil")], false)]
#[case("", &[("glue.region", "eu-west-1"), ("client.role-arn", "arn:aws:iam::1:role/r")], false)]
#[case("", &[("glue.region", "eu-west-1"), ("client.assume-role.arn", "arn:aws:iam::1:role/r")], false)]
#[case("", &[("glue.region", "eu-west-1"), ("glue.profile-name", "admin")], false)]
#[case("", &[("glue.region", "eu-west-1"), ("s3.ca-bundle", "/etc/passwd")], false)]
#[case("", &[("glue.region", "eu-west-1"), ("adls.account-host", "evil")], false)]
#[case("", &[("glue.region", "eu-west-1"), ("adls.connection-string", "BlobEndpoint=evil")], false)]
fn glue_is_allowed_by_the_address_of_its_region(
    #[case] uri: &str,
    #[case] properties: &[(&str, &str)],
    #[case] allowed: bool,
) {
    let own = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
    let sent = CatalogConfig {
        properties: properties.iter().map(own).collect(),
        ..catalog(CatalogType::Glue, uri)
    };
    let checked = uris(&["https://glue.eu-west-1.amazonaws.com"]).check_sent_catalog(&sent, None);
    assert_eq!(checked.is_ok(), allowed, "{checked:?}");
}

#[rstest]
#[case("saved.x", true)]
#[case("saved.deep.x", true)]
#[case("team.a.x", true)]
#[case("team.x", false)]
#[case("savedx.x", false)]
fn datasets_go_to_listed_namespaces(#[case] table: &str, #[case] allowed: bool) {
    let config = SourcesConfig {
        dataset_namespaces: list(&["saved", "team.a"]),
        ..SourcesConfig::default()
    };
    let table = TableName::parse("default", table).unwrap();
    let checked = rules(false, config).check_dataset(&table);
    assert_eq!(checked.is_ok(), allowed, "{checked:?}");
}
