//! Online tables as views and rows want them: created, and evolved.

use std::collections::HashMap;

use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use iceberg::TableUpdate;
use iceberg::arrow::arrow_schema_to_schema_auto_assign_ids;
use iceberg::spec::PartitionSpec;
use iceberg::table::Table;

use super::columns::{Parts, TimeNames};
use super::{Owner, types};
use crate::error::{Error, Result};
use crate::ingest::Ingest;
use crate::ingest::storable::storable;
use crate::model::{KeyField, OnlineDefinition};
use crate::table::commit::{
    Change, Committed, NewTable, column_updates, commit_change, create_own_table,
};
use crate::table::online::{
    self, DEFINITION_PROPERTY, OWN_COLUMNS, OnlineProperties, definition_json, sort_by,
};

/// What a table should have.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    pub(super) definition: OnlineDefinition,
    /// Whether the definition is newer than the table's.
    store_definition: bool,
    /// Features by name and type, those of the definition and those of rows.
    features: Schema,
    /// The parts that columns of rows play.
    pub(super) parts: Parts,
}

impl Wanted {
    /// What a definition asks for.
    ///
    /// # Errors
    /// [`Error::SchemaMismatch`] for a feature that has another column's name.
    pub(super) fn of_definition(definition: OnlineDefinition) -> Result<Self> {
        let features = Schema::new(declared(&definition));
        online::arrow_schema(&definition.join_keys, &plain(&features))?;
        Ok(Self {
            features: storable(&features)?,
            definition,
            store_definition: true,
            parts: Parts {
                event: 0,
                created: None,
                keys: Vec::new(),
                features: Vec::new(),
            },
        })
    }

    /// What a definition and rows ask for. A declared type counts more than the rows' own; a column without any type
    /// says nothing.
    ///
    /// # Errors
    /// As [`Parts::new`] and [`Wanted::of_definition`]; [`Error::SchemaMismatch`] for a type that cannot be stored.
    pub(super) fn of_rows(
        definition: OnlineDefinition,
        store_definition: bool,
        sent: &Schema,
        names: TimeNames,
    ) -> Result<Self> {
        let parts = Parts::new(sent, &definition.join_keys, &names)?;
        let declared = declared(&definition);
        let known = |name: &str| declared.iter().any(|field| field.name() == name);
        let sent = parts.features.iter().map(|position| sent.field(*position));
        let own = sent
            .clone()
            .find(|field| OWN_COLUMNS.contains(&field.name().as_str()));
        if let Some(own) = own {
            return Err(Error::SchemaMismatch {
                column: own.name().clone(),
                expected: "no column of this name, which the online table fills itself".to_owned(),
                found: own.data_type().to_string(),
            });
        }
        let arrived = sent
            .filter(|field| *field.data_type() != DataType::Null && !known(field.name()))
            .map(|field| Field::new(field.name(), in_utc(field.data_type()), true));
        let features = Schema::new(declared.iter().cloned().chain(arrived).collect::<Vec<_>>());
        online::arrow_schema(&definition.join_keys, &plain(&features))?;
        Ok(Self {
            features: storable(&features)?,
            definition,
            store_definition,
            parts,
        })
    }

    /// What makes `table` have it.
    fn change(&self, owner: &Owner, table: &Table) -> Result<Change> {
        let metadata = table.metadata();
        let stored =
            OnlineProperties::of_view(&owner.table, metadata, &owner.project, &owner.view)?;
        check_keys(
            owner,
            &stored.definition.join_keys,
            &self.definition.join_keys,
        )?;
        let mut updates = column_updates(&owner.table, metadata, &self.features)?;
        if self.store_definition && stored.definition != self.definition {
            let json = definition_json(&self.definition);
            updates.push(TableUpdate::SetProperties {
                updates: HashMap::from([(DEFINITION_PROPERTY.to_owned(), json)]),
            });
        }
        let mut specs = metadata.partition_specs_iter();
        if !specs.any(|spec| spec.is_unpartitioned()) {
            let spec = PartitionSpec::unpartition_spec().into_unbound();
            updates.push(TableUpdate::AddSpec { spec });
        }
        Ok(Change {
            updates,
            ..Change::default()
        })
    }
}

