//! The vocabulary of the product: names, definitions, requests. No I/O, no async, no wire formats.

mod address;
mod definition;
mod ids;
mod online;
mod report;
mod request;
mod retained;
mod source;
mod width;
mod window;

pub use address::RowAddress;
pub use definition::{
    Entity, FeatureService, FeatureView, JoinKey, LogDestination, OnDemandFeatureView, Projection,
    Ttl,
};
pub use ids::{FeatureRef, Principal, SnapshotId, TableName, UploadId};
pub use online::{
    DUMMY_KEY, DeclaredFeature, KeyField, KeyType, KeyValue, OnlineDefinition, OnlineKeys,
    OnlineRequest, PartitionStrategy, TeardownRequest, UpdateOutcome, UpdateRequest, ViewVersion,
    WriteOutcome, WriteRequest, WriteTarget, WriteToken,
};
pub use report::{Pruned, ScanCounters, ScanReport};
pub use request::{
    EntitySource, FeatureSelection, FlightPart, HistoricalRequest, Pins, Request, SourceRequest,
    SourceRows, TablePin, TimeRange, ViewSelection,
};
pub use retained::RetainedBytes;
pub use source::{FeatureSource, ParquetLocation, SourceLocation};
pub use width::value_bytes;
pub use window::TimeWindow;
