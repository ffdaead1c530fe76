//! Ties a resolved feature view to the columns of its pinned table.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use arrow::datatypes::{DataType, Field};
use iceberg::spec::NestedFieldRef;

use crate::error::{Error, Result, nearest};
use crate::model::{FeatureView, TimeWindow, Ttl};
use crate::registry::ResolvedView;
use crate::table::PinnedTable;
use crate::table::read::arrow_field;

/// One column of the table and how the request sees it.
#[derive(Clone, Debug)]
pub(super) struct BoundColumn {
    /// Iceberg field id.
    pub(super) field_id: i32,
    /// Type in Arrow, under the column's name in the result or in the entity dataframe.
    pub(super) field: Field,
}

/// A feature view of the request, bound to its table.
#[derive(Clone, Debug)]
pub(super) struct BoundView {
    /// Alias or name.
    pub(super) name: String,
    pub(super) table: PinnedTable,
    pub(super) ttl: Ttl,
    /// Join keys, named as the entity dataframe's columns.
    pub(super) keys: Vec<BoundColumn>,
    pub(super) timestamp: BoundColumn,
    pub(super) created: Option<BoundColumn>,
    /// Requested features, named as in the result.
    pub(super) features: Vec<BoundColumn>,
    /// All columns of the table by field id, the order of the tie rule.
    pub(super) whole_row: Vec<i32>,
}

impl BoundView {
    pub(super) fn try_new(
        resolved: &ResolvedView,
        table: PinnedTable,
        full_names: bool,
    ) -> Result<Self> {
        let columns = Columns {
            view: &resolved.view,
            table: &table,
        };
        let timestamp = columns.timestamp(&resolved.view.source.timestamp_field)?;
        let created = columns.created(&timestamp)?;
        let keys = resolved
            .join_keys
            .iter()
            .map(|(key, entity_column)| columns.bind(columns.get(key)?, entity_column))
            .collect::<Result<Vec<_>>>()?;
        let features = columns.features(resolved, full_names)?;
        let mut whole_row: Vec<i32> = columns.all().map(|field| field.id).collect();
        whole_row.sort_unstable();
        Ok(Self {
            name: resolved.name.clone(),
            ttl: resolved.view.ttl,
            keys,
            timestamp,
            created,
            features,
            whole_row,
            table,
        })
    }

    /// Event times that can match a spine whose times lie in `[min_us, max_us]`, microseconds.
    pub(super) fn window(&self, min_us: i64, max_us: i64) -> TimeWindow {
        let ttl_us =
            |ttl: Duration| i64::try_from(ttl.as_nanos().div_ceil(1_000)).unwrap_or(i64::MAX);
        let oldest = |ttl| min_us.saturating_sub(ttl_us(ttl));
        TimeWindow {
            start_us: self.ttl.limit().map(oldest),
            end_us: Some(max_us),
        }
    }
}

/// Name of the spine's hidden column that holds a join key in the type of a table.
pub(super) fn hidden_key(key: &Field) -> String {
    format!("__key_{}_{}", key.name(), key.data_type())
}

/// Looks columns up by their feature-side names.
struct Columns<'a> {
    view: &'a FeatureView,
    table: &'a PinnedTable,
}

