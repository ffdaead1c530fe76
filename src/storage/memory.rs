//! Stores within this process, one per name, for tests that need a bucket and no server.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use object_store::ObjectStore;
use object_store::memory::InMemory;

static STORES: Mutex<BTreeMap<String, Arc<dyn ObjectStore>>> = Mutex::new(BTreeMap::new());

pub(super) fn client(name: &str) -> Arc<dyn ObjectStore> {
    let mut stores = STORES.lock().unwrap_or_else(PoisonError::into_inner);
    let store = stores.entry(name.to_owned());
    Arc::clone(store.or_insert_with(|| Arc::new(InMemory::new())))
}

/// Makes a store the one of that name.
pub(crate) fn put_in_place(name: &str, store: Arc<dyn ObjectStore>) {
    let mut stores = STORES.lock().unwrap_or_else(PoisonError::into_inner);
    stores.insert(name.to_owned(), store);
}
