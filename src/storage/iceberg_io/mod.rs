//! What Iceberg reads and writes its files through: the library brings local files only, this adds object stores.

mod located;
mod streams;

use std::collections::{BTreeMap, HashMap};
use std::error::Error as StdError;
use std::io;
use std::sync::{Arc, LazyLock, Mutex, PoisonError, Weak};

use futures::stream::BoxStream;
use iceberg::io::{FileIO, FileIOBuilder, Storage, StorageConfig, StorageFactory};
use iceberg::{Error, Result};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::Listed;
use super::lent::Lent;
use located::{LocatedStorage, Settings};

/// In the configuration of a `FileIO` with lent credentials: which ones. Nothing else of what it was made with can be got
/// back from it.
const LENT: &str = "murre.lent";

/// What [`LENT`] names, as long as somebody uses it.
static LENDINGS: LazyLock<Mutex<HashMap<String, Weak<Lent>>>> = LazyLock::new(Mutex::default);

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
    let id = Uuid::new_v4().to_string();
    let mut lendings = LENDINGS.lock().unwrap_or_else(PoisonError::into_inner);
    lendings.retain(|_, lent| lent.strong_count() > 0);
    lendings.insert(id.clone(), Arc::downgrade(&lent));
    let factory = LocatedStorageFactory { lent: Some(lent) };
    FileIOBuilder::new(Arc::new(factory))
        .with_prop(LENT, id)
        .build()
}

/// The files below a folder, reached as `io` reaches them.
pub(super) fn list(
    io: &FileIO,
    folder: &str,
) -> Result<BoxStream<'static, object_store::Result<Listed>>> {
    let properties = io.config().props();
    let lent = properties.get(LENT).and_then(|id| {
        let lendings = LENDINGS.lock().unwrap_or_else(PoisonError::into_inner);
        lendings.get(id)?.upgrade()
    });
    LocatedStorage {
        settings: settings(lent.as_ref(), io.config()),
    }
    .list(folder)
}

fn settings(lent: Option<&Arc<Lent>>, config: &StorageConfig) -> Settings {
    match lent {
        Some(lent) => Settings::Lent(Arc::clone(lent)),
        None => Settings::Own(Arc::new(config.props().clone().into_iter().collect())),
    }
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
        Ok(Arc::new(LocatedStorage {
            settings: settings(self.lent.as_ref(), config),
        }))
    }
}
