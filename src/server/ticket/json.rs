//! The JSON form of requests: what generated code does not cover of the rules in `request.proto`.

use serde_json::{Value, json};

use crate::error::{Error, Result};
use crate::proto::v1;

/// Parses a request of our own dialect.
pub(super) fn parse(bytes: &[u8]) -> Result<v1::Request> {
    let mut value: Value = serde_json::from_slice(bytes).map_err(malformed)?;
    refuse_feast(&value)?;
    key_columns(&mut value);
    drop_nulls(&mut value);
    serde_path_to_error::deserialize(value).map_err(invalid)
}

fn malformed(error: serde_json::Error) -> Error {
    Error::Malformed {
        what: "request",
        message: format!("not JSON: {error}"),
    }
}

/// Feast's remote offline store sends objects with an `api` key; where they can be served, `feast` took them before.
fn refuse_feast(value: &Value) -> Result<()> {
    match value.get("api") {
        None => Ok(()),
        Some(api) => Err(Error::Unsupported {
            what: format!("Feast's remote offline store protocol (command {api})"),
        }),
    }
}

/// Key columns are plain lists in JSON: `[1001, "1002", null]` for the messages that they are in protobuf.
fn key_columns(value: &mut Value) {
    let columns = value
        .get_mut("online")
        .and_then(|online| match online.get("entityKeys") {
            Some(_) => online.get_mut("entityKeys"),
            None => online.get_mut("entity_keys"),
        });
    let Some(Value::Object(columns)) = columns else {
        return;
    };
    for column in columns.values_mut() {
        if let Value::Array(values) = column {
            let values: Vec<Value> = std::mem::take(values).into_iter().map(key_value).collect();
            *column = json!({ "values": values });
        }
    }
}

/// What is neither a number nor a text is left to the message, which refuses it by its path.
fn key_value(value: Value) -> Value {
    match value {
        Value::Null => json!({}),
        Value::Number(_) => json!({ "int": value }),
        Value::String(_) => json!({ "text": value }),
        other => other,
    }
}

/// proto3 JSON takes `null` for an absent field of any type; the generated code does so for some.
fn drop_nulls(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|_, field| !field.is_null());
            fields.values_mut().for_each(drop_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(drop_nulls),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn invalid(error: serde_path_to_error::Error<serde_json::Error>) -> Error {
    let path = error.path().to_string();
    let field = if path == "." {
        "request".to_owned()
    } else {
        path
    };
    Error::invalid(field, reworded(&error.into_inner().to_string()))
}

/// Generated code calls the second alternative of a oneof a duplicate field, by its lowerCamelCase name.
fn reworded(message: &str) -> String {
    match message.strip_prefix("duplicate field ") {
        Some(name) => format!(
            "{} is given twice, or together with an alternative to it",
            snake_case(name)
        ),
        None => message.to_owned(),
    }
}

fn snake_case(name: &str) -> String {
    name.chars()
        .flat_map(|c| {
            c.is_ascii_uppercase()
                .then_some('_')
                .into_iter()
                .chain([c.to_ascii_lowercase()])
        })
        .collect()
}
