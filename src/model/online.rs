//! Online features: the latest row per entity key, kept in one table for each feature view and version.

use std::fmt;
use std::str::FromStr;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{FeatureSelection, SnapshotId, Ttl};
use crate::error::Error;

/// Name of the key that stands for none, which Feast gives to entity-less views.
pub const DUMMY_KEY: &str = "__dummy_id";

/// A type that a join key can have: those that Feast's entity keys can hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum KeyType {
    /// Any bytes.
    Bytes,
    /// UTF-8 text.
    String,
    /// 32 bits, signed.
    Int32,
    /// 64 bits, signed.
    Int64,
    /// Whole seconds since 1970.
    UnixTimestamp,
}

impl KeyType {
    /// Feast's name of it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Bytes => "BYTES",
            Self::String => "STRING",
            Self::Int32 => "INT32",
            Self::Int64 => "INT64",
            Self::UnixTimestamp => "UNIX_TIMESTAMP",
        }
    }
}

impl FromStr for KeyType {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let known = [
            Self::Bytes,
            Self::String,
            Self::Int32,
            Self::Int64,
            Self::UnixTimestamp,
        ];
        let found = known
            .into_iter()
            .find(|known| known.name().eq_ignore_ascii_case(text));
        found.ok_or_else(|| {
            let names = known.map(Self::name).join("`, `");
            Error::invalid("type", format!("expected one of `{names}`, found `{text}`"))
        })
    }
}

/// One column of an online table's key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyField {
    /// Column name.
    pub name: String,
    /// Type, which decides the bytes of the entity key.
    #[serde(rename = "type")]
    pub key_type: KeyType,
}

/// A feature as a definition declares it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeclaredFeature {
    /// Name.
    pub name: String,
    /// Feast's name of its type, such as `INT64` or `STRING_LIST`.
    #[serde(rename = "type")]
    pub type_name: String,
}

/// What the online side has to know of a feature view; kept in its table's properties, so that it survives restarts and
/// reaches replicas.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OnlineDefinition {
    /// Key columns in the definition's order; empty for an entity-less view.
    pub join_keys: Vec<KeyField>,
    /// Features as declared; rows may bring others.
    pub features: Vec<DeclaredFeature>,
    /// How old a row may be.
    pub ttl: Ttl,
}

/// A feature view, or one version of it: `driver_stats` or `driver_stats@v2`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ViewVersion {
    /// Name in the definitions.
    pub view: String,
    /// Version, where the client tells versions apart.
    pub version: Option<u32>,
}

impl ViewVersion {
    /// Reads `view` or `view@vN`. Anything else behind an `@` belongs to the name.
    pub fn parse(text: &str) -> Self {
        let versioned = text
            .rsplit_once("@v")
            .and_then(|(view, version)| Some((view, version.parse().ok()?)));
        match versioned {
            Some((view, version)) if !view.is_empty() => Self {
                view: view.to_owned(),
                version: Some(version),
            },
            _ => Self {
                view: text.to_owned(),
                version: None,
            },
        }
    }
}

impl fmt::Display for ViewVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.version {
            Some(version) => write!(f, "{}@v{version}", self.view),
            None => f.write_str(&self.view),
        }
    }
}

/// One key value as JSON brings it; the join key's type decides what it becomes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyValue {
    /// No value, which matches nothing.
    Null,
    /// A whole number.
    Int(i64),
    /// A text; also a whole number, written as one.
    Text(String),
}

/// Which entities are asked for.
#[derive(Clone, Debug, PartialEq)]
pub enum OnlineKeys {
    /// Columns of equal length by name, in the client's order.
    Columns(Vec<(String, Vec<KeyValue>)>),
    /// An Arrow IPC stream inside the request; not yet checked.
    Ipc(Bytes),
    /// On the same call (DoExchange), batch by batch.
    Attached,
}

/// Latest values of features for entities.
#[derive(Clone, Debug, PartialEq)]
pub struct OnlineRequest {
    /// Project that the client asks for; the served one where absent.
    pub project: Option<String>,
    /// Features to read. The view part of a ref may name a version: `view@v2:feature`.
    pub features: FeatureSelection,
    /// Name feature columns `view__feature` instead of `feature`.
    pub full_feature_names: bool,
    /// Entities to read for.
    pub keys: OnlineKeys,
    /// Add each view's event timestamps.
    pub include_timestamps: bool,
    /// Add each feature's status.
    pub include_status: bool,
    /// Return values older than the view's ttl too.
    pub ignore_ttl: bool,
    /// The read sees at least the write that answered with this.
    pub token: Option<WriteToken>,
}

