//! The commands as Feast's clients write them. Keys that are not listed here are ignored, as upstream does.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::error::{Error, Result};
use crate::model::SourceRows;

/// A command id is a uuid4, and the only thing in a command that nobody else can know.
const MIN_COMMAND_ID_CHARS: usize = 16;

/// A command.
#[derive(Debug, PartialEq)]
pub(super) struct Command {
    pub(super) id: String,
    pub(super) call: Call,
}

/// Feast's eight APIs: four that read, four that do something.
#[derive(Debug, PartialEq)]
pub(super) enum Call {
    Read(Read),
    Write(Write),
}

#[derive(Debug, PartialEq)]
pub(super) enum Read {
    /// `get_historical_features`
    Historical(Historical),
    /// `pull_latest_from_table_or_query`, `pull_all_from_table_or_query`
    Pull(SourceRows, Pull),
    /// `get_table_column_names_and_types_from_data_source`
    Columns(Described),
}

#[derive(Debug, PartialEq)]
pub(super) enum Write {
    /// `offline_write_batch`
    Batch(WriteBatch),
    /// `write_logged_features`
    Logs(WriteLogs),
    /// `persist`
    Persist(Box<Persist>),
    /// `validate_data_source`
    Validate(Described),
}

#[derive(Debug, PartialEq, Deserialize)]
pub(super) struct Historical {
    pub(super) feature_view_names: Vec<String>,
    /// Parallel to `feature_view_names`.
    pub(super) name_aliases: Vec<Option<String>>,
    pub(super) feature_refs: Vec<String>,
    pub(super) project: String,
    pub(super) full_feature_names: bool,
    pub(super) start_date: Option<String>,
    pub(super) end_date: Option<String>,
    pub(super) entity_df_sql: Option<String>,
    /// Parallel to `feature_view_names`, from join key to the entity dataframe's column: what `feast-murre` adds.
    pub(super) join_key_maps: Option<Vec<BTreeMap<String, String>>>,
}

#[derive(Debug, PartialEq, Deserialize)]
pub(super) struct Pull {
    pub(super) data_source_name: String,
    pub(super) join_key_columns: Vec<String>,
    pub(super) feature_name_columns: Vec<String>,
    pub(super) timestamp_field: String,
    pub(super) created_timestamp_column: Option<String>,
    pub(super) start_date: Option<String>,
    pub(super) end_date: Option<String>,
}

#[derive(Debug, PartialEq, Deserialize)]
pub(super) struct WriteBatch {
    pub(super) feature_view_names: Vec<String>,
    /// Name of the logical write: what `feast-murre` adds.
    pub(super) idempotency_key: Option<String>,
}

#[derive(Debug, PartialEq, Deserialize)]
pub(super) struct WriteLogs {
    pub(super) feature_service_name: String,
    /// Name of the logical write: what `feast-murre` adds.
    pub(super) idempotency_key: Option<String>,
}

/// A data source as the client has it, in protobuf's JSON form.
#[derive(Debug, PartialEq, Deserialize)]
pub(super) struct Described {
    pub(super) data_source_proto: String,
}

#[derive(Debug, PartialEq)]
pub(super) struct Persist {
    pub(super) read: Read,
    pub(super) to: Destination,
}

#[derive(Debug, PartialEq, Deserialize)]
pub(super) struct Destination {
    pub(super) data_source_name: String,
    pub(super) allow_overwrite: bool,
    /// Seconds.
    pub(super) timeout: Option<f64>,
}

#[derive(Deserialize)]
struct Head {
    command_id: String,
    api: String,
}

#[derive(Deserialize)]
struct Retrieval {
    retrieve_func: String,
}

impl Command {
    /// # Errors
    /// [`Error::InvalidRequest`] naming the key that is missing or wrong.
    pub(super) fn decode(bytes: &Bytes) -> Result<Self> {
        let command: Value = serde_json::from_slice(bytes).map_err(|error| Error::Malformed {
            what: "command",
            message: format!("not JSON: {error}"),
        })?;
        let Head { command_id, api } = parse("command", &command)?;
        if command_id.chars().count() < MIN_COMMAND_ID_CHARS {
            let message = format!("expected at least {MIN_COMMAND_ID_CHARS} random characters");
            return Err(Error::invalid("command.command_id", message));
        }
        Ok(Self {
            id: command_id,
            call: call(&api, &command)?,
        })
    }

    /// # Errors
    /// [`Error::InvalidRequest`] if the command returns no rows.
    pub(super) fn into_read(self) -> Result<Read> {
        match self.call {
            Call::Read(read) => Ok(read),
            Call::Write(_) => Err(Error::invalid(
                "command.api",
                "it has a side effect and no rows; send it with DoPut",
            )),
        }
    }
}

fn call(api: &str, command: &Value) -> Result<Call> {
    let write = match api {
        "offline_write_batch" => Write::Batch(parse(api, command)?),
        "write_logged_features" => Write::Logs(parse(api, command)?),
        "persist" => Write::Persist(Box::new(persist(command)?)),
        "validate_data_source" => Write::Validate(parse(api, command)?),
        _ => {
            return read(api, command)?
                .map(Call::Read)
                .ok_or_else(|| unknown("api", api));
        }
    };
    Ok(Call::Write(write))
}

fn read(api: &str, command: &Value) -> Result<Option<Read>> {
    Ok(Some(match api {
        "get_table_column_names_and_types_from_data_source" => Read::Columns(parse(api, command)?),
        _ => return rows(api, command),
    }))
}

/// The APIs whose rows can also be persisted.
fn rows(api: &str, command: &Value) -> Result<Option<Read>> {
    Ok(Some(match api {
        "get_historical_features" => Read::Historical(parse(api, command)?),
        "pull_latest_from_table_or_query" => Read::Pull(SourceRows::Latest, parse(api, command)?),
        "pull_all_from_table_or_query" => Read::Pull(SourceRows::All, parse(api, command)?),
        _ => return Ok(None),
    }))
}

fn persist(command: &Value) -> Result<Persist> {
    let Retrieval { retrieve_func } = parse("persist", command)?;
    let read = rows(&retrieve_func, command)?;
    Ok(Persist {
        read: read.ok_or_else(|| unknown("retrieve_func", &retrieve_func))?,
        to: parse("persist", command)?,
    })
}

fn parse<T: DeserializeOwned>(api: &str, command: &Value) -> Result<T> {
    serde_path_to_error::deserialize(command).map_err(|error| {
        let path = error.path().to_string();
        let field = match path.as_str() {
            "." => api.to_owned(),
            path => format!("{api}.{path}"),
        };
        Error::invalid(field, error.into_inner().to_string())
    })
}

fn unknown(key: &str, api: &str) -> Error {
    Error::invalid(
        format!("command.{key}"),
        format!("`{api}` is none of Feast's offline store calls that fit here"),
    )
}
