//! What Iceberg reads and writes its files through: the library brings local files only, this adds object stores.

mod located;
mod streams;

use std::collections::BTreeMap;
use std::error::Error as StdError;
use std::io;
use std::sync::Arc;

use iceberg::io::{FileIO, FileIOBuilder, Storage, StorageConfig, StorageFactory};
use iceberg::{Error, Result};
use serde::{Deserialize, Serialize};

use super::lent::Lent;
use located::{LocatedStorage, Settings};

/// What tables with these properties are read and written through.
pub fn file_io(properties: &BTreeMap<String, String>) -> FileIO {
    FileIOBuilder::new(factory()).with_props(properties).build()
}

/// What catalogs make each table's storage with, from the catalog's properties and those that a table comes with.
pub fn factory() -> Arc<dyn StorageFactory> {
    Arc::new(LocatedStorageFactory::default())
}

/// What a table with lent credentials is read and written through.
pub(super) fn lent_file_io(lent: Arc<Lent>) -> FileIO {
    let factory = LocatedStorageFactory { lent: Some(lent) };
    FileIOBuilder::new(Arc::new(factory)).build()
}

/// The path that an error is about, if the error is that there is no such file.
pub fn missing_file(error: &Error) -> Option<&str> {
    let source = error.source()?;
    let missing_locally = source
        .downcast_ref::<io::Error>()
        .is_some_and(|error| error.kind() == io::ErrorKind::NotFound);
    let missing = matches!(
        source.downcast_ref(),
        Some(object_store::Error::NotFound { .. })
    );
    if !(missing_locally || missing) {
        return None;
    }
    let message = error.message().strip_prefix("Failed to read file ")?;
    Some(message.rsplit_once(": ").map_or(message, |(path, _)| path))
}

/// Makes [`LocatedStorage`]: with what is lent, else with the properties that it is asked for.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct LocatedStorageFactory {
    #[serde(skip)]
    lent: Option<Arc<Lent>>,
}

#[typetag::serde]
impl StorageFactory for LocatedStorageFactory {
    fn build(&self, config: &StorageConfig) -> Result<Arc<dyn Storage>> {
        let settings = match &self.lent {
            Some(lent) => Settings::Lent(Arc::clone(lent)),
            None => Settings::Own(Arc::new(config.props().clone().into_iter().collect())),
        };
        Ok(Arc::new(LocatedStorage { settings }))
    }
}
