//! What an online table looks like: one per project, feature view and version (`docs/adr/0008`).
//!
//! | column | type | |
//! |---|---|---|
//! | `entity_key` | binary, required | Feast's bytes, what rows are found and bucketed by |
//! | join keys | as declared, required | the same key, for people and other engines |
//! | `event_timestamp` | timestamptz, required | first tie-break: the greatest is the latest |
//! | `created_timestamp` | timestamptz | second tie-break; null is least |
//! | `write_sequence` | long, required | third tie-break: greater was written later |
//! | features | as written | |
//!
//! The definition lives in the table's properties. Rows of large writes are partitioned by the table's default spec;
//! small writes stay together under the unpartitioned spec until a fold moves them into partitions.

use std::collections::HashMap;
use std::time::Duration;

use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use iceberg::spec::TableMetadata;
use serde::{Deserialize, Serialize};

use super::entity_key::key_array;
use super::layout::PartitionBy;
use crate::config::OnlineConfig;
use crate::error::{Error, Result};
use crate::model::{
    DeclaredFeature, KeyField, KeyType, OnlineDefinition, PartitionStrategy, TableName, Ttl,
    ViewVersion,
};

/// Column of Feast's entity key bytes.
pub const ENTITY_KEY: &str = "entity_key";
/// Column of event times.
pub const EVENT_TIMESTAMP: &str = "event_timestamp";
/// Column of created times.
pub const CREATED_TIMESTAMP: &str = "created_timestamp";
/// Column that tells which of two rows of equal times was written later.
pub const WRITE_SEQUENCE: &str = "write_sequence";
/// Columns that are no features and no join keys.
pub const OWN_COLUMNS: [&str; 4] = [
    ENTITY_KEY,
    EVENT_TIMESTAMP,
    CREATED_TIMESTAMP,
    WRITE_SEQUENCE,
];

/// Property with the project that a table belongs to.
pub const PROJECT_PROPERTY: &str = "murre.project";
/// Property with the view and version that a table belongs to, as `view@vN`.
pub const VIEW_PROPERTY: &str = "murre.feature-view";
/// Property with the definition as JSON.
pub const DEFINITION_PROPERTY: &str = "murre.definition";
/// Property with the number of logical buckets.
pub const BUCKETS_PROPERTY: &str = "murre.buckets";

/// How new online tables are laid out, and where they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OnlineLayout {
    /// Catalog's name in the configuration.
    pub catalog: String,
    /// Namespace levels.
    pub namespace: Vec<String>,
    /// Partitioning of large files.
    pub strategy: PartitionStrategy,
    /// Number of hash buckets, of files and of the index in memory.
    pub partition_count: u32,
}

impl OnlineLayout {
    /// The layout that the configuration asks for; no catalog stands for `default`.
    pub fn new(config: &OnlineConfig) -> Self {
        let catalog = match config.catalog.as_str() {
            "" => "default",
            named => named,
        };
        Self {
            catalog: catalog.to_owned(),
            namespace: config.namespace_levels(),
            strategy: config.partition_strategy,
            partition_count: config.partition_count,
        }
    }

    /// The table of a view: `<project>_<view>` or `<project>_<view>_v<version>`, as Feast's own stores name them. Other
    /// characters than letters, digits, `-` and `_` become `_`; [`OnlineProperties::of_view`] tells
    /// tables apart that share a name.
    pub fn table_name(&self, project: &str, view: &ViewVersion) -> TableName {
        let version = view
            .version
            .map_or_else(String::new, |version| format!("_v{version}"));
        let plain = |letter: char| match letter {
            'a'..='z' | 'A'..='Z' | '0'..='9' | '-' | '_' => letter,
            _ => '_',
        };
        TableName {
            catalog: self.catalog.clone(),
            namespace: self.namespace.clone(),
            name: format!("{project}_{}{version}", view.view)
                .chars()
                .map(plain)
                .collect(),
        }
    }

    /// Partition fields of large files.
    pub fn partition_by(&self) -> Vec<PartitionBy> {
        let bucket = PartitionBy::Bucket {
            column: ENTITY_KEY.to_owned(),
            buckets: self.partition_count,
        };
        let column = EVENT_TIMESTAMP.to_owned();
        match self.strategy {
            PartitionStrategy::EntityHash => vec![bucket],
            PartitionStrategy::Timestamp => vec![PartitionBy::Hour { column }],
            PartitionStrategy::Hybrid => vec![bucket, PartitionBy::Day { column }],
        }
    }
}

/// Columns that rows are sorted by within a file.
pub fn sort_by() -> Vec<String> {
    vec![ENTITY_KEY.to_owned(), EVENT_TIMESTAMP.to_owned()]
}

/// The columns of an online table with these features, which must be storable as Iceberg types.
///
/// # Errors
/// [`Error::SchemaMismatch`] for a name that stands for something else already.
pub fn arrow_schema(join_keys: &[KeyField], features: &[Field]) -> Result<Schema> {
    let key = |key: &KeyField| Field::new(&key.name, stored_key(key.key_type), false);
    let mut fields = vec![Field::new(ENTITY_KEY, DataType::Binary, false)];
    fields.extend(join_keys.iter().map(key));
    fields.push(Field::new(EVENT_TIMESTAMP, timestamp(), false));
    fields.push(Field::new(CREATED_TIMESTAMP, timestamp(), true));
    fields.push(Field::new(WRITE_SEQUENCE, DataType::Int64, false));
    for feature in features {
        if fields.iter().any(|field| field.name() == feature.name()) {
            return Err(Error::SchemaMismatch {
                column: feature.name().clone(),
                expected: "a feature name that is no other column's of the online table".to_owned(),
                found: "a join key, a timestamp, another feature or a column of the table's own"
                    .to_owned(),
            });
        }
        fields.push(feature.clone().with_nullable(true));
    }
    Ok(Schema::new(fields))
}

