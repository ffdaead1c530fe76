//! Strict reading: all faults at once, each with its key and origin.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::*;

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Outer {
    number: u16,
    flag: bool,
    ratio: f64,
    word: Option<String>,
    inner: Inner,
    items: Vec<Item>,
    free: BTreeMap<String, String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Inner {
    kind: Choice,
}

#[derive(Debug, Deserialize)]
struct Item {
    name: String,
}

#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Choice {
    #[default]
    One,
    Two,
}

fn read(text: &str) -> Reading<Outer> {
    Document::parse(text, "f.toml").expect("valid TOML").read()
}

fn faults(text: &str) -> Vec<String> {
    read(text).faults.iter().map(Fault::to_string).collect()
}

#[test]
fn every_kind_of_value_is_read() {
    let text = r#"
        number = 0x10
        flag = true
        ratio = 0.5
        word = "w"
        items = [{ name = "a" }, { name = "b" }]
        inner = { kind = "two" }
        free = { "s3.key" = "v" }
    "#;
    let Reading {
        value,
        complete,
        faults,
    } = read(text);
    let value = value.unwrap();
    assert_eq!(faults, []);
    assert!(complete);
    assert_eq!((value.number, value.flag, value.ratio), (16, true, 0.5));
    assert_eq!(value.word.as_deref(), Some("w"));
    assert_eq!(value.inner.kind, Choice::Two);
    assert_eq!(
        value
            .items
            .iter()
            .map(|item| item.name.as_str())
            .collect::<Vec<_>>(),
        ["a", "b"]
    );
    assert_eq!(value.free["s3.key"], "v");
}

#[test]
fn unknown_keys_are_reported_with_the_nearest_and_do_not_hide_the_value() {
    let reading = read("number = 1\nnumbr = 2\n[inner]\nzzz = 1\n");
    assert_eq!(reading.value.unwrap().number, 1);
    assert!(reading.complete);
    let shown: Vec<String> = reading.faults.iter().map(Fault::to_string).collect();
    assert_eq!(
        shown,
        [
            "numbr: unknown key; did you mean `number`? (f.toml:2)",
            "inner.zzz: unknown key (f.toml:4)"
        ]
    );
}

#[test]
fn all_type_errors_are_reported_in_one_go() {
    let found = faults(
        "number = 70000\nflag = \"no\"\nword = 1\ninner = 3\nitems = { }\nfree = { a = 1, b = [] }\n",
    );
    assert_eq!(
        found,
        [
            "number: expected a whole number, 0 or more, found integer `70000` (f.toml:1)",
            "flag: expected a boolean, found a string (f.toml:2)",
            "word: expected a string, found an integer (f.toml:3)",
            "inner: expected a section, found an integer (f.toml:4)",
            "items: expected a list, found a section (f.toml:5)",
            "free.a: expected a string, found an integer (f.toml:6)",
            "free.b: expected a string, found a list (f.toml:6)",
        ]
    );
}

#[test]
fn a_faulty_required_field_is_not_reported_as_missing_too() {
    let found = faults("items = [\n  { name = 5 },\n  { },\n]\ninner.kind = \"twoo\"\n");
    assert_eq!(
        found,
        [
            "items[0].name: expected a string, found an integer (f.toml:2)",
            "items[1]: `name` is missing (f.toml:3)",
            "inner.kind: expected one of `one`, `two`, found `twoo`; did you mean `two`? (f.toml:5)",
        ]
    );
    assert!(!read("number = false").complete);
}

#[test]
fn syntax_errors_name_their_lines() {
    let found = Document::parse("a = 1\nb = \nc = 1\na = 2\n", "f.toml").unwrap_err();
    let lines: Vec<String> = found.iter().map(|fault| fault.origin.to_string()).collect();
    assert_eq!(lines, ["f.toml:2", "f.toml:4"]);
}

#[test]
fn text_from_the_environment_stands_for_numbers_and_booleans() {
    let mut document = Document::empty();
    let mut set = |key: &str, text: &str| {
        document.set(&[key.to_owned()], text, Origin::Environment(key.to_owned()))
    };
    set("number", "8");
    set("flag", "true");
    set("word", "8");
    set("ratio", "half");
    let Reading { value, faults, .. } = document.read::<Outer>();
    let value = value.unwrap();
    assert_eq!(
        (value.number, value.flag, value.word.as_deref()),
        (8, true, Some("8"))
    );
    let shown: Vec<String> = faults.iter().map(Fault::to_string).collect();
    assert_eq!(
        shown,
        ["ratio: expected f64, found a string (environment variable ratio)"]
    );
}

#[test]
fn a_date_is_no_text() {
    assert_eq!(
        faults("word = 2026-01-01"),
        ["word: expected a string, found a date or time (f.toml:1)"]
    );
}