fn plain(features: &Schema) -> Vec<Field> {
    features
        .fields()
        .iter()
        .map(|it| it.as_ref().clone())
        .collect()
}

/// Declared features whose type is known.
fn declared(definition: &OnlineDefinition) -> Vec<Field> {
    let features = definition.features.iter();
    let typed = features.filter_map(|feature| {
        let data_type = types::of_feature(feature)?;
        Some(Field::new(&feature.name, data_type, true))
    });
    typed.collect()
}

/// Naive times are UTC.
pub(in crate::ingest) fn in_utc(data_type: &DataType) -> DataType {
    match data_type {
        DataType::Timestamp(_, None) => {
            DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
        }
        other => other.clone(),
    }
}

/// Rows of other keys would never be found again.
fn check_keys(owner: &Owner, stored: &[KeyField], wanted: &[KeyField]) -> Result<()> {
    let same = stored.len() == wanted.len() && wanted.iter().all(|key| stored.contains(key));
    if same {
        return Ok(());
    }
    let shown = |keys: &[KeyField]| {
        let keys = keys.iter();
        let shown = keys.map(|key| format!("{} {}", key.name, key.key_type.name()));
        shown.collect::<Vec<_>>().join(", ")
    };
    let message = format!(
        "the online table of view `{}` has the keys [{}], not [{}]; delete the view's table to give it others",
        owner.view,
        shown(stored),
        shown(wanted)
    );
    Err(Error::invalid("definition.join_keys", message))
}

/// A table that is as it should be.
pub(super) struct Ensured {
    pub(super) table: Table,
    pub(super) created: bool,
    pub(super) evolved: bool,
}

impl Ingest {
    /// The view's table as rows want it.
    pub(super) async fn ensure(
        &self,
        owner: &Owner,
        wanted: &Wanted,
        found: Option<(Table, OnlineProperties)>,
    ) -> Result<Table> {
        if let Some((table, _)) = found
            && wanted.change(owner, &table)?.updates.is_empty()
        {
            return Ok(table);
        }
        Ok(self.ensured(owner, wanted).await?.table)
    }

    pub(super) async fn ensured(&self, owner: &Owner, wanted: &Wanted) -> Result<Ensured> {
        let _turn = self.locks.hold(&format!("shape {:?}", owner.table)).await;
        let created = match self.find(owner).await? {
            Some(_) => false,
            None => self.create_online(owner, wanted).await?,
        };
        let catalogs = self.tables.catalogs();
        let Committed { table, changed, .. } =
            commit_change(catalogs, &owner.table, |table| wanted.change(owner, table)).await?;
        if created || changed {
            self.tell(&owner.table, Some(&table));
        }
        Ok(Ensured {
            table,
            created,
            evolved: changed && !created,
        })
    }

    /// Whether a table as it is has all that is wanted.
    pub(super) fn is_as_wanted(owner: &Owner, wanted: &Wanted, table: &Table) -> Result<bool> {
        Ok(wanted.change(owner, table)?.updates.is_empty())
    }

    /// `false` if another process was faster.
    async fn create_online(&self, owner: &Owner, wanted: &Wanted) -> Result<bool> {
        let layout = &self.features()?.layout;
        let join_keys = &wanted.definition.join_keys;
        let schema = online::arrow_schema(join_keys, &plain(&wanted.features))?;
        let new = NewTable {
            schema: arrow_schema_to_schema_auto_assign_ids(&schema)
                .map_err(Error::iceberg("plan columns"))?,
            partition_by: layout.partition_by(),
            sort_by: sort_by(),
        };
        let properties = online::properties(
            &owner.project,
            &owner.view,
            &wanted.definition,
            layout.partition_count,
        );
        let created = create_own_table(self.tables.catalogs(), &owner.table, new, properties).await;
        match created {
            Ok(_) => Ok(true),
            // Whatever the catalog says of a race, the table is there or it is not.
            Err(error) => match self.find(owner).await? {
                Some(_) => Ok(false),
                None => Err(error),
            },
        }
    }
}
