//! Configuration: layers, faults, and documentation that cannot drift.

use std::fs;
use std::time::Duration;

use bytesize::ByteSize;
use insta::assert_snapshot;

use super::*;

const DOCUMENTED: &str = include_str!("../../deploy/murre.toml");

fn load(text: &str, variables: &[(&str, &str)], flags: &Flags) -> Result<LoadedConfig, String> {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("murre.toml");
    fs::write(&file, text).unwrap();
    let variables = variables
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let shorten = |error: Error| {
        error
            .to_string()
            .replace(&format!("{}/", dir.path().display()), "")
    };
    Config::load(Some(&file), variables, flags).map_err(shorten)
}

fn faults(text: &str) -> String {
    load(text, &[], &Flags::default()).expect_err("faults")
}

/// Lines that are a setting behind a `#`; comments have a space there.
fn uncommented(text: &str) -> String {
    let setting = |line: &str| line.starts_with('#') && !line.starts_with("# ") && line != "#";
    text.lines()
        .map(|line| format!("{}\n", if setting(line) { &line[1..] } else { line }))
        .collect()
}

fn leaves(prefix: &str, table: &toml::Table, found: &mut Vec<String>) {
    for (key, value) in table {
        let key = format!("{prefix}{key}");
        match value {
            toml::Value::Table(section) => leaves(&format!("{key}."), section, found),
            _ => found.push(key),
        }
    }
}

#[test]
fn the_documented_file_is_the_default_with_and_without_its_comments() {
    let plain = load(DOCUMENTED, &[], &Flags::default())
        .unwrap()
        .into_config();
    assert_eq!(plain, Config::default());
    let spelled_out = load(&uncommented(DOCUMENTED), &[], &Flags::default())
        .unwrap()
        .into_config();
    assert_eq!(spelled_out, Config::default());
}

#[test]
fn the_documented_file_has_every_key() {
    let (mut documented, mut known) = (Vec::new(), Vec::new());
    leaves(
        "",
        &uncommented(DOCUMENTED).parse().unwrap(),
        &mut documented,
    );
    leaves(
        "",
        &toml::Table::try_from(Config::default()).unwrap(),
        &mut known,
    );
    assert_eq!(documented, known);
}

#[test]
fn nothing_configured_is_the_default() {
    let config = Config::load(None, [], &Flags::default())
        .unwrap()
        .into_config();
    assert_eq!(config, Config::default());
    assert_eq!(config.server.listen.to_string(), "127.0.0.1:8815");
    assert_eq!(config.server.max_message_size, ByteSize::gib(1));
    assert_eq!(config.catalogs.keys().collect::<Vec<_>>(), ["default"]);
    assert_eq!(config.staging.ttl, Duration::from_secs(3600));
}

#[test]
fn flags_win_over_variables_win_over_the_file_wins_over_defaults() {
    let text = "[server]\nlisten = '127.0.0.1:1'\n[telemetry]\nlog = 'warn'\nformat = 'json'\n[engine]\nthreads = 2\n";
    let variables = [
        ("MURRE__SERVER__LISTEN", "127.0.0.1:2"),
        ("MURRE__TELEMETRY__LOG", "debug"),
        ("MURRE_BIN", "elsewhere"),
    ];
    let flags = Flags {
        listen: Some("127.0.0.1:3".to_owned()),
        ..Flags::default()
    };
    let config = load(text, &variables, &flags).unwrap().into_config();
    assert_eq!(config.server.listen.port(), 3);
    assert_eq!(config.telemetry.log, "debug");
    assert_eq!(config.telemetry.format, LogFormat::Json);
    assert_eq!(config.engine.threads, 2);
    assert_eq!(config.engine.batch_size, 8192);
}

#[test]
fn variables_set_numbers_sizes_durations_and_booleans() {
    let variables = [
        ("MURRE__ENGINE__THREADS", "3"),
        ("MURRE__ENGINE__MEMORY_LIMIT", "1073741824"),
        ("MURRE__STAGING__TTL", "2m"),
        ("MURRE__SERVER__INSECURE_ALLOW_REMOTE", "true"),
    ];
    let config = load("", &variables, &Flags::default())
        .unwrap()
        .into_config();
    assert_eq!(config.engine.thread_count(), 3);
    assert_eq!(config.engine.memory_limit_bytes(), 1 << 30);
    assert_eq!(config.staging.ttl, Duration::from_secs(120));
    assert!(config.server.insecure_allow_remote);
}

