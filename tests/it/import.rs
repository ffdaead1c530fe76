//! `murre import`, as typed.

use std::fs::File;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray};
use insta::assert_snapshot;
use murre::catalog::Catalogs;
use murre::model::TableName;
use parquet::arrow::ArrowWriter;

use crate::harness::{Store, get, request, rows, upload};

fn write_file(path: &Path, batch: &RecordBatch) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let mut writer =
        ArrowWriter::try_new(File::create(path).unwrap(), batch.schema(), None).unwrap();
    writer.write(batch).unwrap();
    writer.close().unwrap();
}

/// Runs the binary in the store's folder, over its configuration.
fn murre(store: &Store, arguments: &[&str]) -> Output {
    store.config();
    let mut command = Command::new(env!("CARGO_BIN_EXE_murre"));
    command
        .current_dir(store.path())
        .args(arguments)
        .args(["--config", "murre.toml"])
        .env_clear();
    command.output().expect("the binary starts")
}

fn printed(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    text(&output.stdout)
}

fn failure(store: &Store, output: &Output) -> String {
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert_eq!(output.stdout, b"");
    let text = String::from_utf8(output.stderr.clone()).unwrap();
    text.replace(&store.path().display().to_string(), "DIR")
}

async fn table(store: &Store) -> iceberg::table::Table {
    let catalogs = Catalogs::connect(&store.config().catalogs).unwrap();
    let name = TableName::parse("default", "t.stats").unwrap();
    catalogs.load_table(&name).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn files_and_folders_become_one_snapshot_of_a_new_table() {
    let store = Store::without_table();
    write_file(
        &store.path().join("one.parquet"),
        &rows([(1, 1, 0.5), (2, 1, 1.5)]),
    );
    write_file(&store.path().join("more/a.parquet"), &rows([(1, 3, 2.5)]));
    write_file(&store.path().join("more/b.parquet"), &rows([(3, 1, 3.5)]));
    let import = ["import", "one.parquet", "more", "--feature-view", "stats"];
    assert_snapshot!(printed(&murre(&store, &import)), @"4 rows of 3 files are in the new table `t.stats` of catalog `default`");

    let made = table(&store).await;
    let metadata = made.metadata();
    assert_eq!(metadata.snapshots().len(), 1);
    let [field] = metadata.default_partition_spec().fields() else {
        panic!("one partition field");
    };
    assert_eq!(field.transform.to_string(), "bucket[16]");
    let sorted = metadata.default_sort_order().fields.iter();
    let name = |id| metadata.current_schema().name_by_field_id(id).unwrap();
    let sorted: Vec<_> = sorted.map(|field| name(field.source_id)).collect();
    assert_eq!(sorted, ["driver_id", "event_timestamp"]);

    let server = store.serve().await;
    let mut client = server.client().await;
    let entities = crate::harness::entities([(1, 2), (1, 4), (3, 2)]);
    let uploaded = upload(&mut client, entities).await;
    let found = get(&mut client, request(&uploaded, &["stats:value"]))
        .await
        .unwrap();
    let values = found.column_by_name("value").unwrap();
    let expected: ArrayRef = Arc::new(Float64Array::from(vec![0.5, 2.5, 3.5]));
    assert_eq!(values, &expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn files_go_online() {
    let store = Store::without_table();
    write_file(
        &store.path().join("one.parquet"),
        &rows([(1, 1, 0.5), (2, 1, 1.5)]),
    );
    write_file(&store.path().join("two.parquet"), &rows([(1, 3, 2.5)]));
    let files = ["import", "one.parquet", "two.parquet"];
    let import = [&files[..], &["--feature-view", "stats", "--to", "online"]].concat();
    assert_snapshot!(printed(&murre(&store, &import)), @"3 rows of 2 files are in the new table `online.test_stats` of catalog `default`");

    let server = store.serve().await;
    let online = serde_json::json!({ "online": {
        "features": ["stats:value"],
        "entity_keys": { "driver_id": [2, 1, 3] },
        "ignore_ttl": true,
    }});
    let found = get(&mut server.client().await, online.to_string())
        .await
        .unwrap();
    let values = found.column_by_name("value").unwrap();
    let expected: ArrayRef = Arc::new(Float64Array::from(vec![Some(1.5), Some(2.5), None]));
    assert_eq!(values, &expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_import_appends() {
    let store = Store::new(&[rows([(1, 1, 0.5)])], vec![]).await;
    write_file(
        &store.path().join("one.parquet"),
        &rows([(1, 2, 1.5), (2, 2, 2.5)]),
    );
    let import = ["import", "one.parquet", "--feature-view", "stats"];
    assert_snapshot!(printed(&murre(&store, &import)), @"2 rows of 1 files are in table `t.stats` of catalog `default`");
    assert_eq!(table(&store).await.metadata().snapshots().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_fit_is_named_with_its_file_and_nothing_stays() {
    let store = Store::without_table();
    let good = rows([(1, 1, 0.5)]);
    write_file(&store.path().join("good.parquet"), &good);
    let mut columns = good.columns().to_vec();
    columns[2] = Arc::new(StringArray::from(vec!["much"]));
    let names = ["driver_id", "event_timestamp", "value"];
    let bad = RecordBatch::try_from_iter(names.into_iter().zip(columns)).unwrap();
    write_file(&store.path().join("bad.parquet"), &bad);
    let keys: ArrayRef = Arc::new(Int64Array::from(vec![1]));
    let lacking = RecordBatch::try_from_iter([("driver_id", keys)]).unwrap();
    write_file(&store.path().join("lacking.parquet"), &lacking);

    let import = |files: &[&str], view: &str| {
        let arguments = [&["import"], files, &["--feature-view", view]].concat();
        failure(&store, &murre(&store, &arguments))
    };
    assert_snapshot!(
        import(&["good.parquet", "bad.parquet"], "stats"),
        @"murre: file `DIR/bad.parquet`: column `value`: expected Float64, as in the files before it, found Utf8"
    );
    let lacking = import(&["lacking.parquet"], "stats");
    assert!(
        lacking.contains("column `event_timestamp`: expected a column"),
        "{lacking}"
    );
    let none = import(&["none.parquet"], "stats");
    assert!(none.contains("there is no Parquet file at"), "{none}");
    let stat = import(&["good.parquet"], "stat");
    assert!(
        stat.contains("feature view `stat` not found; did you mean `stats`?"),
        "{stat}"
    );
    assert!(!store.path().join("warehouse/t").exists());
}
