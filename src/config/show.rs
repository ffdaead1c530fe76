//! The settings in force, for people and support requests: no secrets.

use toml::{Table, Value};

use super::Config;
use crate::strict_toml::{Document, Origin, quoted_key};

const REDACTED: &str = "[redacted]";

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
        ["catalogs", _, "uri"] => Value::from(without_password(value.as_str().unwrap_or_default())),
        _ => value.clone(),
    };
    let keys: Vec<String> = path.iter().map(|segment| quoted_key(segment)).collect();
    let origin = match document.has(path).then(|| document.origin(path)) {
        None | Some(Origin::Default) => String::new(),
        Some(origin) => format!("  # {origin}"),
    };
    format!("{} = {value}{origin}\n", keys.join("."))
}

/// `scheme://user:password@host` without the password; whatever follows `?` may hold one too.
fn without_password(uri: &str) -> String {
    let (uri, query) = uri
        .split_once('?')
        .map_or((uri, ""), |(uri, _)| (uri, "?[redacted]"));
    let Some((scheme, rest)) = uri.split_once("://") else {
        return format!("{uri}{query}");
    };
    let authority_end = rest.find('/').unwrap_or(rest.len());
    let (authority, path) = rest.split_at(authority_end);
    match authority
        .rsplit_once('@')
        .map(|(user, host)| (user.split(':').next().unwrap_or_default(), host))
    {
        Some((user, host)) => format!("{scheme}://{user}:{REDACTED}@{host}{path}{query}"),
        None => format!("{scheme}://{authority}{path}{query}"),
    }
}

#[cfg(test)]
mod tests {
    use super::without_password;

    #[test]
    fn a_uri_keeps_all_but_its_password() {
        let shown = |uri| without_password(uri);
        assert_eq!(
            shown("postgresql://ann:se:cr@t@db:5432/lake?a=b"),
            "postgresql://ann:[redacted]@db:5432/lake?[redacted]"
        );
        assert_eq!(
            shown("sqlite:///data/catalog.db"),
            "sqlite:///data/catalog.db"
        );
        assert_eq!(shown("https://host/a@b:c"), "https://host/a@b:c");
        assert_eq!(shown("plain"), "plain");
    }
}
