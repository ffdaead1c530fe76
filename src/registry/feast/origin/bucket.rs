//! A registry in S3, read again only when its ETag has changed.

use std::collections::BTreeMap;

use object_store::{Error as StoreError, GetOptions};

use super::{Failure, Fetched, LIMIT, decoded};
use crate::config::variable;
use crate::registry::feast::feature_store::Place;
use crate::storage::{self, Located};

#[derive(Debug)]
pub(super) struct Bucket(Located);

impl Bucket {
    /// The object at `place`; what it leaves out comes from the environment, the endpoint from Feast's own variable.
    pub(super) fn new(place: &Place) -> Result<Self, String> {
        let endpoint = place
            .s3_endpoint_override
            .clone()
            .or_else(|| variable("FEAST_S3_ENDPOINT_URL"));
        let properties: BTreeMap<String, String> = endpoint
            .map(|endpoint| ("s3.endpoint".to_owned(), endpoint))
            .into_iter()
            .collect();
        storage::open(&place.path, &properties)
            .map(Self)
            .map_err(|error| error.to_string())
    }

    pub(super) async fn fetch(&self, known: Option<&str>) -> Result<Fetched, Failure> {
        let options = GetOptions {
            if_none_match: known.map(str::to_owned),
            ..GetOptions::default()
        };
        let found = match self.0.store.get_opts(&self.0.path, options).await {
            Ok(found) => found,
            Err(StoreError::NotModified { .. }) => return Ok(Fetched::Unchanged),
            Err(StoreError::NotFound { .. }) => return Ok(Fetched::Absent),
            Err(error) => return Err(Failure::Unreachable(error.to_string())),
        };
        if found.meta.size > LIMIT as u64 {
            let message = format!("it has {} bytes, more than {LIMIT}", found.meta.size);
            return Err(Failure::Unreachable(message));
        }
        let version = found.meta.e_tag.clone();
        let bytes = found
            .bytes()
            .await
            .map_err(|error| Failure::Unreachable(error.to_string()))?;
        Ok(Fetched::Found {
            message: decoded(bytes)?,
            version,
        })
    }
}
