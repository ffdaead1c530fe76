//! Credentials that a catalog lends with a table and that expire: everything below a prefix is read and written with its own,
//! which are replaced before they expire and when the store refuses them. Connections do not depend on them and are shared.

mod credentials;
mod ledger;
mod signing;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use iceberg::io::FileIO;
use object_store::ObjectStore;

use super::clients::{self, Kept};
use super::location::Service;
use super::properties::Properties;
use super::{azure, gcs, iceberg_io, s3};
use crate::clock::{Clock, SystemClock};
use credentials::LentCredentials;
use ledger::{Ledger, is_credential, lends_credentials};
use signing::SigningConnector;

/// Who can be asked for a table's credentials again.
#[async_trait]
pub trait Lender: Send + Sync + fmt::Debug {
    /// Settings for the table's files by pyiceberg's names, per location prefix; asked again before they expire.
    ///
    /// # Errors
    /// A message without secrets: it is logged and shown.
    async fn lend(&self) -> Result<Vec<Loan>, String>;
}

/// Settings for all files below a prefix.
#[derive(Clone)]
pub struct Loan {
    /// How the locations begin that the settings are for; empty for all.
    pub prefix: String,
    /// Settings by pyiceberg's names: `s3.access-key-id`, `s3.session-token-expires-at-ms`, `gcs.oauth2.token`, …
    pub properties: BTreeMap<String, String>,
}

impl fmt::Debug for Loan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Loan")
            .field("prefix", &self.prefix)
            .field("properties", &self.properties.keys())
            .finish()
    }
}

/// What a table with lent credentials is read and written through. `base` are the catalog's own properties, `loans` what came
/// with the table; `lender` is asked for others before these expire, and when the store refuses them.
pub fn lent_file_io(
    base: &BTreeMap<String, String>,
    loans: Vec<Loan>,
    lender: Arc<dyn Lender>,
) -> FileIO {
    let lent = Lent::new(base, loans, lender, Arc::new(SystemClock));
    iceberg_io::lent_file_io(Arc::new(lent))
}

/// The stores of one table.
pub(super) struct Lent {
    ledger: Arc<Ledger>,
    stores: Mutex<Kept<Arc<dyn ObjectStore>>>,
}

impl fmt::Debug for Lent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lent")
            .field("ledger", &self.ledger)
            .finish_non_exhaustive()
    }
}

impl Lent {
    pub(super) fn new(
        base: &BTreeMap<String, String>,
        loans: Vec<Loan>,
        lender: Arc<dyn Lender>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self {
            ledger: Arc::new(Ledger::new(base.clone(), loans, lender, clock)),
            stores: Mutex::new(Kept::new()),
        }
    }

    /// The store of a location; `container` is the location's own.
    ///
    /// # Errors
    /// A message without secrets, if the settings contradict each other.
    pub(super) fn client(
        &self,
        service: Service,
        container: &str,
        uri: &str,
    ) -> Result<Arc<dyn ObjectStore>, String> {
        let loan = self.ledger.loan(uri);
        let properties = self.ledger.merged(&loan);
        if !lends_credentials(&loan) {
            return clients::client(service, container, &properties);
        }
        let place = [service.scheme(), container, &loan.prefix];
        let key = clients::key(place, &properties, |name| !is_credential(name));
        let mut stores = self.stores.lock().unwrap_or_else(PoisonError::into_inner);
        stores.get_or_make(key, || {
            self.make(service, container, &loan.prefix, &properties)
        })
    }

    fn make(
        &self,
        service: Service,
        container: &str,
        prefix: &str,
        properties: &BTreeMap<String, String>,
    ) -> Result<Arc<dyn ObjectStore>, String> {
        let borrower = Borrower {
            ledger: Arc::clone(&self.ledger),
            prefix: prefix.to_owned(),
            service,
            store: format!("{}://{container}", service.scheme()),
        };
        match service {
            Service::S3 => {
                let bucket = s3::Bucket::new(container, properties)?;
                let connector = SigningConnector {
                    connector: bucket.connector()?,
                    region: bucket.region(),
                    borrower: borrower.clone(),
                };
                bucket.build(LentCredentials::provider(borrower, s3::keys), connector)
            }
            Service::Gcs => {
                let lent = LentCredentials::provider(borrower, gcs::token);
                gcs::client(container, properties, Some(lent))
            }
            Service::Azure => {
                let account = azure::account(container, properties)?;
                let read = move |properties: Properties<'_>| azure::token(properties, &account);
                let lent = LentCredentials::provider(borrower, read);
                azure::client(container, properties, Some(lent))
            }
            #[cfg(test)]
            Service::Memory => Ok(super::memory::client(container)),
        }
    }
}

/// Who signs requests with what the ledger has for a prefix.
#[derive(Clone)]
struct Borrower {
    ledger: Arc<Ledger>,
    prefix: String,
    service: Service,
    /// For messages.
    store: String,
}

impl fmt::Debug for Borrower {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Borrower")
            .field("store", &self.store)
            .field("prefix", &self.prefix)
            .finish_non_exhaustive()
    }
}
