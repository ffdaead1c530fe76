//! Locations, sharing of clients, and Iceberg's files on disk and in an object store.

use std::path::PathBuf;

use iceberg::ErrorKind;
use rstest::rstest;
use tempfile::TempDir;

use super::*;

fn properties(entries: &[(&str, &str)]) -> BTreeMap<String, String> {
    entries
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect()
}

fn s3(bucket: &str, key: &str) -> Location {
    Location::S3 {
        bucket: bucket.to_owned(),
        key: key.to_owned(),
    }
}

#[rstest]
#[case("/a/b%20c.parquet", Location::Local(PathBuf::from("/a/b%20c.parquet")))]
#[case("file:///a/b", Location::Local(PathBuf::from("/a/b")))]
#[case("file://localhost/a/b", Location::Local(PathBuf::from("/a/b")))]
#[case("file:/a/b", Location::Local(PathBuf::from("/a/b")))]
#[case("s3://bucket/a=1%3A2/x.parquet", s3("bucket", "a=1%3A2/x.parquet"))]
#[case("s3a://bucket", s3("bucket", ""))]
fn locations_are_read(#[case] uri: &str, #[case] expected: Location) {
    assert_eq!(Location::parse(uri).unwrap(), expected);
}

#[rstest]
#[case("gs://bucket/x", "gs:// storage is not supported")]
#[case("abfss://a@b/x", "abfss:// storage is not supported")]
#[case("data/x.parquet", "expected an absolute path")]
#[case("file://data/x", "expected an absolute path")]
#[case("s3:///key", "expected `s3://bucket/key`")]
#[case("", "expected an absolute path")]
fn other_locations_are_refused(#[case] uri: &str, #[case] expected: &str) {
    let error = open(uri, &BTreeMap::new()).unwrap_err();
    assert!(matches!(error, Error::InvalidRequest { .. }));
    assert!(error.to_string().contains(expected), "{error}");
}

#[test]
fn keys_are_kept_as_written() {
    let at = open("s3a://bucket/ts=00%3A00/~x[1].parquet", &BTreeMap::new()).unwrap();
    assert_eq!(at.path.as_ref(), "ts=00%3A00/~x[1].parquet");
}

#[test]
fn clients_are_shared_by_bucket_and_properties() {
    let of = |bucket: &str, secret: &str| {
        let properties = properties(&[
            ("s3.access-key-id", "key"),
            ("s3.secret-access-key", secret),
            ("unrelated", secret),
        ]);
        s3::client(bucket, &properties).unwrap()
    };
    assert!(Arc::ptr_eq(&of("shared", "one"), &of("shared", "one")));
    assert!(!Arc::ptr_eq(&of("shared", "one"), &of("shared", "two")));
    assert!(!Arc::ptr_eq(&of("shared", "one"), &of("other", "one")));
}

#[test]
fn nothing_shows_a_secret() {
    let properties = properties(&[
        ("s3.endpoint", "http://127.0.0.1:1"),
        ("s3.access-key-id", "hunter1"),
        ("s3.secret-access-key", "hunter2"),
        ("s3.session-token", "hunter3"),
    ]);
    let located = open("s3://bucket/key", &properties).unwrap();
    let config = iceberg::io::StorageConfig::from_props(properties.into_iter().collect());
    let storage = factory().build(&config).unwrap();
    let shown = format!("{storage:?} {}", serde_json::to_string(&storage).unwrap());
    assert!(
        !shown.contains("hunter") && shown.contains("s3.secret-access-key"),
        "{shown}"
    );
    let shown = format!("{located:?}");
    assert!(
        !shown.contains("hunter2") && !shown.contains("hunter3"),
        "{shown}"
    );
}

#[rstest]
#[case(&[("s3.access-key-id", "k")], "must be set together")]
#[case(&[("s3.endpoint", "127.0.0.1:9000")], "must begin with http:// or https://")]
fn contradictions_are_refused(#[case] entries: &[(&str, &str)], #[case] expected: &str) {
    let error = open("s3://bucket/key", &properties(entries)).unwrap_err();
    assert!(error.to_string().contains(expected), "{error}");
}

#[rstest]
#[case("", "http://minio:9000/lake")]
#[case("s3.path-style-access", "http://minio:9000/lake")]
#[case("s3.force-virtual-addressing", "http://lake.minio:9000")]
fn the_bucket_is_in_the_path_or_in_the_host(#[case] set: &str, #[case] expected: &str) {
    let properties = properties(&[("s3.endpoint", "http://minio:9000"), (set, "true")]);
    let located = open("s3://lake/key", &properties).unwrap();
    let shown = format!("{located:?}");
    assert!(
        shown.contains(&format!("bucket_endpoint: \"{expected}\"")),
        "{shown}"
    );
}

#[tokio::test]
async fn local_files_are_written_read_and_deleted() {
    let folder = TempDir::new().unwrap();
    let at = |name: &str| format!("file://{}/{name}", folder.path().display());
    let io = file_io(&BTreeMap::new());

    io.new_output(at("new/a"))
        .unwrap()
        .write("abcdef".into())
        .await
        .unwrap();
    let mut writer = io.new_output(at("new/b")).unwrap().writer().await.unwrap();
    writer.write("gh".into()).await.unwrap();
    writer.write("ij".into()).await.unwrap();
    writer.close().await.unwrap();

    let input = io.new_input(at("new/a")).unwrap();
    assert_eq!(input.metadata().await.unwrap().size, 6);
    let reader = input.reader().await.unwrap();
    assert_eq!(reader.read(2..5).await.unwrap(), "cde");
    assert!(reader.read(4..9).await.is_err());
    assert_eq!(
        io.new_input(at("new/b")).unwrap().read().await.unwrap(),
        "ghij"
    );

    io.delete(at("new/a")).await.unwrap();
    io.delete(at("new/a")).await.unwrap();
    assert!(!io.exists(at("new/a")).await.unwrap());
    io.delete_prefix(at("new/b")).await.unwrap();
    assert!(io.exists(at("new/b")).await.unwrap());
    io.delete_prefix(at("new")).await.unwrap();
    assert!(!folder.path().join("new").exists());
}

#[tokio::test]
async fn a_missing_file_is_told_apart_from_a_failure() {
    let folder = TempDir::new().unwrap();
    let io = file_io(&BTreeMap::new());
    let missing = folder.path().join("a: b").display().to_string();
    let read = async |path: String| io.new_input(path).unwrap().read().await.unwrap_err();
    assert_eq!(missing_file(&read(missing.clone()).await), Some(&*missing));
    let is_folder = read(folder.path().display().to_string()).await;
    assert_eq!(missing_file(&is_folder), None);
    assert_eq!(is_folder.kind(), ErrorKind::DataInvalid);
    assert_eq!(missing_file(&read("gs://b/x".to_owned()).await), None);
}
