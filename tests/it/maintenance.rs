//! `murre maintain`, as typed, and the schedule of a server.

use std::process::{Command, Output};
use std::time::Duration;

use iceberg::TableUpdate;
use iceberg::table::Table;
use murre::catalog::Catalogs;
use murre::clock::{self, Clock, SystemClock};
use murre::maintenance::MAINTAINER;
use murre::model::TableName;
use murre::table::commit::{Change, commit_change};
use serde_json::Value;

use crate::harness::{Store, TestServer, entities, get, request, rows, upload};

/// So many small files make a compaction due.
const SMALL_FILES: i64 = 8;

async fn untidy() -> Store {
    let batches: Vec<_> = (0..SMALL_FILES)
        .map(|hour| rows([(1, hour, hour as f64)]))
        .collect();
    Store::new(&batches, vec![]).await
}

fn murre(store: &Store, arguments: &[&str]) -> Output {
    store.config();
    let mut command = Command::new(env!("CARGO_BIN_EXE_murre"));
    command
        .current_dir(store.path())
        .arg("maintain")
        .args(arguments)
        .args(["--config", "murre.toml"])
        .env_clear();
    command.output().expect("the binary starts")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn printed(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    text(&output.stdout)
}

fn name() -> TableName {
    TableName::parse("default", "t.stats").unwrap()
}

async fn table(store: &Store) -> Table {
    let catalogs = Catalogs::connect(&store.config().catalogs).unwrap();
    catalogs.load_table(&name()).await.unwrap()
}

/// Data files that the current snapshot's summary tells of.
async fn files(store: &Store) -> String {
    let table = table(store).await;
    let snapshot = table.metadata().current_snapshot().unwrap();
    snapshot.summary().additional_properties["total-data-files"].clone()
}

async fn set(store: &Store, key: &str, value: String) {
    let catalogs = Catalogs::connect(&store.config().catalogs).unwrap();
    let updates = vec![TableUpdate::SetProperties {
        updates: [(key.to_owned(), value)].into(),
    }];
    let change = Change {
        updates,
        ..Change::default()
    };
    commit_change(&catalogs, &name(), |_| Ok(change.clone()))
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn where_nothing_is_there_is_nothing_to_do() {
    let store = Store::new(&[], vec![]).await;
    std::fs::remove_file(store.path().join("features.toml")).unwrap();
    for verb in ["compact", "expire", "gc", "status"] {
        assert_eq!(printed(&murre(&store, &[verb])), "no tables\n");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn batch_sources_are_compacted() {
    let store = untidy().await;
    let dry = printed(&murre(
        &store,
        &["compact", "--dry-run", "--feature-view", "stats"],
    ));
    assert!(
        dry.starts_with("t.stats: 8 files → 1, 8 rows → 8, "),
        "{dry}"
    );
    assert!(dry.contains("nothing was changed"), "{dry}");
    assert!(
        dry.ends_with("\n1 tables: 1 done, 0 skipped, 0 failed\n"),
        "{dry}"
    );
    assert_eq!(files(&store).await, "8");

    let json = printed(&murre(&store, &["compact", "--format", "json"]));
    let lines: Vec<Value> = json
        .lines()
        .map(|it| serde_json::from_str(it).unwrap())
        .collect();
    let [report, summary] = &lines[..] else {
        panic!("two lines: {json}");
    };
    assert_eq!(report["table"], "t.stats");
    assert_eq!(report["before"]["files"], 8);
    assert_eq!(report["after"]["files"], 1);
    assert_eq!(summary["summary"]["done"], 1);
    assert_eq!(files(&store).await, "1");
    let table = table(&store).await;
    assert_eq!(table.metadata().properties().get(MAINTAINER), None);

    let server = store.serve().await;
    let mut client = server.client().await;
    let uploaded = upload(&mut client, entities([(1, 20)])).await;
    let found = get(&mut client, request(&uploaded, &["stats:value"]))
        .await
        .unwrap();
    assert_eq!(found.num_rows(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_fails_stops_no_other() {
    let store = untidy().await;
    let tables = ["--table", "t.none", "--table", "default/t.stats"];
    let output = murre(&store, &[&["compact"], &tables[..]].concat());
    assert_eq!(output.status.code(), Some(1));
    let told = text(&output.stdout);
    let lines: Vec<&str> = told.lines().collect();
    assert_eq!(
        lines[0],
        "t.none: failed: table `t.none` not found in catalog `default`"
    );
    assert!(lines[1].starts_with("t.stats: 8 files → 1"), "{told}");
    assert_eq!(lines[2], "2 tables: 1 done, 0 skipped, 1 failed");
    let error = text(&output.stderr);
    assert!(
        error.ends_with("murre: maintain tables: 1 of 2 failed\n"),
        "{error}"
    );
    assert_eq!(files(&store).await, "1");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_somebody_maintains_is_skipped() {
    let store = untidy().await;
    let until = SystemClock.now() + Duration::from_secs(300);
    let until = until
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .as_millis();
    set(&store, MAINTAINER, format!("elsewhere/1/ab {until}")).await;
    let skipped = printed(&murre(&store, &["compact"]));
    assert!(
        skipped.starts_with("t.stats: skipped, maintained by elsewhere/1/ab until "),
        "{skipped}"
    );
    assert_eq!(files(&store).await, "8");
    let status = printed(&murre(&store, &["status"]));
    assert!(
        status.contains("(maintained by elsewhere/1/ab until "),
        "{status}"
    );
    // What only looks needs no lease.
    let dry = printed(&murre(&store, &["compact", "--dry-run"]));
    assert!(dry.starts_with("t.stats: 8 files → 1"), "{dry}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_state_of_tables_is_shown() {
    let store = untidy().await;
    let status = printed(&murre(&store, &["status"]));
    let lines: Vec<&str> = status.lines().collect();
    assert!(lines[0].starts_with("TABLE    ROWS  BYTES"), "{status}");
    assert!(lines[1].starts_with("t.stats  8 "), "{status}");
    assert!(
        lines[1].contains("a partition has 8 small files"),
        "{status}"
    );
    assert_eq!(lines.len(), 2);
    let json = printed(&murre(
        &store,
        &["status", "--format", "json", "--table", "t.stats"],
    ));
    let line: Value = serde_json::from_str(json.lines().next().unwrap()).unwrap();
    assert_eq!(line["files"], 8);
    assert_eq!(line["small_files"], 8);
    assert_eq!(line["snapshots"], 8);
    assert_eq!(line["maintenance"], "on");
    assert_eq!(line["maintainer"], Value::Null);
}

#[tokio::test(flavor = "multi_thread")]
async fn snapshots_and_orphans_go_only_when_they_are_old() {
    let store = untidy().await;
    let expired = printed(&murre(&store, &["expire", "--keep-last", "2"]));
    assert!(
        expired.starts_with("t.stats: nothing to do, 8 snapshots\n"),
        "{expired}"
    );
    let output = murre(&store, &["expire", "--older-than", "1m"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        text(&output.stdout).contains("older_than: expected 1h at least"),
        "{output:?}"
    );

    let location = table(&store).await.metadata().location().to_owned();
    let orphan = format!(
        "{}/data/orphan.parquet",
        location.trim_start_matches("file://")
    );
    std::fs::write(&orphan, "orphan").unwrap();
    let output = murre(&store, &["gc", "--older-than", "0s"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        text(&output.stdout).contains("less than a day"),
        "{output:?}"
    );
    let forced = ["gc", "--older-than", "0s", "--force-younger"];
    let dry = printed(&murre(&store, &[&forced[..], &["--dry-run"]].concat()));
    assert!(dry.starts_with("t.stats: 1 orphans of 6 B among "), "{dry}");
    assert!(dry.contains("/data/orphan.parquet\n"), "{dry}");
    assert!(std::fs::exists(&orphan).unwrap());
    let done = printed(&murre(&store, &forced));
    assert!(
        done.starts_with("t.stats: 1 of 1 orphans deleted"),
        "{done}"
    );
    assert!(!std::fs::exists(&orphan).unwrap());
    assert_eq!(files(&store).await, "8");
}

#[test]
fn ages_that_are_none_are_wrong_usage() {
    let store = Store::without_table();
    for (verb, age) in [("expire", "soon"), ("gc", "-1d")] {
        let output = murre(&store, &[verb, &format!("--older-than={age}")]);
        assert_eq!(output.status.code(), Some(64), "{output:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_looks_after_its_tables() {
    let store = untidy().await;
    let mut config = store.config();
    config.maintenance.interval = Duration::from_millis(100);
    let server = TestServer::start(config).await;
    let deadline = SystemClock.now() + Duration::from_secs(60);
    while files(&store).await != "1" {
        assert!(SystemClock.now() < deadline, "nothing was compacted");
        clock::sleep(Duration::from_millis(100)).await;
    }
    server.stop().await.unwrap();
    let table = table(&store).await;
    assert_eq!(table.metadata().properties().get(MAINTAINER), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_whose_maintenance_is_off_leaves_tables_alone() {
    let store = untidy().await;
    let mut config = store.config();
    config.maintenance.interval = Duration::from_millis(50);
    config.maintenance.enabled = false;
    let server = TestServer::start(config).await;
    clock::sleep(Duration::from_secs(1)).await;
    server.stop().await.unwrap();
    assert_eq!(files(&store).await, "8");
}
