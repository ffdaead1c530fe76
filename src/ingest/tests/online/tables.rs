//! What is stored, and in which files.

use super::*;

#[tokio::test]
async fn the_first_write_makes_the_table_and_its_rows() {
    let lab = Lab::new().await;
    let outcome = lab.write(online("stats"), drivers(0..3)).await.unwrap();
    let table = lab.table().await;
    let metadata = table.metadata();
    assert_eq!(outcome.table, "online.shop_stats");
    assert_eq!((outcome.rows, outcome.replayed), (3, false));
    assert_eq!(
        outcome.snapshot.map(|it| it.0),
        metadata.current_snapshot_id()
    );
    let token = outcome.token.unwrap();
    assert_eq!((token.table, token.sequence), (metadata.uuid(), 1));
    let stored = OnlineProperties::read(metadata).unwrap().unwrap();
    assert_eq!((stored.project.as_str(), stored.buckets), ("shop", BUCKETS));
    assert_eq!(
        stored.definition,
        definition(&[("driver_id", KeyType::Int64)], &[])
    );
    let specs: Vec<bool> = metadata
        .partition_specs_iter()
        .map(|spec| spec.is_unpartitioned())
        .collect();
    assert_eq!(specs.iter().filter(|it| **it).count(), 1);
    assert!(!metadata.default_partition_spec().is_unpartitioned());
    let rows = lab.stored().await;
    assert_eq!(integers(&rows, "driver_id"), [0, 1, 2]);
    assert_eq!(integers(&rows, "row_id"), [0, 1, 2]);
    let sequences = integers(&rows, "write_sequence");
    assert_eq!(sequences[2], sequences[0] + 2);
    assert_eq!(max_sequence(metadata), Some(sequences[2]));
}

#[rstest]
#[case(PartitionStrategy::EntityHash)]
#[case(PartitionStrategy::Timestamp)]
#[case(PartitionStrategy::Hybrid)]
#[tokio::test]
async fn a_small_write_is_one_file_and_a_large_one_fills_partitions(
    #[case] strategy: PartitionStrategy,
) {
    let lab = Lab::with(strategy).await;
    lab.write(online("stats"), drivers(0..500)).await.unwrap();
    let files = lab.files().await;
    assert_eq!(files.len(), 1);
    let table = lab.table().await;
    let spec = |id| Arc::clone(table.metadata().partition_spec_by_id(id).unwrap());
    assert!(spec(files[0].0).is_unpartitioned());
    lab.write(online("stats"), drivers(0..8_000)).await.unwrap();
    let large: Vec<_> = lab.files().await;
    let large: Vec<_> = large
        .into_iter()
        .filter(|(id, _)| !spec(*id).is_unpartitioned())
        .collect();
    let expected = match strategy {
        PartitionStrategy::Timestamp => 1,
        PartitionStrategy::EntityHash | PartitionStrategy::Hybrid => BUCKETS as usize,
    };
    assert_eq!(large.len(), expected);
    let rows: u64 = large.iter().map(|(_, file)| file.record_count()).sum();
    assert_eq!(rows, 8_000);
    assert_eq!(integers(&lab.stored().await, "row_id").len(), 8_500);
}

/// Any engine that knows `bucket[N]` finds a key in the partition that it computes.
#[tokio::test]
async fn partitions_are_those_of_the_entity_key() {
    let lab = Lab::new().await;
    lab.write(online("stats"), drivers(0..8_000)).await.unwrap();
    let table = lab.table().await;
    for (_, file) in lab.files().await {
        let bytes = table.file_io().new_input(file.file_path()).unwrap();
        let bytes = bytes.read().await.unwrap();
        let reader = parquet::arrow::arrow_reader::ParquetRecordBatchReader::try_new(bytes, 1_024);
        let Some(Literal::Primitive(PrimitiveLiteral::Int(bucket))) = file.partition()[0] else {
            panic!("no bucket");
        };
        let mut last: Vec<u8> = Vec::new();
        for batch in reader.unwrap() {
            let keys = ArrayRef::clone(batch.unwrap().column_by_name("entity_key").unwrap());
            let keys = arrow::compute::cast(&keys, &DataType::Binary).unwrap();
            for key in keys.as_binary::<i32>().iter().flatten() {
                assert_eq!(bucket_of(key, BUCKETS), bucket as u32);
                assert!(last.as_slice() <= key);
                last = key.to_vec();
            }
        }
    }
}

