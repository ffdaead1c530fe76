//! `[catalogs.NAME]` as people copy it from pyiceberg: properties stand beside `type` and `uri`, in quotes, as nested tables or
//! below `properties`, and secrets are references to variables of the environment.

use crate::catalog::is_property;
use crate::strict_toml::{Document, Fault, Origin};

/// Keys of a section that are no properties.
const OWN: [&str; 4] = ["properties", "type", "uri", "warehouse"];

/// The catalog `default`, where it is not configured otherwise.
const DEFAULT: [(&str, &str); 3] = [
    ("type", "sql"),
    ("uri", "sqlite:///data/catalog.db"),
    ("warehouse", "data/warehouse"),
];

/// Moves properties to where [`CatalogConfig`](crate::catalog::CatalogConfig) has them. Keys that no property has stay, to be
/// refused.
pub(super) fn gather_properties(document: &mut Document) {
    let property = |key: &str| match key.strip_prefix("properties.") {
        Some(property) => Some(property.to_owned()),
        None => is_property(key).then(|| key.to_owned()),
    };
    for name in document.keys(&["catalogs"]) {
        document.gather(&["catalogs", &name], "properties", property);
    }
}

/// Whether a key of a section is one of its own, not a property.
pub(super) fn is_own(key: &str) -> bool {
    OWN.contains(&key)
}

/// Replaces `${NAME}` in every text that a file says about catalogs by that variable's value.
pub(super) fn insert_variables(
    document: &mut Document,
    variable: impl Fn(&str) -> Option<String>,
) -> Vec<Fault> {
    document.replace_texts(&["catalogs"], |text| with_variables(text, &variable))
}

/// `$${` stands for `${` itself.
fn with_variables(
    text: &str,
    variable: &impl Fn(&str) -> Option<String>,
) -> Result<String, String> {
    let Some((before, rest)) = text.split_once("${") else {
        return Ok(text.to_owned());
    };
    if let Some(before) = before.strip_suffix('$') {
        return Ok(format!("{before}${{{}", with_variables(rest, variable)?));
    }
    let unclosed = || "`${` without `}`; `$${` stands for the characters themselves".to_owned();
    let (name, rest) = rest.split_once('}').ok_or_else(unclosed)?;
    let value =
        variable(name).ok_or_else(|| format!("environment variable `{name}` is not set"))?;
    Ok(format!(
        "{before}{value}{}",
        with_variables(rest, variable)?
    ))
}

/// Completes the catalog `default` if it is the only one or is begun; the place is that of a SQL catalog.
pub(super) fn add_default(document: &mut Document) {
    let begun = document.has(&["catalogs", "default"]);
    if document.has(&["catalogs"]) && !begun {
        return;
    }
    let kind = document.text(&["catalogs", "default", "type"]);
    let is_sql = kind.is_none_or(|kind| kind == "sql");
    for (key, value) in DEFAULT {
        if is_sql && !document.has(&["catalogs", "default", key]) {
            let path = ["catalogs", "default", key].map(str::to_owned);
            document.set(&path, value, Origin::Default);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_inserted_anywhere_in_a_text() {
        let variable = |name: &str| (name == "USER").then(|| "ann".to_owned());
        let insert = |text| with_variables(text, &variable);
        assert_eq!(insert("plain $USER $").as_deref(), Ok("plain $USER $"));
        assert_eq!(insert("${USER}").as_deref(), Ok("ann"));
        assert_eq!(
            insert("a://${USER}:x@h/${USER}").as_deref(),
            Ok("a://ann:x@h/ann")
        );
        assert_eq!(insert("$${USER} ${USER}").as_deref(), Ok("${USER} ann"));
        assert_eq!(
            insert("${OTHER}"),
            Err("environment variable `OTHER` is not set".to_owned())
        );
        assert!(insert("${USER").is_err());
    }
}
