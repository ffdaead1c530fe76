//! Every way Murre can fail, and the nine kinds a caller may tell apart.
//!
//! A variant is precise and carries fields; [`Error::kind`] folds the variants into [`ErrorKind`], which the wire
//! maps to a status code. The first eight kinds are the caller's business and their message is shown whole;
//! [`ErrorKind::Internal`] is ours, and only its request id leaves the server.

mod convert;
mod nearest;

use std::fmt;

use datafusion::error::DataFusionError;

use crate::storage;

use convert::engine_kind;
use nearest::Nearest;
pub(crate) use nearest::did_you_mean;
pub use nearest::nearest;

/// Result of a fallible Murre operation.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What the caller can do about an error; one gRPC code each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// The request is wrong; sending it again will not help.
    InvalidRequest,
    /// A named thing does not exist (any more).
    NotFound,
    /// The caller did not say who they are.
    Unauthenticated,
    /// The caller may not do this.
    PermissionDenied,
    /// Somebody else changed the same thing first.
    Conflict,
    /// A budget is used up; retry later or ask for less.
    ResourceExhausted,
    /// A catalog or store does not answer; retrying is safe.
    Unavailable,
    /// The answer was not ready in the time that it is worth waiting for; a retry finds more of it done.
    DeadlineExceeded,
    /// A fault of the server or of stored data.
    Internal,
}

