//! Clients that are shared by all who ask for the same: a client owns connections and credentials that were costly to get.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use object_store::ObjectStore;
use sha2::{Digest, Sha256};

use super::location::Service;
use super::{azure, gcs, s3};

/// Clients that are kept.
const LIMIT: usize = 64;
/// How the properties begin that a client depends on.
const RELEVANT: [&str; 5] = ["s3.", "client.", "gcs.", "adls.", "ssl."];

/// What tells one from another, without showing its secrets.
pub(super) type Key = [u8; 32];

static CLIENTS: Mutex<Kept<Arc<dyn ObjectStore>>> = Mutex::new(Kept::new());

/// The client of `container` with these properties. What they leave out, the environment says.
///
/// # Errors
/// A message without secrets, if the settings contradict each other.
pub(super) fn client(
    service: Service,
    container: &str,
    properties: &BTreeMap<String, String>,
) -> Result<Arc<dyn ObjectStore>, String> {
    let key = key([service.scheme(), container], properties, |_| true);
    let mut clients = CLIENTS.lock().unwrap_or_else(PoisonError::into_inner);
    clients.get_or_make(key, || match service {
        Service::S3 => s3::client(container, properties),
        Service::Gcs => gcs::client(container, properties, None),
        Service::Azure => azure::client(container, properties, None),
        #[cfg(test)]
        Service::Memory => Ok(super::memory::client(container)),
    })
}

/// The key of a client of `place` with those properties that matter to it and that are `chosen`.
pub(super) fn key<'a>(
    place: impl IntoIterator<Item = &'a str>,
    properties: &'a BTreeMap<String, String>,
    chosen: impl Fn(&str) -> bool,
) -> Key {
    let relevant = properties.iter().filter(|(key, _)| {
        RELEVANT.iter().any(|prefix| key.starts_with(prefix)) && chosen(key.as_str())
    });
    digest(
        place
            .into_iter()
            .chain(relevant.flat_map(|(key, value)| [key.as_str(), value.as_str()])),
    )
}

/// A digest of texts and of where each of them ends.
pub(super) fn digest<'a>(parts: impl IntoIterator<Item = &'a str>) -> Key {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part.len().to_le_bytes());
        hash.update(part);
    }
    hash.finalize().into()
}

/// Up to [`LIMIT`] values; the one that was not used for longest goes first.
pub(super) struct Kept<V>(VecDeque<(Key, V)>);

impl<V: Clone> Kept<V> {
    pub(super) const fn new() -> Self {
        Self(VecDeque::new())
    }

    pub(super) fn get_or_make(
        &mut self,
        key: Key,
        make: impl FnOnce() -> Result<V, String>,
    ) -> Result<V, String> {
        let known = self.0.iter().position(|(known, _)| *known == key);
        let value = match known.and_then(|index| self.0.remove(index)) {
            Some((_, value)) => value,
            None => make()?,
        };
        if self.0.len() >= LIMIT {
            self.0.pop_front();
        }
        self.0.push_back((key, value.clone()));
        Ok(value)
    }
}
