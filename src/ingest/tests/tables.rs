//! Rows into Iceberg tables.

use super::*;

#[tokio::test]
async fn appended_rows_are_there_at_once_in_the_tables_types() {
    let fixture = Fixture::new().await;
    assert_eq!(
        fixture.append(rows_of(vec![stats(&[2, 1])])).await.unwrap(),
        2
    );
    assert_eq!(fixture.append(rows_of(vec![stats(&[3])])).await.unwrap(), 1);
    let rows = fixture.rows(&fixture.name).await;
    assert_eq!(integers(&rows, "driver_id"), [1, 2, 3]);
    assert_eq!(integers(&rows, "trips"), [2, 4, 6]);
    assert_eq!(
        integers(&rows, "event_timestamp"),
        [1_000_000, 2_000_000, 3_000_000]
    );
    assert_eq!(rows[0].schema().field(3).data_type(), &DataType::Int32);
    assert_eq!(fixture.snapshots().await, 2);
}

#[tokio::test]
async fn no_rows_make_no_snapshot() {
    let fixture = Fixture::new().await;
    assert_eq!(fixture.append(rows_of(vec![stats(&[])])).await.unwrap(), 0);
    assert_eq!(fixture.snapshots().await, 0);
}

#[tokio::test]
async fn columns_may_go_by_their_mapped_names() {
    let fixture = Fixture::new().await;
    let sent = stats(&[4]);
    let names = ["event_timestamp", "driver_id", "trips", "conv_rate"];
    let renamed = batch(names.into_iter().zip(sent.columns().to_vec()).collect());
    fixture.append(rows_of(vec![renamed])).await.unwrap();
    assert_eq!(
        integers(&fixture.rows(&fixture.name).await, "driver_id"),
        [4]
    );
}

#[tokio::test]
async fn another_set_of_columns_is_refused_with_both_lists() {
    let fixture = Fixture::new().await;
    let full = stats(&[1]);
    let more = batch(vec![
        ("event_timestamp", Arc::clone(full.column(0))),
        ("driver_id", Arc::clone(full.column(1))),
        ("trips", Arc::clone(full.column(2))),
        ("rate", Arc::clone(full.column(3))),
        ("conv_rate", Arc::clone(full.column(3))),
    ]);
    for sent in [full.project(&[0, 1, 2]).unwrap(), more] {
        let names: Vec<String> = sent
            .schema()
            .fields()
            .iter()
            .map(|it| it.name().clone())
            .collect();
        let error = fixture.append(rows_of(vec![sent])).await.unwrap_err();
        let Error::ColumnsDiffer {
            place,
            expected,
            found,
        } = error
        else {
            panic!("{error}");
        };
        assert_eq!(place, "data source `stats`");
        assert_eq!(expected, ["driver_id", "event_timestamp", "rate", "trips"]);
        assert_eq!(found, names);
    }
    assert_eq!(fixture.data_files(), 0);
}

#[tokio::test]
async fn nulls_in_required_columns_and_overflow_are_refused() {
    let fixture = Fixture::new().await;
    let with = |position: usize, values: ArrayRef| {
        let sent = stats(&[1]);
        let mut columns = sent.columns().to_vec();
        columns[position] = values;
        let names = ["event_timestamp", "driver_id", "trips", "rate"];
        batch(names.into_iter().zip(columns).collect())
    };
    let null = with(1, Arc::new(Int64Array::from(vec![None])));
    let large = with(2, Arc::new(Int64Array::from(vec![i64::MAX])));
    let text = with(3, Arc::new(StringArray::from(vec!["0.5"])));
    for (sent, expected) in [(null, "driver_id"), (large, "trips"), (text, "rate")] {
        let error = fixture.append(rows_of(vec![sent])).await.unwrap_err();
        assert!(
            matches!(&error, Error::SchemaMismatch { column, .. } if column == expected),
            "{error}"
        );
    }
    assert_eq!((fixture.snapshots().await, fixture.data_files()), (0, 0));
}

#[tokio::test]
async fn chunks_make_one_snapshot() {
    let mut fixture = Fixture::new().await;
    fixture.ingest.chunk_bytes = 256;
    let drivers: Vec<i64> = (0..100).collect();
    let written = fixture
        .append(rows_of(vec![stats(&drivers), stats(&drivers)]))
        .await;
    assert_eq!(written.unwrap(), 200);
    assert!(fixture.data_files() > 5, "{}", fixture.data_files());
    assert_eq!(fixture.snapshots().await, 1);
    let rows = integers(&fixture.rows(&fixture.name).await, "driver_id");
    assert_eq!(rows.len(), 200);
}

