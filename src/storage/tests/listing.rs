//! Listings, and the one spelling of a location.

use std::collections::BTreeSet;
use std::time::Duration;

use futures::TryStreamExt;
use iceberg::io::FileIO;
use rstest::rstest;
use tempfile::TempDir;

use super::bank::Fixture;
use super::*;
use crate::clock::{Clock, SystemClock};

async fn paths(io: &FileIO, folder: &str) -> BTreeSet<String> {
    let listed: Vec<Listed> = list(io, folder).unwrap().try_collect().await.unwrap();
    let paths: BTreeSet<String> = listed.iter().map(|file| file.path.clone()).collect();
    assert_eq!(paths.len(), listed.len());
    paths
}

async fn write(io: &FileIO, path: &str) {
    let output = io.new_output(path).unwrap();
    output.write("abc".into()).await.unwrap();
}

#[rstest]
#[case::disk("")]
#[case::disk_with_scheme("file://")]
#[case::bucket("memory://")]
#[tokio::test]
async fn everything_below_a_folder_is_listed(#[case] scheme: &str) {
    let folder = TempDir::new().unwrap();
    let place = match scheme {
        "memory://" => format!("listing{}", folder.path().display()),
        _ => folder.path().display().to_string(),
    };
    let (io, at) = (file_io(&BTreeMap::new()), |name: &str| {
        format!("{scheme}{place}/{name}")
    });
    for name in ["t/a", "t/b c/d=1%2F2/e", "tt/f"] {
        write(&io, &at(name)).await;
    }
    let expected =
        BTreeSet::from(["t/a", "t/b c/d=1%2F2/e"].map(|name| canonical(&at(name)).unwrap()));
    for folder in [at("t"), at("t/")] {
        let found = paths(&io, &folder).await;
        let found: BTreeSet<String> = found.iter().map(|it| canonical(it).unwrap()).collect();
        assert_eq!(found, expected);
        for path in paths(&io, &folder).await {
            assert!(io.exists(&path).await.unwrap(), "{path}");
        }
    }
    assert!(paths(&io, &at("none")).await.is_empty());
    let listed: Vec<Listed> = list(&io, &at("tt")).unwrap().try_collect().await.unwrap();
    let age = SystemClock.now().duration_since(listed[0].modified);
    assert_eq!(listed[0].size_bytes, 3);
    assert!(age.unwrap_or_default() < Duration::from_secs(60));
}

#[cfg(unix)]
#[tokio::test]
async fn links_are_not_followed() {
    let folder = TempDir::new().unwrap();
    let io = file_io(&BTreeMap::new());
    let at = |name: &str| folder.path().join(name).display().to_string();
    write(&io, &at("other/a")).await;
    write(&io, &at("t/b")).await;
    std::os::unix::fs::symlink(at("other"), at("t/folder")).unwrap();
    std::os::unix::fs::symlink(at("other/a"), at("t/file")).unwrap();
    assert_eq!(paths(&io, &at("t")).await, BTreeSet::from([at("t/b")]));
}

fn two_files(_: &str) -> Option<Answer> {
    Some(Answer::found(
        "<ListBucketResult><IsTruncated>false</IsTruncated>\
         <Contents><Key>t/a</Key><Size>3</Size><LastModified>2026-01-01T00:00:00.000Z</LastModified></Contents>\
         <Contents><Key>t/b/c</Key><Size>4</Size><LastModified>2026-01-02T00:00:00.000Z</LastModified></Contents>\
         </ListBucketResult>",
    ))
}

#[tokio::test]
async fn lent_credentials_list_too() {
    let table = Fixture::new(None, two_files).await;
    let found = paths(&table.io.clone(), "s3a://lake/t").await;
    let expected = ["s3a://lake/t/a", "s3a://lake/t/b/c"].map(str::to_owned);
    assert_eq!(found, BTreeSet::from(expected));
    let request = &table.server.requests()[0];
    assert_eq!(request.key(), "k1");
    assert!(request.head.contains("prefix=t%2F"), "{}", request.head);
}

#[rstest]
#[case("s3://b/t/a", "s3a://b//t/./a/")]
#[case("s3://b/t/a=x%2Fy", "s3n://b/t/a=x%252Fy")]
#[case("s3://b/t/a b", "s3://b/t/a%20b")]
#[case("/w/t/a", "file:///w/t//a")]
#[case("/w/t/a", "file:/w/t/a/")]
#[case("/w/t/a b", "file://localhost/w/t/a%20b")]
#[case(
    "abfss://c@one.dfs.core.windows.net/t",
    "wasbs://c@one.blob.core.windows.net/t"
)]
#[case("az://c/t", "abfs://c@one.dfs.core.windows.net/t")]
fn spellings_of_one_place_are_one(#[case] one: &str, #[case] other: &str) {
    assert_eq!(canonical(one).unwrap(), canonical(other).unwrap());
}

#[test]
fn other_places_stay_apart() {
    let places = [
        "s3://b/t/a",
        "s3://c/t/a",
        "gs://b/t/a",
        "/b/t/a",
        "s3://b/t/A",
        "s3://b/t/%zz",
        "s3://b/t/%",
    ];
    let spelled: BTreeSet<String> = places.iter().map(|it| canonical(it).unwrap()).collect();
    assert_eq!(spelled.len(), places.len());
    assert!(canonical("hdfs://b/t").is_err() && canonical("t/a").is_err());
}