#[tokio::test]
async fn no_rows_make_the_table_and_no_snapshot() {
    let lab = Lab::new().await;
    let outcome = lab.write(online("stats"), drivers(0..0)).await.unwrap();
    assert_eq!((outcome.rows, outcome.snapshot), (0, None));
    assert_eq!(outcome.token.unwrap().sequence, 0);
    assert!(lab.table().await.metadata().current_snapshot().is_none());
}

#[tokio::test]
async fn columns_follow_what_is_written() {
    let lab = Lab::new().await;
    let with = |column: ArrayRef| {
        batch(vec![
            ("driver_id", ids([7])),
            ("event_timestamp", times(1)),
            ("trips", column),
        ])
    };
    let narrow: ArrayRef = Arc::new(Int32Array::from(vec![1]));
    lab.write(online("stats"), drivers(0..1)).await.unwrap();
    lab.write(online("stats"), with(narrow)).await.unwrap();
    lab.write(online("stats"), with(ids([1 << 40])))
        .await
        .unwrap();
    assert_eq!(integers(&lab.stored().await, "trips"), [1, 1 << 40]);
    let text: ArrayRef = Arc::new(StringArray::from(vec!["x"]));
    let error = lab.write(online("stats"), with(text)).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "column `trips` of table `online.shop_stats` is long and cannot become string"
    );
    let nothing: ArrayRef = arrow::array::new_null_array(&DataType::Null, 1);
    lab.write(online("stats"), with(nothing)).await.unwrap();
    assert_eq!(integers(&lab.stored().await, "driver_id").len(), 4);
}

#[tokio::test]
async fn definitions_come_with_writes_and_follow_newer_ones() {
    let lab = Lab::new().await;
    let keys = [("a", KeyType::Int32), ("b", KeyType::String)];
    let mut request = WriteRequest {
        project: Some("other".to_owned()),
        definition: Some(definition(&keys, &[("ok", "BOOL"), ("m", "MAP")])),
        ..online("v@v2")
    };
    let rows = || {
        batch(vec![
            ("a", ids([1])),
            ("b", Arc::new(StringArray::from(vec!["x"]))),
            ("event_timestamp", times(1)),
            ("ok", Arc::new(BooleanArray::from(vec![true]))),
        ])
    };
    let outcome = lab.write(request.clone(), rows()).await.unwrap();
    assert_eq!(outcome.table, "online.other_v_v2");
    let table = lab.base.table(&named("online.other_v_v2")).await;
    let schema = table.metadata().current_schema();
    let shown = |name| schema.field_by_name(name).unwrap().field_type.to_string();
    assert_eq!(
        ["a", "b", "ok", "m"].map(shown),
        ["int", "string", "boolean", "binary"]
    );

    let newer = definition(&keys, &[("score", "DOUBLE")]);
    request.definition = Some(newer.clone());
    lab.write(request.clone(), rows()).await.unwrap();
    request.definition = None;
    lab.write(request.clone(), rows()).await.unwrap();
    let table = lab.base.table(&named("online.other_v_v2")).await;
    let stored = OnlineProperties::read(table.metadata()).unwrap().unwrap();
    assert_eq!(stored.definition, newer);
    assert!(
        table
            .metadata()
            .current_schema()
            .field_by_name("score")
            .is_some()
    );

    request.definition = Some(definition(&[("a", KeyType::Int64)], &[]));
    let error = lab.write(request, rows()).await.unwrap_err().to_string();
    assert!(error.starts_with("definition.join_keys: "), "{error}");
}

