//! Parquet files as they are: for describing a source, and for writing more of what it has.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{Fields, SchemaRef};
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};

use super::listing::{ListedFile, Listing};
use super::pin::folder_columns;
use super::{names, types};
use crate::error::{Error, Result};
use crate::model::ParquetLocation;
use crate::table::read::LooseFile;

/// The files at a location as they were when it was opened.
#[derive(Debug)]
pub struct ParquetSource {
    listing: Listing,
    schema: SchemaRef,
    stored: SchemaRef,
}

impl ParquetSource {
    /// Lists the files and reads the schema of the first by path.
    ///
    /// # Errors
    /// [`Error::NoParquetFiles`] if there are none; errors of storage.
    pub async fn open(location: &ParquetLocation) -> Result<Self> {
        let listing = Listing::new(location).await?;
        let none = || Error::NoParquetFiles {
            uri: listing.uri.clone(),
        };
        let first = listing.files.first().ok_or_else(none)?;
        let file = LooseFile::open(&listing.store, first.as_ref(&listing.uri)).await?;
        Ok(Self {
            schema: file.written_schema()?,
            stored: Arc::clone(file.stored_schema()),
            listing,
        })
    }

    /// The first file's columns in the types of its writer; without those that are in the names of folders.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// The files, by path.
    pub fn files(&self) -> &[ListedFile] {
        &self.listing.files
    }

    /// The rows of one file in the types of its writer. Fails with [`Error::FileChanged`] if it was written to since.
    pub fn read_raw(&self, file: &ListedFile) -> BoxStream<'static, Result<RecordBatch>> {
        let (uri, store, file) = (
            self.listing.uri.clone(),
            self.listing.store.clone(),
            file.clone(),
        );
        let open = async move { LooseFile::open(&store, file.as_ref(&uri)).await?.read() };
        futures::stream::once(open).try_flatten().boxed()
    }

    /// Columns of the first file and of the folders, with their types as pyarrow prints them.
    pub fn column_types(&self) -> Vec<(String, String)> {
        let written = self.schema.fields().iter().zip(self.stored.fields());
        let written = written.map(|(written, stored)| {
            let printed = names::pyarrow_type(written, stored.data_type());
            (written.name().clone(), printed)
        });
        let stored: Fields = self
            .stored
            .fields()
            .iter()
            .map(types::readable_field)
            .collect();
        let folders = folder_columns(&self.listing.files, &stored);
        let folders = folders.iter().map(|folder| {
            let printed = names::pyarrow_type(folder, folder.data_type());
            (folder.name().clone(), printed)
        });
        written.chain(folders).collect()
    }
}