/// The type that a join key column is stored as: timestamps are microseconds in Iceberg.
pub fn stored_key(key_type: KeyType) -> DataType {
    match key_type {
        KeyType::UnixTimestamp => timestamp(),
        other => key_array(other),
    }
}

/// Microseconds in UTC.
pub fn timestamp() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
}

/// A definition as table properties.
pub fn properties(
    project: &str,
    view: &ViewVersion,
    definition: &OnlineDefinition,
    buckets: u32,
) -> HashMap<String, String> {
    HashMap::from([
        (PROJECT_PROPERTY.to_owned(), project.to_owned()),
        (VIEW_PROPERTY.to_owned(), view.to_string()),
        (DEFINITION_PROPERTY.to_owned(), definition_json(definition)),
        (BUCKETS_PROPERTY.to_owned(), buckets.to_string()),
    ])
}

/// The definition as [`DEFINITION_PROPERTY`] holds it.
pub fn definition_json(definition: &OnlineDefinition) -> String {
    let stored = Stored {
        join_keys: definition.join_keys.clone(),
        features: definition.features.clone(),
        ttl_us: definition
            .ttl
            .limit()
            .map(|ttl| u64::try_from(ttl.as_micros()).unwrap_or(u64::MAX)),
    };
    serde_json::to_string(&stored).expect("names and numbers become JSON")
}

#[derive(Serialize, Deserialize)]
struct Stored {
    join_keys: Vec<KeyField>,
    #[serde(default)]
    features: Vec<DeclaredFeature>,
    #[serde(default)]
    ttl_us: Option<u64>,
}

/// What an online table's properties say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OnlineProperties {
    /// Project that the table belongs to.
    pub project: String,
    /// View and version that the table belongs to.
    pub view: ViewVersion,
    /// The definition it was last written or updated with.
    pub definition: OnlineDefinition,
    /// Number of logical buckets.
    pub buckets: u32,
}

impl OnlineProperties {
    /// Reads them from a table's metadata; `None` for a table that is no online table.
    ///
    /// # Errors
    /// [`Error::Internal`] if they are damaged.
    pub fn read(metadata: &TableMetadata) -> Result<Option<Self>> {
        let get = |key: &str| metadata.properties().get(key);
        let (Some(project), Some(view)) = (get(PROJECT_PROPERTY), get(VIEW_PROPERTY)) else {
            return Ok(None);
        };
        let damaged = |key: &str| {
            let action = format!("read the online table of view `{view}`");
            Error::internal(action, format!("property {key} is missing or damaged"))
        };
        let stored: Stored = get(DEFINITION_PROPERTY)
            .and_then(|json| serde_json::from_str(json).ok())
            .ok_or_else(|| damaged(DEFINITION_PROPERTY))?;
        let buckets = get(BUCKETS_PROPERTY).and_then(|text| text.parse().ok());
        Ok(Some(Self {
            project: project.clone(),
            view: ViewVersion::parse(view),
            definition: OnlineDefinition {
                join_keys: stored.join_keys,
                features: stored.features,
                ttl: Ttl::new(Duration::from_micros(stored.ttl_us.unwrap_or(0))),
            },
            buckets: buckets
                .filter(|buckets| *buckets > 0)
                .ok_or_else(|| damaged(BUCKETS_PROPERTY))?,
        }))
    }

    /// The same, of the table of one view; two views may share a table's name, never a table.
    ///
    /// # Errors
    /// [`Error::AlreadyExists`] if the table is another view's or no online table.
    pub fn of_view(
        name: &TableName,
        metadata: &TableMetadata,
        project: &str,
        view: &ViewVersion,
    ) -> Result<Self> {
        match Self::read(metadata)? {
            Some(found) if found.project == project && found.view == *view => Ok(found),
            Some(found) => Err(Error::AlreadyExists {
                what: format!(
                    "table `{name}`, which view `{view}` of project `{project}` would use, as that of view `{}` of \
                     project `{}`",
                    found.view, found.project
                ),
            }),
            None => Err(Error::AlreadyExists {
                what: format!("table `{name}`, which is no online table of Murre,"),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(strategy: PartitionStrategy) -> OnlineLayout {
        OnlineLayout {
            catalog: "default".to_owned(),
            namespace: vec!["online".to_owned()],
            strategy,
            partition_count: 256,
        }
    }

    #[test]
    fn tables_are_named_as_feasts_stores_name_them() {
        let layout = layout(PartitionStrategy::EntityHash);
        let name = |view| {
            layout
                .table_name("shop", &ViewVersion::parse(view))
                .to_string()
        };
        assert_eq!(name("driver"), "online.shop_driver");
        assert_eq!(name("driver@v2"), "online.shop_driver_v2");
        assert_eq!(name("a.b/c"), "online.shop_a_b_c");
    }

    #[test]
    fn strategies_are_partition_fields() {
        let fields = |strategy| layout(strategy).partition_by().len();
        assert_eq!(fields(PartitionStrategy::EntityHash), 1);
        assert_eq!(fields(PartitionStrategy::Timestamp), 1);
        assert_eq!(fields(PartitionStrategy::Hybrid), 2);
    }

    #[test]
    fn a_feature_cannot_take_a_columns_name() {
        let keys = [KeyField {
            name: "id".to_owned(),
            key_type: KeyType::Int64,
        }];
        for name in ["id", "entity_key", "write_sequence"] {
            let feature = Field::new(name, DataType::Int64, true);
            let error = arrow_schema(&keys, &[feature]).unwrap_err().to_string();
            assert!(error.starts_with(&format!("column `{name}`: ")), "{error}");
        }
    }
}
