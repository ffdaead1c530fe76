//! One version of each crate whose types cross our borders. `deny.toml` says the same, but needs a tool to be installed.

use std::collections::BTreeMap;

const LOCK: &str = include_str!("../../Cargo.lock");
const SINGLE: [&str; 5] = ["arrow", "datafusion", "parquet", "tonic", "prost"];

fn versions() -> BTreeMap<String, Vec<String>> {
    let lock: toml::Table = LOCK.parse().expect("cargo writes TOML");
    let mut versions: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for package in lock["package"].as_array().expect("cargo lists packages") {
        let of = |key: &str| {
            package[key]
                .as_str()
                .expect("every package has it")
                .to_owned()
        };
        versions.entry(of("name")).or_default().push(of("version"));
    }
    versions
}

#[test]
fn crates_on_our_borders_are_there_once() {
    let versions = versions();
    let family = |name: &&String| {
        let root = name.split('-').next().unwrap_or_default();
        SINGLE.contains(&root)
    };
    for name in versions.keys().filter(family) {
        assert_eq!(versions[name].len(), 1, "{name}: {:?}", versions[name]);
    }
    for name in SINGLE {
        assert!(versions.contains_key(name), "{name} is not locked");
    }
}