/// Proof of a write, which a read can demand to see: `UUID.SEQUENCE`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WriteToken {
    /// The table's uuid.
    pub table: uuid::Uuid,
    /// Data sequence number of the snapshot that has the rows.
    pub sequence: i64,
}

impl fmt::Display for WriteToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.table.simple(), self.sequence)
    }
}

impl FromStr for WriteToken {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let parsed = text.split_once('.').and_then(|(table, sequence)| {
            Some(Self {
                table: uuid::Uuid::try_parse(table).ok()?,
                sequence: sequence.parse().ok()?,
            })
        });
        parsed.ok_or_else(|| {
            Error::invalid(
                "online.token",
                format!("expected the token that a write answered, found `{text}`"),
            )
        })
    }
}

/// Where written rows go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteTarget {
    /// The view's online table.
    Online,
    /// The view's batch source.
    Offline,
}

/// Rows of a feature view, which follow as Arrow batches.
#[derive(Clone, Debug, PartialEq)]
pub struct WriteRequest {
    /// Project that the client asks for; the served one where absent.
    pub project: Option<String>,
    /// The view.
    pub view: ViewVersion,
    /// Where its rows go.
    pub to: WriteTarget,
    /// Name of this logical write: rows of the same name are written once.
    pub idempotency_key: Option<String>,
    /// The view's definition, from a client that knows; otherwise the registry's, or that of the table.
    pub definition: Option<OnlineDefinition>,
}

/// What became of a write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WriteOutcome {
    /// Table or file that has the rows.
    pub table: String,
    /// Snapshot that made them visible, if one did.
    pub snapshot: Option<SnapshotId>,
    /// Rows of this logical write.
    pub rows: u64,
    /// Whether an earlier write of the same idempotency key had written them.
    pub replayed: bool,
    /// For reads that must see them; of online writes.
    pub token: Option<WriteToken>,
}

/// What became of an update or a teardown: the tables that changed, or that would change.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UpdateOutcome {
    /// Tables that were created.
    pub created: Vec<String>,
    /// Tables whose columns or definition changed.
    pub evolved: Vec<String>,
    /// Tables that were dropped.
    pub dropped: Vec<String>,
}

/// Online tables to create, evolve and drop.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct UpdateRequest {
    /// Project that the client asks for; the served one where absent.
    pub project: Option<String>,
    /// Views that should have a table, with their definitions; `None` asks the registry.
    pub keep: Vec<(ViewVersion, Option<OnlineDefinition>)>,
    /// Views whose tables go, with all their versions where none is named.
    pub delete: Vec<ViewVersion>,
    /// Say what would happen, and change nothing.
    pub dry_run: bool,
}

/// Online tables to drop.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TeardownRequest {
    /// Project that the client asks for; the served one where absent.
    pub project: Option<String>,
    /// Views whose tables go, with all their versions; empty stands for all of the project.
    pub views: Vec<String>,
}

/// How an online table's files are partitioned.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PartitionStrategy {
    /// By Iceberg's `bucket[N]` of the entity key.
    #[default]
    EntityHash,
    /// By the hour of the event.
    Timestamp,
    /// By bucket, then by the day of the event.
    Hybrid,
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("driver", "driver", None)]
    #[case("driver@v2", "driver", Some(2))]
    #[case("driver@v", "driver@v", None)]
    #[case("driver@vx", "driver@vx", None)]
    #[case("@v2", "@v2", None)]
    fn versions_follow_the_name(
        #[case] text: &str,
        #[case] view: &str,
        #[case] version: Option<u32>,
    ) {
        let parsed = ViewVersion::parse(text);
        assert_eq!((parsed.view.as_str(), parsed.version), (view, version));
        assert_eq!(parsed.to_string(), text);
    }

    #[test]
    fn tokens_come_back() {
        let token = WriteToken {
            table: uuid::Uuid::from_u128(7),
            sequence: 12,
        };
        assert_eq!(token.to_string().parse::<WriteToken>().unwrap(), token);
        assert!("nonsense".parse::<WriteToken>().is_err());
    }

    #[rstest]
    #[case("INT64", Some(KeyType::Int64))]
    #[case("int64", Some(KeyType::Int64))]
    #[case("unix_timestamp", Some(KeyType::UnixTimestamp))]
    #[case("DOUBLE", None)]
    fn key_types_go_by_feasts_names(#[case] text: &str, #[case] expected: Option<KeyType>) {
        assert_eq!(text.parse::<KeyType>().ok(), expected);
    }
}
