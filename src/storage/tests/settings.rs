//! Which settings properties become, what is shared, and what never shows.

use rstest::rstest;

use super::*;

#[test]
fn clients_are_shared_by_bucket_and_properties() {
    let of = |bucket: &str, secret: &str| {
        let properties = properties(&[
            ("s3.access-key-id", "key"),
            ("s3.secret-access-key", secret),
            ("unrelated", secret),
        ]);
        clients::client(Service::S3, bucket, &properties).unwrap()
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
#[case(&[("s3.connect-timeout", "soon")], "s3.connect-timeout: expected seconds, found `soon`")]
#[case(&[("s3.request-timeout", "0")], "s3.request-timeout: expected seconds, found `0`")]
#[case(&[("s3.remote-signing-enabled", "true")], "is not supported; ask for credentials that come with the table")]
#[case(&[("s3.signer", "S3V4RestSigner")], "is not supported; ask for credentials that come with the table")]
#[case(&[("s3.ca-bundle", "/no/such.pem")], "cannot read the certificates in `/no/such.pem`")]
#[case(&[("ssl.cabundle", "/dev/null")], "cannot read the certificates in `/dev/null`: it holds none")]
#[case(&[("s3.proxy-uri", "http://[")], "proxy-uri: expected an address")]
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

#[rstest]
#[case(&[("s3.access-key-id", "k"), ("s3.secret-access-key", "s")], "StaticCredentialProvider")]
#[case(&[("client.access-key-id", "k"), ("client.secret-access-key", "s")], "StaticCredentialProvider")]
#[case(&[("s3.profile-name", "team")], "SdkCredentials")]
#[case(&[("client.role-arn", "arn:aws:iam::1:role/r")], "SdkCredentials")]
#[case(&[("client.assume-role.arn", "arn:aws:iam::1:role/r")], "SdkCredentials")]
#[case(&[("s3.role-arn", "r"), ("s3.access-key-id", "k"), ("s3.secret-access-key", "s")], "SdkCredentials")]
fn credentials_come_from_keys_or_through_the_sdk(
    #[case] entries: &[(&str, &str)],
    #[case] expected: &str,
) {
    let located = open("s3://bucket/key", &properties(entries)).unwrap();
    let shown = format!("{located:?}");
    assert!(
        shown.contains(&format!("credentials: {expected}")),
        "{shown}"
    );
}

const OF_AN_APPLICATION: [(&str, &str); 4] = [
    ("adls.account-name", "acct"),
    ("adls.client-id", "id"),
    ("adls.client-secret", "hunter2"),
    ("adls.tenant-id", "tenant"),
];

#[rstest]
#[case("gs://lake/x", &[("gcs.oauth2.token", "hunter2")], "GoogleCloudStorage(lake)")]
#[case("abfss://c@acct.dfs.core.windows.net/x", &[("adls.account-key", "aHVudGVyMg==")], "MicrosoftAzure")]
#[case("az://c/x", &[("adls.sas-token.acct.dfs.core.windows.net", "sv=1&sig=hunter2")], "account: acct")]
#[case("az://c/x", &[("adls.connection-string", "AccountName=acct;AccountKey=aHVudGVyMg==")], "account: acct")]
#[case("az://c/x", &OF_AN_APPLICATION, "account: acct")]
fn google_and_azure_show_no_secret(
    #[case] uri: &str,
    #[case] entries: &[(&str, &str)],
    #[case] expected: &str,
) {
    let located = open(uri, &properties(entries)).unwrap();
    let shown = format!("{located:?}");
    assert!(shown.contains(expected), "{shown}");
    assert!(
        !shown.contains("hunter2") && !shown.contains("aHVudGVyMg"),
        "{shown}"
    );
}

#[tokio::test]
async fn anonymous_requests_are_not_signed() {
    let server = Server::start(|_| Answer::found("abc")).await;
    let properties = properties(&[("s3.endpoint", &server.address), ("s3.anonymous", "true")]);
    let io = file_io(&properties);
    let read = io.new_input("s3://lake/a").unwrap().read().await.unwrap();
    assert_eq!(read, "abc");
    let requests = server.requests();
    assert_eq!(requests[0].header("authorization"), None);
    assert!(requests[0].head.starts_with("GET /lake/a "), "{requests:?}");
}

#[tokio::test]
async fn the_sdk_is_asked_for_credentials() {
    let properties = properties(&[("s3.access-key-id", "k1"), ("s3.secret-access-key", "x")]);
    let provider = s3::SdkCredentials::new(properties);
    let credential = provider.get_credential().await.unwrap();
    assert_eq!(credential.key_id, "k1");
}