#[tokio::test]
async fn tables_follow_updates_and_go() {
    let lab = Lab::new().await;
    let keys = [("k", KeyType::Int64)];
    let kept = |features: &[(&str, &str)]| UpdateRequest {
        keep: vec![
            (ViewVersion::parse("v"), Some(definition(&keys, features))),
            (
                ViewVersion::parse("v@v2"),
                Some(definition(&keys, features)),
            ),
        ],
        ..UpdateRequest::default()
    };
    let both = vec!["online.shop_v".to_owned(), "online.shop_v_v2".to_owned()];
    let nothing = UpdateOutcome::default();
    let dry = UpdateRequest {
        dry_run: true,
        ..kept(&[("f", "INT64")])
    };
    assert_eq!(lab.ingest.update(dry.clone()).await.unwrap().created, both);
    assert_eq!(lab.ingest.update(dry).await.unwrap().created, both);
    let request = kept(&[("f", "INT64")]);
    assert_eq!(
        lab.ingest.update(request.clone()).await.unwrap().created,
        both
    );
    assert_eq!(lab.ingest.update(request).await.unwrap(), nothing);
    let request = kept(&[("f", "INT64"), ("g", "STRING_LIST")]);
    assert_eq!(
        lab.ingest.update(request.clone()).await.unwrap().evolved,
        both
    );
    assert_eq!(lab.ingest.update(request).await.unwrap(), nothing);

    let delete = |view: &str| UpdateRequest {
        delete: vec![ViewVersion::parse(view)],
        ..UpdateRequest::default()
    };
    let location = lab.base.table(&named("online.shop_v")).await;
    let location = location.metadata().location().replace("file://", "");
    assert!(std::fs::exists(&location).unwrap());
    let dropped = lab.ingest.update(delete("v@v2")).await.unwrap().dropped;
    assert_eq!(dropped, ["online.shop_v_v2"]);
    lab.ingest.update(kept(&[])).await.unwrap();
    assert_eq!(lab.ingest.update(delete("v")).await.unwrap().dropped, both);
    assert_eq!(lab.ingest.update(delete("v")).await.unwrap(), nothing);
    assert!(!std::fs::exists(&location).unwrap());

    lab.write(online("stats"), drivers(0..1)).await.unwrap();
    let all = crate::model::TeardownRequest::default();
    let dropped = lab.ingest.teardown(all.clone()).await.unwrap().dropped;
    assert_eq!(dropped, ["online.shop_stats"]);
    assert_eq!(lab.ingest.teardown(all).await.unwrap(), nothing);
}

#[tokio::test]
async fn offline_rows_make_the_batch_source_and_are_written_once() {
    let lab = Lab::new().await;
    let request = WriteRequest {
        to: WriteTarget::Offline,
        ..keyed("k")
    };
    let first = lab.write(request.clone(), drivers(0..3)).await.unwrap();
    let second = lab.write(request, drivers(0..3)).await.unwrap();
    assert_eq!((first.rows, first.replayed), (3, false));
    assert_eq!((second.rows, second.replayed), (3, true));
    assert_eq!((first.snapshot, first.token), (second.snapshot, None));
    let table = lab.base.table(&named("demo.offline")).await;
    let fields = table.metadata().default_partition_spec().fields();
    assert_eq!(fields[0].transform.to_string(), "bucket[16]");
    let rows = lab.base.rows(&named("demo.offline")).await;
    assert_eq!(integers(&rows, "driver_id"), [0, 1, 2]);
    assert_eq!(integers(&rows, "ts").len(), 3);
}

#[tokio::test]
async fn the_first_offline_write_makes_the_catalogs_database() {
    let lab = Lab::over(Fixture::empty(), PartitionStrategy::EntityHash);
    let request = WriteRequest {
        to: WriteTarget::Offline,
        ..keyed("k")
    };
    let written = lab.write(request, drivers(0..3)).await.unwrap();
    assert_eq!((written.rows, written.snapshot.is_some()), (3, true));
}
