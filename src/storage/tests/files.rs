//! Iceberg's files on disk and in a bucket.

use iceberg::ErrorKind;
use iceberg::io::FileIO;
use tempfile::TempDir;

use super::*;

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
    assert_eq!(missing_file(&read("ftp://b/x".to_owned()).await), None);
}

async fn text(io: &FileIO, location: &str) -> Bytes {
    io.new_input(location).unwrap().read().await.unwrap()
}

#[tokio::test]
async fn files_of_a_bucket_are_written_read_and_deleted() {
    let io = file_io(&BTreeMap::new());
    let output = |name: &str| io.new_output(format!("memory://files/{name}")).unwrap();
    output("new/a").write("abcdef".into()).await.unwrap();
    let mut writer = output("new/b").writer().await.unwrap();
    writer.write("gh".into()).await.unwrap();
    writer.write("ij".into()).await.unwrap();
    writer.close().await.unwrap();
    assert_eq!(text(&io, "memory://files/new/b").await, "ghij");

    let input = io.new_input("memory://files/new/a").unwrap();
    assert_eq!(input.metadata().await.unwrap().size, 6);
    let reader = input.reader().await.unwrap();
    assert_eq!(reader.read(2..5).await.unwrap(), "cde");

    io.delete("memory://files/new/a").await.unwrap();
    io.delete("memory://files/new/a").await.unwrap();
    assert!(!io.exists("memory://files/new/a").await.unwrap());
    io.delete_prefix("memory://files/new").await.unwrap();
    assert!(!io.exists("memory://files/new/b").await.unwrap());
    let missing = io.new_input("memory://files/new/b").unwrap().read().await;
    let missing = missing.unwrap_err();
    assert_eq!(missing_file(&missing), Some("memory://files/new/b"));
}

#[tokio::test]
async fn a_store_that_refuses_a_file_is_found_below_its_writer() {
    let server = Server::start(|_| Answer::of("403 Forbidden", "secret")).await;
    let io = file_io(&properties(&[
        ("s3.endpoint", &server.address),
        ("s3.access-key-id", "key"),
        ("s3.secret-access-key", "secret"),
        ("s3.path-style-access", "true"),
    ]));
    let mut writer = io.new_output("s3://b/k").unwrap().writer().await.unwrap();
    writer.write("abc".into()).await.unwrap();
    let error = writer.close().await.unwrap_err();
    let (file, told) = outage(&error).unwrap();
    assert_eq!(file, "s3://b/k");
    assert!(told.contains("403"), "{told}");
    assert!(!told.contains("secret"), "{told}");
}