/// The error type of the library.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A field of a request has a value that cannot be served.
    #[error("{field}: {message}")]
    InvalidRequest {
        /// Path of the field in the request, for example `historical.features`.
        field: String,
        /// What was expected and what was found.
        message: String,
    },
    /// The bytes of a ticket, command or Arrow stream are not what they claim to be.
    #[error("malformed {what}: {message}")]
    Malformed {
        /// What was being decoded, for example `ticket` or `arrow ipc stream`.
        what: &'static str,
        /// Why it was refused.
        message: String,
    },
    /// No feature view has this name.
    #[error("feature view `{view}` not found{}", Nearest(nearest))]
    FeatureViewNotFound {
        /// Name as requested.
        view: String,
        /// Known names that look alike.
        nearest: Vec<String>,
    },
    /// The feature view has no such feature.
    #[error(
        "feature `{feature}` not found in feature view `{view}`{}",
        Nearest(nearest)
    )]
    FeatureNotFound {
        /// View that was asked.
        view: String,
        /// Feature as requested.
        feature: String,
        /// Known names that look alike.
        nearest: Vec<String>,
    },
    /// No feature service has this name.
    #[error("feature service `{service}` not found{}", Nearest(nearest))]
    FeatureServiceNotFound {
        /// Name as requested.
        service: String,
        /// Known names that look alike.
        nearest: Vec<String>,
    },
    /// No data source has this name.
    #[error("data source `{source_name}` not found{}", Nearest(nearest))]
    DataSourceNotFound {
        /// Name as requested.
        source_name: String,
        /// Known names that look alike.
        nearest: Vec<String>,
    },
    /// A data source is of a kind that this server cannot read.
    #[error(
        "data source `{source_name}` is a {source_kind}, which this server cannot read; move its rows to an Iceberg \
         table (IcebergSource) or to Parquet files (FileSource)"
    )]
    UnsupportedSource {
        /// Source as named by the definitions.
        source_name: String,
        /// Its kind, in the definitions' words.
        source_kind: String,
    },
    /// Something is in the place that would be written, and the caller did not say that it may be replaced.
    #[error("{what} exists already; allow overwriting, or choose another place")]
    AlreadyExists {
        /// The thing and its place.
        what: String,
    },
    /// The configuration does not let this server do it.
    #[error("{what} is not allowed; {remedy}")]
    NotAllowed {
        /// What was asked for.
        what: String,
        /// The setting that allows it.
        remedy: String,
    },
    /// The columns sent are not those of the place they should be written to.
    #[error("{place} has the columns [{}], but [{}] were sent", expected.join(", "), found.join(", "))]
    ColumnsDiffer {
        /// Where they should be written to.
        place: String,
        /// Its columns.
        expected: Vec<String>,
        /// Columns as sent.
        found: Vec<String>,
    },
    /// An on-demand feature view's own code failed, or took too long.
    #[error("on-demand feature view `{view}`: {message}")]
    OnDemandFailed {
        /// The view.
        view: String,
        /// What its code or its evaluator said.
        message: String,
    },
    /// Work was stopped at a configured time limit.
    #[error("{what} took longer than {limit_ms} ms; {hint}")]
    TimedOut {
        /// What was being done.
        what: String,
        /// The limit.
        limit_ms: u64,
        /// What the caller or operator can do.
        hint: &'static str,
    },
    /// An online read took longer than it may.
    #[error(
        "the read took longer than online.read_timeout_ms = {limit_ms}; what was being loaded goes on loading, retry"
    )]
    ReadTimedOut {
        /// The limit.
        limit_ms: u64,
    },
    /// Rows of a feature view were never written, and nothing says what they would look like.
    #[error(
        "feature view `{view}` of project `{project}` has no online table; write to it, or `update` it with its definition"
    )]
    OnlineTableNotFound {
        /// View as requested.
        view: String,
        /// The project.
        project: String,
    },
    /// A write brought a column of a type that the table's cannot become.
    #[error("column `{column}` of table `{table}` is {stored} and cannot become {written}")]
    TypeNotWidened {
        /// Qualified table name.
        table: String,
        /// The column.
        column: String,
        /// Type in the table.
        stored: String,
        /// Type as written.
        written: String,
    },
    /// The server has no such Flight action.
    #[error("action `{action}` not found; the actions are `{}`", known.join("`, `"))]
    ActionNotFound {
        /// Type as requested.
        action: String,
        /// The actions that there are.
        known: Vec<String>,
    },
    /// The server serves another project.
    #[error("project `{project}` not found; this server serves `{served}`")]
    ProjectNotFound {
        /// Project as requested.
        project: String,
        /// The project of the loaded definitions.
        served: String,
    },
    /// The entity dataframe lacks a join key column.
    #[error(
        "entity dataframe has no column `{column}`, a join key of feature view `{view}`; its columns are [{}]",
        found.join(", ")
    )]
    MissingEntityColumn {
        /// Column that was expected.
        column: String,
        /// View that joins on it.
        view: String,
        /// Columns that came.
        found: Vec<String>,
    },
    /// The entity dataframe has no usable event timestamp column.
    #[error("{message}; its columns are [{}]", found.join(", "))]
    NoTimestampColumn {
        /// What was looked for.
        message: String,
        /// Columns that came, with their types.
        found: Vec<String>,
    },
    /// A column's type or a value in it cannot be used as what it stands for.
    #[error("column `{column}`: expected {expected}, found {found}")]
    SchemaMismatch {
        /// Column name.
        column: String,
        /// Expected type or property.
        expected: String,
        /// What came instead.
        found: String,
    },
    /// Two columns of the result would have one name.
    #[error(
        "result column `{column}` would appear twice; set full_feature_names or alias a feature view"
    )]
    ColumnCollision {
        /// The repeated name.
        column: String,
    },
    /// A column named by a definition is not in the table.
    #[error("table `{table}` has no column `{column}`{}", Nearest(nearest))]
    TableColumnNotFound {
        /// Qualified table name.
        table: String,
        /// Column as defined.
        column: String,
        /// Columns that look alike.
        nearest: Vec<String>,
    },
    /// The catalog has no such table.
    #[error("table `{table}` not found in catalog `{catalog}`")]
    TableNotFound {
        /// Qualified table name.
        table: String,
        /// Catalog's name in the configuration.
        catalog: String,
    },
    /// Others changed the table whenever this server tried to.
    #[error(
        "table `{table}` was changed by others at the same time; nothing was written, send the request again"
    )]
    CommitConflict {
        /// Qualified table name.
        table: String,
    },
    /// A pinned snapshot is no longer in the table's metadata.
    #[error(
        "snapshot {snapshot_id} of table `{table}` is no longer available; plan the request again"
    )]
    SnapshotNotFound {
        /// Qualified table name.
        table: String,
        /// Snapshot as pinned.
        snapshot_id: i64,
    },
    /// A file that the table's metadata lists cannot be found.
    #[error("file `{path}` of table `{table}` is missing")]
    FileNotFound {
        /// Qualified table name.
        table: String,
        /// Location as listed.
        path: String,
    },
    /// A location of Parquet files has none.
    #[error("there is no Parquet file at `{uri}`")]
    NoParquetFiles {
        /// The file or folder.
        uri: String,
    },
    /// A file outside of any table was written to while a request read it.
    #[error("file `{path}` changed while it was being read; send the request again")]
    FileChanged {
        /// Location of the file.
        path: String,
    },
    /// A ticket is for a part of a flight whose rows would be divided otherwise now.
    #[error("the ticket is for {part}, but the flight has {found} now; call GetFlightInfo again")]
    FlightChanged {
        /// The part that the ticket is for.
        part: String,
        /// The parts that there are.
        found: String,
    },
    /// Something exists but this version cannot read it.
    #[error("{what} is not supported")]
    Unsupported {
        /// The feature and where it was met.
        what: String,
    },
    /// An upload id that is unknown, expired or another principal's.
    #[error("upload `{id}` not found: {reason}")]
    UploadNotFound {
        /// Id as requested.
        id: String,
        /// Why it cannot be served.
        reason: String,
    },
    /// A byte budget would be exceeded.
    #[error("{what} needs {needed_bytes} bytes, over its limit of {limit_bytes}; {hint}")]
    BudgetExceeded {
        /// What asked for the bytes.
        what: String,
        /// Bytes in use and asked for together.
        needed_bytes: u64,
        /// Configured limit.
        limit_bytes: u64,
        /// What the caller or operator can do.
        hint: &'static str,
    },
    /// The engine's memory pool is used up.
    #[error(
        "the engine's memory is used up: {message}; retry later, ask for less, or raise engine.memory_limit"
    )]
    MemoryExhausted {
        /// The pool's own words.
        message: String,
    },
    /// As many requests run and wait as may.
    #[error(
        "the server is busy: {running} historical requests run and {waiting} wait, as many as `engine.max_running` and \
         `engine.max_waiting` allow; retry in {}", humantime::format_duration(*retry_after)
    )]
    Busy {
        /// Requests that run at once.
        running: usize,
        /// Requests that wait at once.
        waiting: usize,
        /// When it is worth asking again.
        retry_after: std::time::Duration,
    },
    /// A catalog does not answer.
    #[error("catalog `{catalog}` is unavailable: {message}")]
    CatalogUnavailable {
        /// Catalog's name in the configuration.
        catalog: String,
        /// Why, without secrets.
        message: String,
    },
    /// A store does not answer, or takes no more.
    #[error("storage is unavailable at `{path}`: {message}")]
    StorageUnavailable {
        /// Location that was accessed.
        path: String,
        /// Why, without secrets.
        message: String,
    },
    /// The configuration has faults; all of them.
    #[error("invalid configuration:\n  {}", faults.join("\n  "))]
    InvalidConfig {
        /// One line a fault, each naming its key.
        faults: Vec<String>,
    },
    /// The definitions cannot be loaded.
    #[error("cannot load definitions from {origin}: {message}")]
    InvalidDefinitions {
        /// Where they were read from.
        origin: String,
        /// What is wrong with them.
        message: String,
    },
    /// The Iceberg library failed.
    #[error("{action}: {source}")]
    Iceberg {
        /// What was being done.
        action: String,
        /// The library's error.
        source: Box<iceberg::Error>,
    },
    /// A Parquet file cannot be read.
    #[error("cannot read `{path}`: {source}")]
    Parquet {
        /// Location of the file.
        path: String,
        /// The library's error.
        source: parquet::errors::ParquetError,
    },
    /// An Arrow kernel failed.
    #[error("{action}: {source}")]
    Arrow {
        /// What was being done.
        action: String,
        /// The library's error.
        source: arrow::error::ArrowError,
    },
    /// The query engine failed.
    #[error("query engine: {0}")]
    Engine(Box<DataFusionError>),
    /// An operating system call failed.
    #[error("{action}: {source}")]
    Io {
        /// What was being done.
        action: String,
        /// The system's error.
        source: std::io::Error,
    },
    /// The one failure of a piece of work that several callers waited for.
    #[error("{0}")]
    Shared(std::sync::Arc<Error>),
    /// An error as a client of a foreign protocol has to be told of it.
    #[error("{message}")]
    Reworded {
        /// In the protocol's words.
        message: String,
        /// What happened.
        #[source]
        cause: Box<Error>,
    },
    /// An invariant of the server does not hold.
    #[error("{action}: {message}")]
    Internal {
        /// What was being done.
        action: String,
        /// What went wrong.
        message: String,
    },
}