#[tokio::test]
async fn an_error_in_the_middle_leaves_nothing() {
    let mut fixture = Fixture::new().await;
    fixture.append(rows_of(vec![stats(&[1])])).await.unwrap();
    fixture.ingest.chunk_bytes = 64;
    let error = fixture
        .append(broken(vec![stats(&[2, 3, 4, 5])]))
        .await
        .unwrap_err();
    assert!(error.to_string().contains("went away"), "{error}");
    assert_eq!(
        integers(&fixture.rows(&fixture.name).await, "driver_id"),
        [1]
    );
    assert_eq!((fixture.snapshots().await, fixture.data_files()), (1, 1));
}

#[tokio::test]
async fn concurrent_appends_all_arrive() {
    let fixture = Fixture::new().await;
    // Another writer to the same table, as another process would be.
    let rules = SourceRules::new(SourcesConfig::default(), true, None);
    let other = Ingest::new(Arc::clone(&fixture.tables), rules);
    let source = fixture.source();
    let appends = (0..8).map(|driver| {
        let writer = [&fixture.ingest, &other][usize::try_from(driver % 2).unwrap()];
        writer.append("stats", &source, rows_of(vec![stats(&[driver])]))
    });
    for written in futures::future::join_all(appends).await {
        assert_eq!(written.unwrap(), 1);
    }
    let rows = fixture.rows(&fixture.name).await;
    assert_eq!(integers(&rows, "driver_id"), (0..8).collect::<Vec<_>>());
}

#[tokio::test]
async fn rows_of_one_key_are_appended_once() {
    let fixture = Fixture::new().await;
    let source = fixture.source();
    let append = async |key: &str, drivers: &[i64]| {
        let key = Some(key.to_owned());
        let rows = rows_of(vec![stats(drivers)]);
        fixture
            .ingest
            .append_once("stats", &source, key, rows)
            .await
    };
    assert_eq!(append("one", &[1, 2]).await.unwrap(), 2);
    // What is sent again is answered with what was written, and leaves no file.
    assert_eq!(append("one", &[1, 2, 3]).await.unwrap(), 2);
    assert_eq!(append("two", &[4]).await.unwrap(), 1);
    assert_eq!(append("none", &[]).await.unwrap(), 0);
    assert_eq!((fixture.snapshots().await, fixture.data_files()), (2, 2));
    let rows = fixture.rows(&fixture.name).await;
    assert_eq!(integers(&rows, "driver_id"), [1, 2, 4]);

    let both = tokio::join!(append("three", &[5]), append("three", &[5]));
    assert_eq!((both.0.unwrap(), both.1.unwrap()), (1, 1));
    let rows = fixture.rows(&fixture.name).await;
    assert_eq!(integers(&rows, "driver_id"), [1, 2, 4, 5]);
}

#[tokio::test]
async fn logs_of_one_key_are_there_once_from_the_first() {
    let fixture = Fixture::new().await;
    let name = TableName::parse("default", "logs.served").unwrap();
    let destination = LogDestination {
        location: SourceLocation::Iceberg(name.clone()),
        partition_by: Vec::new(),
    };
    for _ in 0..2 {
        let (key, rows) = (Some("one".to_owned()), rows_of(vec![stats(&[1, 2])]));
        let logged = fixture.ingest.log_once(&destination, key, rows).await;
        assert_eq!(logged.unwrap(), 2);
    }
    assert_eq!(integers(&fixture.rows(&name).await, "driver_id"), [1, 2]);
}

#[tokio::test]
async fn files_take_no_key() {
    let fixture = Fixture::empty();
    let source = source(SourceLocation::Parquet(fixture.file("stats")));
    let (key, rows) = (Some("one".to_owned()), rows_of(vec![stats(&[1])]));
    let appended = fixture.ingest.append_once("stats", &source, key, rows);
    let refused = appended.await.unwrap_err().to_string();
    assert_eq!(
        refused,
        "an idempotency key for data source `stats`, whose rows are Parquet files outside of a table, is not supported"
    );
}

#[tokio::test]
async fn a_dataset_is_saved_once_and_replaced_only_if_allowed() {
    let fixture = Fixture::new().await;
    let name = TableName::parse("default", "saved.training").unwrap();
    let place = SourceLocation::Iceberg(name.clone());
    let save = |overwrite, rows| fixture.ingest.save(&place, overwrite, rows);
    assert_eq!(save(false, rows_of(vec![stats(&[1, 2])])).await.unwrap(), 2);
    let first = fixture.table(&name).await;
    let first = first.metadata().current_snapshot_id().unwrap();
    let error = save(false, rows_of(vec![stats(&[3])])).await.unwrap_err();
    assert!(matches!(error, Error::AlreadyExists { .. }), "{error}");

    assert_eq!(save(true, rows_of(vec![stats(&[7])])).await.unwrap(), 1);
    assert_eq!(integers(&fixture.rows(&name).await, "driver_id"), [7]);
    let old = fixture.rows_at(&name, Some(first)).await;
    assert_eq!(integers(&old, "driver_id"), [1, 2]);
    let table = fixture.table(&name).await;
    let summary = table.metadata().current_snapshot().unwrap().summary();
    assert_eq!(summary.operation, iceberg::spec::Operation::Overwrite);
    assert_eq!(summary.additional_properties["total-records"], "1");
    assert_eq!(summary.additional_properties["deleted-records"], "2");
    assert_eq!(table.metadata().schemas_iter().count(), 1);

    let pinned = fixture.tables.pin(&name, None).await.unwrap();
    assert_eq!(pinned.files().record_count(), 1);
    fixture
        .ingest
        .append(
            "training",
            &source(place.clone()),
            rows_of(vec![stats(&[8])]),
        )
        .await
        .unwrap();
    assert_eq!(integers(&fixture.rows(&name).await, "driver_id"), [7, 8]);
}