#[test]
fn variables_set_lists_with_commas() {
    let variables = [
        ("MURRE__SOURCES__FILE_ROOTS", "/lake, s3://bucket/x"),
        ("MURRE__SOURCES__ENVIRONMENT", ""),
    ];
    let text = "[sources]\nenvironment = ['TOKEN']\ndataset_namespaces = ['saved']\n";
    let sources = load(text, &variables, &Flags::default())
        .unwrap()
        .into_config()
        .sources;
    assert_eq!(sources.file_roots, ["/lake", "s3://bucket/x"]);
    assert_eq!(sources.environment, [""; 0]);
    assert_eq!(sources.dataset_namespaces, ["saved"]);
    assert!(faults("[sources]\nenvironment = 'TOKEN'\n").contains("sources.environment"));
}

#[test]
fn faults_of_what_may_be_reached_are_named() {
    let text = r#"
[sources]
file_roots = ["data", "ftp://bucket"]
catalog_uris = ["http://host", "host"]
dataset_namespaces = ["a..b"]
[entity_sql]
timeout = "0s"
[on_demand]
timeout = "0s"
"#;
    assert_snapshot!(faults(text), @r#"
    invalid configuration:
      sources.file_roots: ftp:// storage is not supported (murre.toml:3)
      sources.catalog_uris: expected addresses such as "https://host/path", found "host" (murre.toml:4)
      sources.dataset_namespaces: expected namespaces such as "saved" or "team.saved" (murre.toml:5)
      entity_sql.timeout: must be more than 0, or everything would take too long (murre.toml:7)
      on_demand.timeout: must be more than 0, or everything would take too long (murre.toml:9)
    "#);
}

#[test]
fn faults_of_maintenance_are_named() {
    let text = r#"
[maintenance]
interval = "0s"
max_running = 0
memory_limit = "1MiB"
snapshot_age = "59m"
keep_last = 0
orphan_age = "23h"
"#;
    assert_snapshot!(faults(text), @r#"
    invalid configuration:
      maintenance.interval: must be more than 0, or tables would be looked at without a pause; enabled = false turns it off (murre.toml:3)
      maintenance.max_running: must be from 1 to 64 (murre.toml:4)
      maintenance.memory_limit: must be 16 MiB at least (murre.toml:5)
      maintenance.snapshot_age: must be 1 hour at least, since readers may need a snapshot for so long (murre.toml:6)
      maintenance.keep_last: must be 1 at least (murre.toml:7)
      maintenance.orphan_age: must be 1 day at least, since younger files may belong to a write that goes on (murre.toml:8)
    "#);
    assert!(faults("[maintenance]\ninterwal = '1s'\n").contains("interwal"));
}

#[test]
fn maintenance_can_be_turned_off_in_whole_or_in_part() {
    let variables = [
        ("MURRE__MAINTENANCE__ENABLED", "false"),
        ("MURRE__MAINTENANCE__GC_INTERVAL", "0s"),
        ("MURRE__MAINTENANCE__JOURNAL", ""),
    ];
    let loaded = load("", &variables, &Flags::default()).unwrap();
    let described = loaded.describe();
    assert!(
        described.contains("maintenance.snapshot_age = \"5days\"\n"),
        "{described}"
    );
    let maintenance = loaded.into_config().maintenance;
    assert!(!maintenance.enabled);
    assert!(maintenance.gc_interval.is_zero());
    assert!(maintenance.journal.as_os_str().is_empty());
}

#[test]
fn a_feast_repository_comes_by_flag_or_by_setting() {
    let flags = Flags {
        feast_repo: Some(PathBuf::from("feature_repo")),
        listen: Some("localhost:8816".to_owned()),
        ..Flags::default()
    };
    let text = "[registry]\ntype = 'toml'\npath = 'features.toml'\n";
    let by_flag = load(text, &[], &flags).unwrap();
    let described = by_flag.describe();
    assert!(
        described.contains("registry.path = \"feature_repo\"  # flag --feast-repo"),
        "{described}"
    );
    let by_flag = by_flag.into_config();
    assert_eq!(by_flag.server.listen.to_string(), "127.0.0.1:8816");
    let text = "[registry]\ntype = 'feast'\npath = 'feature_repo'\n";
    let by_setting = load(text, &[], &Flags::default()).unwrap().into_config();
    assert_eq!(by_flag.registry, by_setting.registry);
    assert_eq!(by_flag.registry.kind, RegistryType::Feast);
}

#[test]
fn a_catalog_can_be_completed_by_variables() {
    let text = "[catalogs.Prod]\ntype = 'sql'\nwarehouse = 'w'\n[catalogs.Prod.properties]\n's3.path_style' = 'no'\n";
    let variables = [
        ("MURRE__CATALOGS__PROD__URI", "sqlite:///prod.db"),
        (
            "MURRE__CATALOGS__PROD__PROPERTIES__S3__SECRET_ACCESS_KEY",
            "12345",
        ),
        ("MURRE__CATALOGS__PROD__PROPERTIES__S3__PATH_STYLE", "yes"),
    ];
    let config = load(text, &variables, &Flags::default())
        .unwrap()
        .into_config();
    let catalog = toml::Table::try_from(&config.catalogs["Prod"]).unwrap();
    assert_eq!(config.catalogs.len(), 1);
    assert_eq!(catalog["uri"].as_str(), Some("sqlite:///prod.db"));
    assert_eq!(
        catalog["properties"]["s3.secret-access-key"].as_str(),
        Some("12345")
    );
    assert_eq!(catalog["properties"]["s3.path_style"].as_str(), Some("yes"));
}

#[test]
fn properties_stand_where_people_put_them() {
    let text = r#"
[catalogs.lake]
type = "rest"
uri = "http://${HOST}:8181"
credential = "id:${SECRET}"
"s3.endpoint" = "http://s3"
s3.region = "r"
s3.path-style-access = true
[catalogs.lake.header]
X-Tenant = "7"
[catalogs.lake.properties]
token = "t"
client.region = "q"
"#;
    let variables = [
        ("HOST", "catalog"),
        ("SECRET", "${HOST}"),
        ("MURRE__CATALOGS__LAKE__SCOPE", "all"),
        ("MURRE__CATALOGS__LAKE__S3__ENDPOINT", "http://other"),
        ("MURRE__CATALOGS__LAKE__HEADER__X_TENANT", "8"),
    ];
    let loaded = load(text, &variables, &Flags::default()).unwrap();
    let lake = loaded.into_config().catalogs["lake"].clone();
    assert_eq!(lake.uri, "http://catalog:8181");
    let properties: Vec<(&str, &str)> = lake
        .properties
        .iter()
        .map(|(key, value)| (key.as_str(), value.as_str()))
        .collect();
    let expected = [
        ("client.region", "q"),
        ("credential", "id:${HOST}"),
        ("header.X-Tenant", "8"),
        ("s3.endpoint", "http://other"),
        ("s3.path-style-access", "true"),
        ("s3.region", "r"),
        ("scope", "all"),
        ("token", "t"),
    ];
    assert_eq!(properties, expected);
}

#[test]
fn unknown_keys_and_variables_of_catalogs_are_faults() {
    let text = "[catalogs.lake]\ntype = 'rest'\nuri = 'http://host'\ncredentail = 'x'\ntoken = '${NOT_SET}'\n";
    let variables = [("MURRE__CATALOGS__LAKE__URL", "http://other")];
    let error = load(text, &variables, &Flags::default()).unwrap_err();
    for expected in [
        "catalogs.lake.credentail: unknown key",
        "catalogs.lake.properties.token: environment variable `NOT_SET` is not set (murre.toml:5)",
        "catalogs.lake.url: unknown key",
    ] {
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn a_default_catalog_of_another_kind_is_not_completed() {
    let text = "[catalogs.default]\ntype = 'rest'\nuri = 'http://host'\n";
    let config = load(text, &[], &Flags::default()).unwrap().into_config();
    assert_eq!(config.catalogs["default"].warehouse, None);
}

#[test]
fn part_of_the_default_catalog_can_be_changed() {
    let config = load(
        "[catalogs.default]\nwarehouse = 'w'\n",
        &[],
        &Flags::default(),
    )
    .unwrap()
    .into_config();
    let catalog = toml::Table::try_from(&config.catalogs["default"]).unwrap();
    assert_eq!(catalog["warehouse"].as_str(), Some("w"));
    assert_eq!(catalog["uri"].as_str(), Some("sqlite:///data/catalog.db"));
}

#[test]
fn all_faults_are_reported_at_once_with_key_and_origin() {
    let text = r#"
[server]
listn = "127.0.0.1:1"
max_message_size = "huge"
[catalogs.lake]
uri = ""
warehouse = "w"
type = "sqll"
[engine]
threads = -1
batch_size = 0
memory_limit = "1KiB"
[staging]
ttl = "soon"
budget = 0
[telemetry]
format = "xml"
[regestry]
path = "x"
"#;
    let variables = [
        ("MURRE__ENGINE__THREDS", "1"),
        ("MURRE__REGISTRY__PATH", ""),
        ("MURRE__LISTEN", "x"),
        ("MURRE__TABLES__FOOTER_CACHE", "-5"),
    ];
    let flags = Flags {
        listen: Some("0.0.0.0:1".to_owned()),
        log: Some("loud=very".to_owned()),
        ..Flags::default()
    };
    assert_snapshot!(load(text, &variables, &flags).unwrap_err(), @r#"
    invalid configuration:
      server.listn: unknown key; did you mean `listen`? (murre.toml:3)
      server.max_message_size: expected a size such as "512MiB", found string "huge" (murre.toml:4)
      catalogs: at least one catalog is needed (murre.toml:5)
      catalogs.lake.type: expected one of `sql`, `rest`, `glue`, found `sqll`; did you mean `sql`? (murre.toml:8)
      engine.threads: expected a whole number, 0 or more, found integer `-1` (murre.toml:10)
      engine.batch_size: expected 1 to 1048576 rows, found 0 (murre.toml:11)
      engine.memory_limit: expected at least 16 MiB, or 0 for the default, found 1.0 KiB (murre.toml:12)
      staging.ttl: expected a duration such as "1h" or "7d", found string "soon" (murre.toml:14)
      staging.budget: must be more than 0, or nothing could be uploaded (murre.toml:15)
      telemetry.format: expected one of `text`, `json`, found `xml` (murre.toml:17)
      regestry: unknown key; did you mean `registry`, `telemetry`? (murre.toml:18)
      engine.threds: unknown key; did you mean `threads`? (environment variable MURRE__ENGINE__THREDS)
      expected the form MURRE__SECTION__KEY (environment variable MURRE__LISTEN)
      registry.path: must name a file, or the folder of a Feast repository (environment variable MURRE__REGISTRY__PATH)
      tables.footer_cache: expected a size such as "512MiB", found string "-5" (environment variable MURRE__TABLES__FOOTER_CACHE)
      server.listen: `0.0.0.0:1` can be reached from other machines, and this server has neither TLS nor authentication yet; listen on 127.0.0.1, or set server.insecure_allow_remote if the network is trusted (flag --listen)
      telemetry.log: error parsing level filter: expected one of "off", "error", "warn", "info", "debug", "trace", or a number 0-5; expected for example "info" or "info,murre=debug" (flag --log)
    "#);
}

#[test]
fn a_broken_file_and_a_broken_variable_are_reported_together() {
    let error = load(
        "[server\n",
        &[("MURRE__ENGINE__THREADS", "many")],
        &Flags::default(),
    )
    .unwrap_err();
    assert_snapshot!(error, @r"
    invalid configuration:
      unclosed table, expected `]` (murre.toml:1)
      engine.threads: expected a whole number, 0 or more, found a string (environment variable MURRE__ENGINE__THREADS)
    ");
}

#[test]
fn a_file_that_cannot_be_read_is_a_fault() {
    let error = Config::load(
        Some(Path::new("/nowhere/murre.toml")),
        [],
        &Flags::default(),
    )
    .unwrap_err();
    assert_snapshot!(error, @r"
    invalid configuration:
      cannot read the file `/nowhere/murre.toml`: No such file or directory (os error 2) (flag --config)
    ");
}

#[test]
fn listening_beyond_loopback_needs_consent() {
    let text = "[server]\nlisten = '0.0.0.0:8815'\n";
    assert_snapshot!(faults(text), @r"
    invalid configuration:
      server.listen: `0.0.0.0:8815` can be reached from other machines, and this server has neither TLS nor authentication yet; listen on 127.0.0.1, or set server.insecure_allow_remote if the network is trusted (murre.toml:2)
    ");
    let flags = Flags {
        insecure_allow_remote: true,
        ..Flags::default()
    };
    assert_eq!(
        load(text, &[], &flags)
            .unwrap()
            .config()
            .server
            .listen
            .port(),
        8815
    );
    assert!(load("[server]\nlisten = '[::1]:8815'\n", &[], &Flags::default()).is_ok());
}

#[test]
fn the_description_names_origins_and_no_secrets() {
    let text = r#"
[catalogs.lake]
type = "sql"
uri = "sqlite:///lake.db?password=pass-word"
warehouse = "w"
[catalogs.lake.properties]
"s3.secret-access-key" = "pass-word"
"#;
    let flags = Flags {
        log: Some("debug".to_owned()),
        ..Flags::default()
    };
    let loaded = load(text, &[("MURRE__ENGINE__THREADS", "2")], &flags).unwrap();
    let described = loaded.describe();
    assert!(!described.contains("pass-word"));
    assert!(!format!("{loaded:?}").contains("pass-word"), "{loaded:?}");
    let described = described.lines().map(|line| {
        let (setting, origin) = line.split_once("  # ").unwrap_or((line, "default"));
        let origin = origin.rsplit('/').next().unwrap_or_default();
        format!("{setting}  # {origin}\n")
    });
    assert_snapshot!(described.collect::<String>(), @r#"
    catalogs.lake.properties."s3.secret-access-key" = "[redacted]"  # murre.toml:7
    catalogs.lake.type = "sql"  # murre.toml:3
    catalogs.lake.uri = "sqlite:///lake.db?[redacted]"  # murre.toml:4
    catalogs.lake.warehouse = "w"  # murre.toml:5
    engine.batch_size = 8192  # default
    engine.max_running = 0  # default
    engine.max_waiting = 64  # default
    engine.memory_limit = "0 B"  # default
    engine.threads = 2  # environment variable MURRE__ENGINE__THREADS
    engine.wait_timeout = "30s"  # default
    entity_sql.enabled = false  # default
    entity_sql.timeout = "1m"  # default
    maintenance.enabled = true  # default
    maintenance.gc_interval = "1day"  # default
    maintenance.grace = "0s"  # default
    maintenance.interval = "5m"  # default
    maintenance.journal = "data/journal"  # default
    maintenance.keep_last = 1  # default
    maintenance.key_retention = "1day"  # default
    maintenance.max_running = 1  # default
    maintenance.memory_limit = "1.0 GiB"  # default
    maintenance.orphan_age = "3days"  # default
    maintenance.snapshot_age = "5days"  # default
    on_demand.python = ""  # default
    on_demand.timeout = "1m"  # default
    online.cache_size = "512.0 MiB"  # default
    online.catalog = ""  # default
    online.namespace = "online"  # default
    online.partition_count = 256  # default
    online.partition_strategy = "entity_hash"  # default
    online.read_timeout_ms = 100  # default
    online.refresh_interval = "1s"  # default
    registry.path = "features.toml"  # default
    registry.type = "toml"  # default
    server.insecure_allow_remote = false  # default
    server.listen = "127.0.0.1:8815"  # default
    server.max_message_size = "1.0 GiB"  # default
    sources.catalog_uris = []  # default
    sources.dataset_namespaces = []  # default
    sources.environment = []  # default
    sources.file_roots = []  # default
    staging.budget = "4.0 GiB"  # default
    staging.ttl = "1h"  # default
    staging.url = "memory://"  # default
    tables.column_cache = "512.0 MiB"  # default
    tables.footer_cache = "256.0 MiB"  # default
    tables.metadata_cache = "256.0 MiB"  # default
    telemetry.format = "text"  # default
    telemetry.log = "debug"  # flag --log
    "#);
}

#[test]
fn the_default_memory_limit_is_a_part_of_the_memory() {
    let limit = EngineConfig::default().memory_limit_bytes();
    assert!(limit > 64 << 20, "{limit}");
    assert!(EngineConfig::default().thread_count() >= 1);
}