impl<'a> Columns<'a> {
    fn all(&self) -> impl Iterator<Item = &'a NestedFieldRef> {
        self.table.schema().as_struct().fields().iter()
    }

    fn mapped(&self, field: &'a NestedFieldRef) -> &'a str {
        self.view.source.mapped_name(&field.name)
    }

    fn find(&self, name: &str) -> Option<&'a NestedFieldRef> {
        let renamed = |field: &&NestedFieldRef| self.mapped(field) == name && field.name != name;
        self.all()
            .find(renamed)
            .or_else(|| self.all().find(|field| self.mapped(field) == name))
    }

    fn get(&self, name: &str) -> Result<&'a NestedFieldRef> {
        self.find(name).ok_or_else(|| Error::TableColumnNotFound {
            table: self.table.name().to_string(),
            column: name.to_owned(),
            nearest: nearest(name, self.all().map(|field| self.mapped(field))),
        })
    }

    /// A timestamp column, by mapped name or else by its name in the source.
    fn time_column(&self, name: &str) -> Result<&'a NestedFieldRef> {
        match self
            .find(name)
            .or_else(|| self.all().find(|field| field.name == name))
        {
            Some(field) => Ok(field),
            None => self.get(name),
        }
    }

    fn timestamp(&self, name: &str) -> Result<BoundColumn> {
        let column = self.bind(self.time_column(name)?, name)?;
        match column.field.data_type() {
            DataType::Timestamp(_, _) => Ok(column),
            found => Err(Error::SchemaMismatch {
                column: format!("{}.{name}", self.table.name()),
                expected: "a timestamp".to_owned(),
                found: found.to_string(),
            }),
        }
    }

    fn created(&self, timestamp: &BoundColumn) -> Result<Option<BoundColumn>> {
        let Some(name) = &self.view.source.created_timestamp_column else {
            return Ok(None);
        };
        let created = self.timestamp(name)?;
        Ok((created.field_id != timestamp.field_id).then_some(created))
    }

    fn bind(&self, field: &NestedFieldRef, name: &str) -> Result<BoundColumn> {
        let arrow = arrow_field(field)?.with_name(name);
        Ok(BoundColumn {
            field_id: field.id,
            field: arrow,
        })
    }

    fn features(&self, resolved: &ResolvedView, full_names: bool) -> Result<Vec<BoundColumn>> {
        let defined = self.defined_features()?;
        let requested = resolved.features.as_ref().unwrap_or(&defined);
        requested
            .iter()
            .map(|feature| self.feature(feature, &defined, &resolved.name, full_names))
            .collect()
    }

    fn feature(
        &self,
        feature: &str,
        defined: &[String],
        view: &str,
        full_names: bool,
    ) -> Result<BoundColumn> {
        if !defined.iter().any(|name| name == feature) {
            return Err(Error::FeatureNotFound {
                view: view.to_owned(),
                feature: feature.to_owned(),
                nearest: nearest(feature, defined.iter().map(String::as_str)),
            });
        }
        let output = if full_names {
            format!("{view}__{feature}")
        } else {
            feature.to_owned()
        };
        let mut column = self.bind(self.get(feature)?, &output)?;
        column.field = column.field.with_nullable(true);
        Ok(column)
    }

    /// The view's feature list, or every column that is neither key nor timestamp.
    fn defined_features(&self) -> Result<Vec<String>> {
        if let Some(features) = &self.view.features {
            return Ok(features.clone());
        }
        let source = &self.view.source;
        let mut reserved = BTreeSet::from([self.time_column(&source.timestamp_field)?.id]);
        if let Some(created) = &source.created_timestamp_column {
            reserved.insert(self.time_column(created)?.id);
        }
        for key in &self.view.join_keys {
            reserved.insert(self.get(key)?.id);
        }
        let features = self.all().filter(|field| !reserved.contains(&field.id));
        Ok(features
            .map(|field| self.mapped(field).to_owned())
            .collect())
    }
}

/// Refuses a result in which two columns would have one name.
pub(super) fn check_collisions<'a>(names: impl IntoIterator<Item = &'a str>) -> Result<()> {
    let mut seen = BTreeSet::new();
    for name in names {
        if !seen.insert(name) {
            return Err(Error::ColumnCollision {
                column: name.to_owned(),
            });
        }
    }
    Ok(())
}

/// Fields as an Arrow schema.
pub(super) fn schema_of(fields: impl IntoIterator<Item = Field>) -> arrow::datatypes::SchemaRef {
    Arc::new(arrow::datatypes::Schema::new(
        fields.into_iter().collect::<Vec<_>>(),
    ))
}
