//! Pinned Iceberg tables: file index, pruning, reading.

pub mod files;
pub mod layout;
pub mod read;

use std::sync::Arc;

use iceberg::io::FileIO;
use iceberg::spec::{NameMapping, SchemaRef};

use crate::model::TableName;
use files::FileIndex;

/// One snapshot of one table.
#[derive(Clone, Debug)]
pub struct PinnedTable {
    name: TableName,
    schema: SchemaRef,
    file_io: FileIO,
    files: Arc<FileIndex>,
    name_mapping: Option<Arc<NameMapping>>,
}

impl PinnedTable {
    /// The table's name.
    pub fn name(&self) -> &TableName {
        &self.name
    }

    /// The pinned schema.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// Access to the table's files.
    pub fn file_io(&self) -> &FileIO {
        &self.file_io
    }

    /// Live data files.
    pub fn files(&self) -> &FileIndex {
        &self.files
    }

    /// The table's default name mapping.
    pub fn name_mapping(&self) -> Option<Arc<NameMapping>> {
        self.name_mapping.clone()
    }
}
