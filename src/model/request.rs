//! What a client can ask for, independent of the dialect it was asked in.
//!
//! Requests name feature views. Requests that name a source directly (latest rows, all rows, column types) become
//! variants of [`Request`] of their own.

use std::collections::BTreeMap;
use std::fmt;

use bytes::Bytes;
use chrono::{DateTime, Utc};

use super::{
    FeatureRef, OnlineRequest, SnapshotId, TableName, TeardownRequest, UpdateRequest, UploadId,
    WriteRequest,
};

/// A decoded request.
#[derive(Clone, Debug, PartialEq)]
pub enum Request {
    /// Point-in-time join of an entity dataframe with feature views.
    Historical(HistoricalRequest),
    /// Keep an entity dataframe for later requests.
    UploadEntities {
        /// Project that the client believes to talk to.
        project: Option<String>,
    },
    /// Latest values of features for entities.
    Online(OnlineRequest),
    /// Rows of a feature view, to be stored.
    Write(WriteRequest),
    /// Create, evolve and drop online tables.
    Update(UpdateRequest),
    /// Drop online tables.
    Teardown(TeardownRequest),
}

impl Request {
    /// Its name on the wire.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Historical(_) => "historical",
            Self::UploadEntities { .. } => "upload_entities",
            Self::Online(_) => "online",
            Self::Write(_) => "write",
            Self::Update(_) => "update",
            Self::Teardown(_) => "teardown",
        }
    }
}

/// Which features, in which order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FeatureSelection {
    /// A list of refs; never empty.
    Refs(Vec<FeatureRef>),
    /// All features of a feature service.
    Service(String),
    /// Chosen features of views that are named together with their aliases; never empty.
    Views(Vec<ViewSelection>),
}

/// A feature view, or an on-demand one, and what is wanted of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ViewSelection {
    /// Name in the definitions.
    pub view: String,
    /// Name in refs and full feature names. Feature services that give it to the view say how its join keys are mapped.
    pub alias: Option<String>,
    /// Features in order; never empty.
    pub features: Vec<String>,
    /// The view's join key to the entity dataframe's column, from a client that knows; feature services are not asked then.
    pub join_key_map: Option<BTreeMap<String, String>>,
}

/// Which rows of a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SourceRows {
    /// The newest row per join key.
    Latest,
    /// All.
    All,
}

/// Rows of one source by its own column names: no feature view, no field mapping.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceRequest {
    /// Name of the source in the definitions.
    pub source: String,
    /// Which rows.
    pub rows: SourceRows,
    /// Join key columns; none for sources of entity-less views.
    pub join_keys: Vec<String>,
    /// Columns in order; none stands for all.
    pub features: Vec<String>,
    /// Event timestamp column.
    pub timestamp_field: String,
    /// Column that breaks ties between rows of one event time.
    pub created_timestamp_column: Option<String>,
    /// Earliest event time, inclusive.
    pub start: Option<DateTime<Utc>>,
    /// Latest event time, inclusive.
    pub end: Option<DateTime<Utc>>,
}

/// Both ends inclusive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeRange {
    /// Earliest event time.
    pub start: DateTime<Utc>,
    /// Latest event time; not before `start`.
    pub end: DateTime<Utc>,
}

/// Where the entity dataframe comes from.
#[derive(Clone, Debug, PartialEq)]
pub enum EntitySource {
    /// Uploaded before.
    Staged(UploadId),
    /// An Arrow IPC stream inside the request; not yet checked.
    Inline(Bytes),
    /// On the same call (DoExchange).
    Attached,
    /// None: the distinct key and timestamp rows of the views in this range.
    Range(TimeRange),
    /// The rows of one read-only SELECT.
    Sql(String),
}

/// The state of one table that a ticket holds on to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TablePin {
    /// Snapshot, or `None` where the table had none yet.
    pub snapshot: Option<SnapshotId>,
    /// Schema that the columns were resolved against.
    pub schema_id: i32,
}

/// Some of a flight's rows, or all of them: what one endpoint has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlightPart {
    /// Its number, from 0.
    pub number: u32,
    /// How many parts the flight's rows are divided into; at least 1.
    pub count: u32,
    /// What they are divided by; empty for a single part. Parts of equal count and division have the same rows.
    pub divided_by: String,
}

impl FlightPart {
    /// All rows.
    pub fn whole() -> Self {
        Self {
            number: 0,
            count: 1,
            divided_by: String::new(),
        }
    }

    /// Whether it has all rows.
    pub fn is_whole(&self) -> bool {
        self.count == 1
    }
}

impl fmt::Display for FlightPart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = u64::from(self.number) + 1;
        match self.is_whole() {
            true => f.write_str("the whole flight"),
            false => write!(f, "part {number} of {} by {}", self.count, self.divided_by),
        }
    }
}

/// What a ticket that the server issued adds to the request, so that every part and replay reads the same data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pins {
    /// State per table.
    pub tables: BTreeMap<TableName, TablePin>,
    /// Which rows of the flight.
    pub part: FlightPart,
    /// Whether rows come in input order.
    pub ordered: bool,
    /// When the ticket was made.
    pub issued_at: DateTime<Utc>,
}

/// A point-in-time join.
#[derive(Clone, Debug, PartialEq)]
pub struct HistoricalRequest {
    /// Project that the client believes to talk to.
    pub project: Option<String>,
    /// Features to join.
    pub features: FeatureSelection,
    /// Name feature columns `view__feature` instead of `feature`.
    pub full_feature_names: bool,
    /// The left side of the join.
    pub entity: EntitySource,
    /// Whether rows come in input order.
    pub ordered: bool,
    /// Present in tickets that the server issued.
    pub pins: Option<Pins>,
}
