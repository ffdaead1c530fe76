//! Entities, feature views and feature services, wherever they were defined.

use std::collections::BTreeMap;
use std::time::Duration;

use arrow::datatypes::{DataType, Field};
use bytes::Bytes;

use super::{FeatureRef, FeatureSource, SourceLocation};

/// One column of an entity's key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinKey {
    /// Column name.
    pub name: String,
    /// Declared type. Joins are made on the data's types; this one is documentation and a default.
    pub data_type: Option<DataType>,
}

/// What features describe: a driver, a customer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entity {
    /// Name in the definitions.
    pub name: String,
    /// Key columns.
    pub join_keys: Vec<JoinKey>,
}

/// How old a feature row may be and still match; inclusive. Zero is unbounded and the default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ttl(Duration);

impl Ttl {
    /// A ttl of `duration`; zero means unbounded.
    pub fn new(duration: Duration) -> Self {
        Self(duration)
    }

    /// The limit, or `None` where there is none.
    pub fn limit(self) -> Option<Duration> {
        (!self.0.is_zero()).then_some(self.0)
    }
}

/// A set of features that share a source and an entity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FeatureView {
    /// Name in the definitions.
    pub name: String,
    /// Key columns of all its entities, by mapped name, in entity order; empty for an entity-less view.
    pub join_keys: Vec<String>,
    /// Where the rows are.
    pub source: FeatureSource,
    /// How old a row may be.
    pub ttl: Ttl,
    /// Feature names in order, or `None` for every column that is neither key nor timestamp.
    pub features: Option<Vec<String>>,
}

/// A feature view's part in a feature service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Projection {
    /// Feature view's name.
    pub view: String,
    /// Name it goes by in refs and full feature names.
    pub alias: Option<String>,
    /// Chosen features in order, or `None` for all.
    pub features: Option<Vec<String>>,
    /// The view's join key to the entity dataframe's column.
    pub join_key_map: BTreeMap<String, String>,
}

/// A named list of features from several views.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FeatureService {
    /// Name in the definitions.
    pub name: String,
    /// Its views; some may be on-demand feature views.
    pub projections: Vec<Projection>,
    /// Where the features it served are logged to.
    pub logging: Option<LogDestination>,
}

/// Where a feature service's log rows go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogDestination {
    /// The place; created by the first rows.
    pub location: SourceLocation,
    /// Columns that a folder of Parquet files is partitioned by, Hive style.
    pub partition_by: Vec<String>,
}

/// Features computed from other features and from columns of the request, by code in the definitions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OnDemandFeatureView {
    /// Name in the definitions.
    pub name: String,
    /// What it computes, typed as declared.
    pub features: Vec<Field>,
    /// Features that it computes from, by feature view name.
    pub inputs: Vec<FeatureRef>,
    /// The definition as the registry holds it, a serialized `feast.core.OnDemandFeatureView`: only an evaluator that
    /// runs its code can read it.
    pub definition: Bytes,
}
