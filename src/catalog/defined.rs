//! Catalogs that definitions describe: known for as long as a definition or a request holds them.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use sha2::{Digest, Sha256};

use super::{CatalogConfig, Entry};
use crate::error::{Error, Result};

/// Catalogs that may be known at a time; each can hold connections.
const LIMIT: usize = 256;
/// Bytes of the digest in a handle's name.
const DIGEST_BYTES: usize = 8;

/// Keeps a catalog that a definition describes itself known to [`Catalogs`](super::Catalogs) for as long as it lives.
#[derive(Clone)]
pub struct CatalogHandle {
    /// Its name for [`TableName::catalog`](crate::model::TableName::catalog): the definition's own name for it and a digest
    /// of its settings, so the same on every replica.
    pub name: String,
    _entry: Arc<Entry>,
}

impl PartialEq for CatalogHandle {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for CatalogHandle {}

impl fmt::Debug for CatalogHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("CatalogHandle").field(&self.name).finish()
    }
}

#[derive(Default)]
pub(super) struct Defined(Mutex<BTreeMap<String, Weak<Entry>>>);

impl Defined {
    pub(super) fn add(&self, name: &str, config: CatalogConfig) -> Result<CatalogHandle> {
        let full_name = full_name(name, &config);
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(entry) = known.get(&full_name).and_then(Weak::upgrade) {
            return Ok(CatalogHandle {
                name: full_name,
                _entry: entry,
            });
        }
        known.retain(|_, entry| entry.strong_count() > 0);
        if known.len() >= LIMIT {
            return Err(Error::CatalogUnavailable {
                catalog: name.to_owned(),
                message: format!("{LIMIT} other catalogs are in use"),
            });
        }
        let entry = Arc::new(Entry::new(name, config));
        known.insert(full_name.clone(), Arc::downgrade(&entry));
        Ok(CatalogHandle {
            name: full_name,
            _entry: entry,
        })
    }

    pub(super) fn get(&self, name: &str) -> Option<Arc<Entry>> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(name).and_then(Weak::upgrade)
    }
}

/// Part of tickets, which outlive a release: what it is made of must not change.
fn full_name(name: &str, config: &CatalogConfig) -> String {
    let kind = format!("{:?}", config.kind).to_lowercase();
    let warehouse = config.warehouse.as_deref().unwrap_or_default();
    let properties = config.properties.iter();
    let parts = [name, &kind, &config.uri, warehouse]
        .into_iter()
        .chain(properties.flat_map(|(key, value)| [key.as_str(), value.as_str()]));
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    let digest: String = hash.finalize()[..DIGEST_BYTES]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!("{name}-{digest}")
}