impl Error {
    /// The kind of this error; exhaustive on purpose.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::InvalidRequest { .. }
            | Self::Malformed { .. }
            | Self::MissingEntityColumn { .. }
            | Self::NoTimestampColumn { .. }
            | Self::SchemaMismatch { .. }
            | Self::ColumnCollision { .. }
            | Self::Unsupported { .. }
            | Self::UnsupportedSource { .. }
            | Self::ColumnsDiffer { .. }
            | Self::AlreadyExists { .. }
            | Self::OnDemandFailed { .. }
            | Self::TypeNotWidened { .. }
            | Self::InvalidConfig { .. } => ErrorKind::InvalidRequest,
            Self::FileChanged { .. } | Self::CommitConflict { .. } | Self::FlightChanged { .. } => {
                ErrorKind::Conflict
            }
            Self::NotAllowed { .. } => ErrorKind::PermissionDenied,
            Self::FeatureViewNotFound { .. }
            | Self::FeatureNotFound { .. }
            | Self::FeatureServiceNotFound { .. }
            | Self::DataSourceNotFound { .. }
            | Self::ActionNotFound { .. }
            | Self::ProjectNotFound { .. }
            | Self::TableColumnNotFound { .. }
            | Self::TableNotFound { .. }
            | Self::OnlineTableNotFound { .. }
            | Self::SnapshotNotFound { .. }
            | Self::FileNotFound { .. }
            | Self::NoParquetFiles { .. }
            | Self::UploadNotFound { .. } => ErrorKind::NotFound,
            Self::BudgetExceeded { .. }
            | Self::Busy { .. }
            | Self::MemoryExhausted { .. }
            | Self::TimedOut { .. } => ErrorKind::ResourceExhausted,
            Self::ReadTimedOut { .. } => ErrorKind::DeadlineExceeded,
            Self::CatalogUnavailable { .. }
            | Self::StorageUnavailable { .. }
            | Self::InvalidDefinitions { .. } => ErrorKind::Unavailable,
            Self::Iceberg { .. }
            | Self::Parquet { .. }
            | Self::Arrow { .. }
            | Self::Io { .. }
            | Self::Internal { .. } => ErrorKind::Internal,
            Self::Engine(error) => engine_kind(error),
            Self::Reworded { cause, .. } => cause.kind(),
            Self::Shared(error) => error.kind(),
        }
    }

    /// The error that several callers shared, or this one.
    pub fn root(&self) -> &Self {
        match self {
            Self::Shared(error) => error.root(),
            own => own,
        }
    }

    /// When it is worth asking again, if that is known.
    pub fn retry_after(&self) -> Option<std::time::Duration> {
        match self.root() {
            Self::Busy { retry_after, .. } => Some(*retry_after),
            _ => None,
        }
    }

    /// An [`Error::InvalidRequest`].
    pub fn invalid(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self::InvalidRequest {
            field: field.into(),
            message: message.into(),
        }
    }

    /// An [`Error::UnsupportedSource`] by one who does not know the source's name; see [`Error::named`].
    pub fn unsupported_source(kind: &str) -> Self {
        Self::UnsupportedSource {
            source_name: String::new(),
            source_kind: kind.to_owned(),
        }
    }

    /// Puts the name of a source into an [`Error::UnsupportedSource`] that lacks it; other errors stay.
    #[must_use]
    pub fn named(mut self, source: &str) -> Self {
        if let Self::UnsupportedSource { source_name, .. } = &mut self
            && source_name.is_empty()
        {
            source.clone_into(source_name);
        }
        self
    }

    /// An [`Error::Internal`].
    pub fn internal(action: impl Into<String>, message: impl fmt::Display) -> Self {
        Self::Internal {
            action: action.into(),
            message: message.to_string(),
        }
    }

    /// Wraps an Arrow error with what was being done.
    pub fn arrow(action: impl Into<String>) -> impl FnOnce(arrow::error::ArrowError) -> Self {
        let action = action.into();
        move |source| Self::Arrow { action, source }
    }

    /// Wraps an Iceberg error with what was being done; a store that cannot be used is told as such.
    pub fn iceberg(action: impl Into<String>) -> impl FnOnce(iceberg::Error) -> Self {
        let action = action.into();
        move |source| match storage::outage(&source) {
            Some((path, message)) => Self::StorageUnavailable { path, message },
            None => Self::Iceberg {
                action,
                source: Box::new(source),
            },
        }
    }
}