#[tokio::test]
async fn a_replaced_dataset_can_have_other_columns() {
    let fixture = Fixture::new().await;
    let first = fixture.append(rows_of(vec![stats(&[1])])).await.map(|_| ());
    first.unwrap();
    let old = fixture.table(&fixture.name).await;
    let old = old.metadata().current_snapshot_id();
    let other = batch(vec![
        ("city", Arc::new(StringArray::from(vec!["Oslo", "Bern"]))),
        ("rate", Arc::new(Float64Array::from(vec![1.0, 2.0]))),
        ("trips", Arc::new(StringArray::from(vec!["a", "b"]))),
    ]);
    let place = SourceLocation::Iceberg(fixture.name.clone());
    fixture
        .ingest
        .save(&place, true, rows_of(vec![other]))
        .await
        .unwrap();
    let table = fixture.table(&fixture.name).await;
    let schema = table.metadata().current_schema();
    let ids: Vec<_> = schema
        .as_struct()
        .fields()
        .iter()
        .map(|field| (field.name.as_str(), field.id))
        .collect();
    assert_eq!(ids, [("city", 5), ("rate", 3), ("trips", 6)]);
    assert!(table.metadata().default_sort_order().is_unsorted());
    let rows = fixture.rows(&fixture.name).await;
    assert_eq!(rows.iter().map(RecordBatch::num_rows).sum::<usize>(), 2);
    let before = fixture.rows_at(&fixture.name, old).await;
    assert_eq!(integers(&before, "driver_id"), [1]);
}

#[tokio::test]
async fn a_dataset_that_fails_is_not_there() {
    let fixture = Fixture::new().await;
    let name = TableName::parse("default", "saved.training").unwrap();
    let place = SourceLocation::Iceberg(name.clone());
    let failed = fixture
        .ingest
        .save(&place, false, broken(vec![stats(&[1])]));
    failed.await.unwrap_err();
    let error = fixture.tables.pin(&name, None).await.unwrap_err();
    assert!(matches!(error, Error::TableNotFound { .. }), "{error}");

    let save = |rows| fixture.ingest.save(&place, true, rows);
    save(rows_of(vec![stats(&[1])])).await.unwrap();
    save(broken(vec![stats(&[2])])).await.unwrap_err();
    assert_eq!(integers(&fixture.rows(&name).await, "driver_id"), [1]);
}

#[tokio::test]
async fn replacements_at_the_same_time_are_each_whole() {
    let fixture = Fixture::new().await;
    let place = SourceLocation::Iceberg(fixture.name.clone());
    fixture.append(rows_of(vec![stats(&[0])])).await.unwrap();
    let rules = SourceRules::new(SourcesConfig::default(), true, None);
    let other = Ingest::new(Arc::clone(&fixture.tables), rules);
    // The first of them makes the columns those of a dataset.
    let save = |writer: &'static str, drivers: [i64; 2]| {
        let writer = if writer == "other" {
            &other
        } else {
            &fixture.ingest
        };
        writer.save(&place, true, rows_of(vec![stats(&drivers)]))
    };
    save("own", [1, 2]).await.unwrap();
    let (a, b) = futures::join!(save("own", [3, 4]), save("other", [5, 6]));
    a.unwrap();
    b.unwrap();
    let rows = integers(&fixture.rows(&fixture.name).await, "driver_id");
    assert!(rows == [3, 4] || rows == [5, 6], "{rows:?}");
    assert_eq!(fixture.snapshots().await, 4);
}

#[tokio::test]
async fn logs_create_their_table() {
    let fixture = Fixture::new().await;
    let name = TableName::parse("default", "logs.served").unwrap();
    let destination = LogDestination {
        location: SourceLocation::Iceberg(name.clone()),
        partition_by: vec![],
    };
    for driver in [1, 2] {
        let rows = rows_of(vec![stats(&[driver])]);
        fixture.ingest.log(&destination, rows).await.unwrap();
    }
    assert_eq!(integers(&fixture.rows(&name).await, "driver_id"), [1, 2]);
    let other = rows_of(vec![batch(vec![(
        "x",
        Arc::new(Int32Array::from(vec![1])),
    )])]);
    let error = fixture.ingest.log(&destination, other).await.unwrap_err();
    assert!(matches!(error, Error::ColumnsDiffer { .. }), "{error}");
}
