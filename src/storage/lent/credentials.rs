//! What the clients of Amazon, Google and Azure sign requests with, read from what is lent at the moment of the request.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use object_store::CredentialProvider;

use super::Borrower;
use crate::storage::properties::Properties;

/// Reads a service's credential out of its settings.
type Read<C> = dyn Fn(Properties<'_>) -> Result<Option<C>, String> + Send + Sync;

pub(super) struct LentCredentials<C> {
    borrower: Borrower,
    read: Box<Read<C>>,
}

impl<C> LentCredentials<C> {
    pub(super) fn provider(
        borrower: Borrower,
        read: impl Fn(Properties<'_>) -> Result<Option<C>, String> + Send + Sync + 'static,
    ) -> Arc<Self> {
        Arc::new(Self {
            borrower,
            read: Box::new(read),
        })
    }

    async fn current(&self) -> Result<C, String> {
        let Borrower {
            ledger,
            prefix,
            store,
            ..
        } = &self.borrower;
        let settings = ledger.current(prefix, store).await.map_err(|message| {
            format!("the credentials lent for {store} have expired and were not renewed: {message}")
        })?;
        self.found(&settings)
    }

    fn found(&self, settings: &BTreeMap<String, String>) -> Result<C, String> {
        let store = &self.borrower.store;
        let found = (self.read)(Properties::new(self.borrower.service.family(), settings))?;
        found.ok_or_else(|| format!("no credentials are lent for {store} any more"))
    }
}

impl<C> fmt::Debug for LentCredentials<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("LentCredentials")
            .field(&self.borrower)
            .finish()
    }
}

#[async_trait]
impl<C: Send + Sync + 'static> CredentialProvider for LentCredentials<C> {
    type Credential = C;

    async fn get_credential(&self) -> object_store::Result<Arc<C>> {
        let credential = self.current().await;
        credential
            .map(Arc::new)
            .map_err(|message| object_store::Error::Generic {
                store: self.borrower.service.scheme(),
                source: message.into(),
            })
    }
}
