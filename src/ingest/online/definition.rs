//! What is known of a view whose rows come in, where the request does not say it.

use arrow::datatypes::Schema;

use super::Owner;
use super::columns::TimeNames;
use crate::error::{Error, Result, nearest};
use crate::ingest::Ingest;
use crate::model::{KeyField, KeyType, OnlineDefinition};
use crate::registry::Registry;
use crate::table::entity_key::key_type_of;
use crate::table::online::EVENT_TIMESTAMP;

impl Ingest {
    /// The definition that the registry has, with join keys of the types that it declares or that the rows have. It does
    /// not know the types of features.
    pub(super) async fn registered_definition(
        &self,
        owner: &Owner,
        rows: Option<&Schema>,
    ) -> Result<OnlineDefinition> {
        let registry = self.features()?.registry.current().await?;
        let view = self.registered(owner).await?;
        let view = view.ok_or_else(|| Error::FeatureViewNotFound {
            view: owner.view.view.clone(),
            nearest: nearest(
                &owner.view.view,
                registry.feature_views().map(|view| view.name.as_str()),
            ),
        })?;
        Ok(OnlineDefinition {
            join_keys: join_key_types(&registry, &view.join_keys, rows)?,
            features: Vec::new(),
            ttl: view.ttl,
        })
    }

    /// Names that the times may have in rows; asks the registry only if the rows do not have the usual one.
    pub(super) async fn time_names(
        &self,
        owner: &Owner,
        rows: &Schema,
        defined: bool,
    ) -> Result<TimeNames> {
        if defined && rows.index_of(EVENT_TIMESTAMP).is_ok() {
            return Ok(TimeNames::default());
        }
        let Some(view) = self.registered(owner).await? else {
            return Ok(TimeNames::default());
        };
        Ok(TimeNames {
            event: Some(view.source.timestamp_field.clone()),
            created: view.source.created_timestamp_column.clone(),
        })
    }
}

/// Join keys with the types that entities declare, or that the rows have.
///
/// # Errors
/// [`Error::SchemaMismatch`] for a key that has neither.
fn join_key_types(
    registry: &Registry,
    join_keys: &[String],
    rows: Option<&Schema>,
) -> Result<Vec<KeyField>> {
    let declared = |name: &str| {
        let mut keys = registry.entities().flat_map(|entity| &entity.join_keys);
        key_type_of(keys.find(|key| key.name == name)?.data_type.as_ref()?)
    };
    let arrived = |name: &str| key_type_of(rows?.field_with_name(name).ok()?.data_type());
    let typed = |name: &String| {
        let key_type: Option<KeyType> = declared(name).or_else(|| arrived(name));
        let key_type = key_type.ok_or_else(|| Error::SchemaMismatch {
            column: name.clone(),
            expected: "a join key of type BYTES, STRING, INT32, INT64 or UNIX_TIMESTAMP".to_owned(),
            found: match rows.and_then(|rows| rows.field_with_name(name).ok()) {
                Some(field) => field.data_type().to_string(),
                None => "no declared type and no column".to_owned(),
            },
        })?;
        Ok(KeyField {
            name: name.clone(),
            key_type,
        })
    };
    join_keys.iter().map(typed).collect()
}
