//! Whose keys and which region properties mean.

use aws_credential_types::provider::ProvideCredentials;
use rstest::rstest;

use super::*;

fn properties(given: &[(&str, &str)]) -> BTreeMap<String, String> {
    let own = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
    given.iter().map(own).collect()
}

const SHARED: [(&str, &str); 4] = [
    ("client.region", "us-west-2"),
    ("client.access-key-id", "shared"),
    ("client.secret-access-key", "hunter2"),
    ("client.session-token", "hunter3"),
];

#[tokio::test]
async fn keys_of_the_service_come_first_and_as_a_whole() {
    let own = [
        ("glue.region", "eu-west-1"),
        ("glue.access-key-id", "own"),
        ("glue.secret-access-key", "hunter4"),
    ];
    let given = properties(&[&SHARED[..], &own[..]].concat());
    for (service, region, key, token) in [
        ("glue", "eu-west-1", "own", None),
        ("s3", "us-west-2", "shared", Some("hunter3")),
    ] {
        let config = sdk_config(service, &given).await.unwrap();
        assert_eq!(config.region().unwrap().as_ref(), region);
        let provider = config.credentials_provider().unwrap();
        let keys = provider.provide_credentials().await.unwrap();
        assert_eq!((keys.access_key_id(), keys.session_token()), (key, token));
        assert!(!format!("{config:?} {keys:?}").contains("hunter"));
    }
}

#[tokio::test]
async fn a_role_replaces_the_keys_and_brings_its_region() {
    let role = [
        ("client.assume-role.arn", "arn:aws:iam::123456789012:role/r"),
        ("client.assume-role.region", "eu-north-1"),
        ("client.assume-role.external-id", "id"),
    ];
    let given = properties(&[&SHARED[..], &role[..]].concat());
    let config = sdk_config("glue", &given).await.unwrap();
    assert_eq!(config.region().unwrap().as_ref(), "eu-north-1");
    let provider = format!("{:?}", config.credentials_provider());
    assert!(!provider.contains("hunter"), "{provider}");
}

#[rstest]
#[case(&[], 0)]
#[case(&SHARED, 0)]
#[case(&[("glue.access-key-id", "a")], 1)]
#[case(&[("client.secret-access-key", "hunter2")], 1)]
#[case(&[("glue.region", "evil.example.com/")], 1)]
#[case(&[("glue.region", "eu-west-1"), ("client.region", "evil.example.com/")], 1)]
#[case(&[("s3.access-key-id", "a")], 0)]
fn contradictions_are_found(#[case] given: &[(&str, &str)], #[case] count: usize) {
    let found = faults("glue", &properties(given));
    assert_eq!(found.len(), count, "{found:?}");
    assert!(!format!("{found:?}").contains("hunter"));
}
