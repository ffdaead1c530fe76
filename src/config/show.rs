//! The settings in force, for people and support requests: no secrets.

use toml::{Table, Value};

use super::Config;
use crate::catalog::{REDACTED, redacted_uri};
use crate::strict_toml::{Document, Origin, quoted_key};

pub(super) fn describe(config: &Config, document: &Document) -> String {
    let table = Table::try_from(config).expect("every setting has a form in TOML");
    let mut lines = Vec::new();
    add_lines(&table, &mut Vec::new(), document, &mut lines);
    lines.concat()
}

fn add_lines<'a>(
    table: &'a Table,
    path: &mut Vec<&'a str>,
    document: &Document,
    lines: &mut Vec<String>,
) {
    for (key, value) in table {
        path.push(key);
        match value {
            Value::Table(section) => add_lines(section, path, document, lines),
            value => lines.push(line(path, value, document)),
        }
        path.pop();
    }
}

fn line(path: &[&str], value: &Value, document: &Document) -> String {
    let value = match path {
        ["catalogs", _, "properties", _] => Value::from(REDACTED),
        ["catalogs", _, "uri"] => Value::from(redacted_uri(value.as_str().unwrap_or_default())),
        _ => value.clone(),
    };
    let keys: Vec<String> = path.iter().map(|segment| quoted_key(segment)).collect();
    let origin = match document.has(path).then(|| document.origin(path)) {
        None | Some(Origin::Default) => String::new(),
        Some(origin) => format!("  # {origin}"),
    };
    format!("{} = {value}{origin}\n", keys.join("."))
}
