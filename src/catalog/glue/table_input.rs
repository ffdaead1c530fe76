//! What Glue is told to store about a table. Everything that other tools put there stays: only the metadata's location and the
//! columns change.

use std::collections::HashMap;

use aws_sdk_glue::types::{StorageDescriptor, Table, TableInput};
use iceberg::spec::TableMetadata;

use super::error::refused;
use super::schema::columns;

const TABLE_TYPE: &str = "table_type";
const METADATA_LOCATION: &str = "metadata_location";
const PREVIOUS_METADATA_LOCATION: &str = "previous_metadata_location";
const ICEBERG: &str = "ICEBERG";
const EXTERNAL_TABLE: &str = "EXTERNAL_TABLE";

pub(super) fn is_iceberg(table: &Table) -> bool {
    let kind = table.parameters().and_then(|all| all.get(TABLE_TYPE));
    kind.is_some_and(|kind| kind.eq_ignore_ascii_case(ICEBERG))
}

/// Where the table's metadata is.
///
/// # Errors
/// If the table is none of Iceberg's.
pub(super) fn metadata_location(table: &Table) -> iceberg::Result<&str> {
    let location = table
        .parameters()
        .and_then(|all| all.get(METADATA_LOCATION));
    match location {
        Some(location) if is_iceberg(table) => Ok(location),
        _ => Err(refused(format!(
            "`{}` is not an Iceberg table in AWS Glue",
            table.name
        ))),
    }
}

/// A new table, or one that was there before.
pub(super) fn created(name: &str, metadata: &TableMetadata, location: &str) -> TableInput {
    let descriptor = StorageDescriptor::builder()
        .location(metadata.location())
        .set_columns(Some(columns(metadata, &[])))
        .build();
    TableInput::builder()
        .name(name)
        .table_type(EXTERNAL_TABLE)
        .set_parameters(Some(parameters(HashMap::new(), location, None)))
        .storage_descriptor(descriptor)
        .build()
        .expect("a table with a name is complete")
}

/// `table` after a commit.
pub(super) fn changed(table: &Table, metadata: &TableMetadata, old: &str, new: &str) -> TableInput {
    let mut input = as_stored(table);
    let stored = input.parameters.take().unwrap_or_default();
    input.parameters = Some(parameters(stored, new, Some(old)));
    let mut descriptor = input
        .storage_descriptor
        .take()
        .unwrap_or_else(|| StorageDescriptor::builder().build());
    descriptor.columns = Some(columns(metadata, descriptor.columns()));
    descriptor.location = Some(metadata.location().to_owned());
    input.storage_descriptor = Some(descriptor);
    input
}

/// `table` by another name.
pub(super) fn renamed(table: &Table, name: &str) -> TableInput {
    let mut input = as_stored(table);
    name.clone_into(&mut input.name);
    input
}

fn as_stored(table: &Table) -> TableInput {
    let kind = table.table_type.clone();
    TableInput::builder()
        .name(&table.name)
        .set_description(table.description.clone())
        .set_owner(table.owner.clone())
        .set_last_access_time(table.last_access_time)
        .set_last_analyzed_time(table.last_analyzed_time)
        .retention(table.retention)
        .set_storage_descriptor(table.storage_descriptor.clone())
        .set_partition_keys(table.partition_keys.clone())
        .set_view_original_text(table.view_original_text.clone())
        .set_view_expanded_text(table.view_expanded_text.clone())
        .table_type(kind.unwrap_or_else(|| EXTERNAL_TABLE.to_owned()))
        .set_parameters(table.parameters.clone())
        .set_target_table(table.target_table.clone())
        .set_federated_table(table.federated_table.clone())
        .build()
        .expect("a table with a name is complete")
}

fn parameters(
    mut all: HashMap<String, String>,
    location: &str,
    previous: Option<&str>,
) -> HashMap<String, String> {
    all.insert(TABLE_TYPE.to_owned(), ICEBERG.to_owned());
    all.insert(METADATA_LOCATION.to_owned(), location.to_owned());
    if let Some(previous) = previous {
        all.insert(PREVIOUS_METADATA_LOCATION.to_owned(), previous.to_owned());
    }
    all
}
