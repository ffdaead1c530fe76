//! What locations mean, and which are refused.

use std::path::PathBuf;

use rstest::rstest;

use super::*;

fn remote(service: Service, container: &str, key: &str) -> Location {
    Location::Remote {
        service,
        container: container.to_owned(),
        key: key.to_owned(),
    }
}

#[rstest]
#[case("/a/b%20c.parquet", Location::Local(PathBuf::from("/a/b%20c.parquet")))]
#[case("file:///a/b", Location::Local(PathBuf::from("/a/b")))]
#[case("file://localhost/a/b", Location::Local(PathBuf::from("/a/b")))]
#[case("file:/a/b", Location::Local(PathBuf::from("/a/b")))]
#[case(
    "s3://bucket/a=1%3A2/x.parquet",
    remote(Service::S3, "bucket", "a=1%3A2/x.parquet")
)]
#[case("S3A://bucket", remote(Service::S3, "bucket", ""))]
#[case("gs://bucket/x", remote(Service::Gcs, "bucket", "x"))]
#[case(
    "abfss://c@acct.dfs.core.windows.net/x",
    remote(Service::Azure, "c@acct.dfs.core.windows.net", "x")
)]
#[case(
    "wasbs://c@acct.blob.core.windows.net/x",
    remote(Service::Azure, "c@acct.blob.core.windows.net", "x")
)]
#[case("az://c/x/y", remote(Service::Azure, "c", "x/y"))]
fn locations_are_read(#[case] uri: &str, #[case] expected: Location) {
    assert_eq!(Location::parse(uri).unwrap(), expected);
}

#[rstest]
#[case("hdfs://host/x", "hdfs:// storage is not supported")]
#[case("data/x.parquet", "expected an absolute path")]
#[case("file://data/x", "expected an absolute path")]
#[case("s3:///key", "expected `s3://bucket/key`")]
#[case("gs://", "expected `gs://bucket/key`")]
#[case("abfss://@host/x", "expected `abfss://bucket/key`")]
#[case("abfss://container/x", "adls.account-name must be set")]
#[case("", "expected an absolute path")]
fn other_locations_are_refused(#[case] uri: &str, #[case] expected: &str) {
    let error = open(uri, &BTreeMap::new()).unwrap_err();
    assert!(matches!(error, Error::InvalidRequest { .. }));
    assert!(error.to_string().contains(expected), "{error}");
}

#[test]
fn schemes_that_can_be_opened_are_known() {
    for scheme in ["file", "s3", "s3a", "GS", "abfss", "abfs", "az", "wasbs"] {
        assert!(supported_scheme(scheme), "{scheme}");
    }
    assert!(!supported_scheme("hdfs"));
}

#[test]
fn keys_are_kept_as_written() {
    let at = open("s3a://bucket/ts=00%3A00/~x[1].parquet", &BTreeMap::new()).unwrap();
    assert_eq!(at.path.as_ref(), "ts=00%3A00/~x[1].parquet");
}
