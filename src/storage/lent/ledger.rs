//! What is lent to a table now: loans by prefix over the catalog's own properties, asked for again in time.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use chrono::DateTime;

use super::{Lender, Loan};
use crate::clock::Clock;
use crate::storage::lease::{Lease, Term};

/// What requests are signed with, by the beginning of its name.
const CREDENTIALS: [&str; 9] = [
    "s3.access-key-id",
    "s3.secret-access-key",
    "s3.session-token",
    "client.access-key-id",
    "client.secret-access-key",
    "client.session-token",
    "gcs.oauth2.token",
    "adls.sas-token",
    "adls.token",
];

/// When they expire, in milliseconds since 1970 or as a date; Azure's are followed by the account.
const EXPIRIES: [&str; 4] = [
    "s3.session-token-expires-at-ms",
    "gcs.oauth2.token-expires-at",
    "adls.sas-token-expires-at-ms",
    "expiration-time",
];

/// Whether a setting changes with the credentials.
pub(super) fn is_credential(name: &str) -> bool {
    CREDENTIALS.iter().any(|begin| name.starts_with(begin)) || is_expiry(name)
}

fn is_expiry(name: &str) -> bool {
    EXPIRIES.iter().any(|begin| name.starts_with(begin))
}

/// Whether a loan is more than settings that say where and how.
pub(super) fn lends_credentials(loan: &Loan) -> bool {
    let mut names = loan.properties.keys();
    names.any(|name| is_credential(name) && !is_expiry(name))
}

pub(super) struct Ledger {
    base: BTreeMap<String, String>,
    lender: Arc<dyn Lender>,
    loans: Lease<Arc<[Loan]>>,
}

impl fmt::Debug for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ledger")
            .field("base", &self.base.keys())
            .field("lender", &self.lender)
            .field("loans", &self.loans.newest())
            .finish()
    }
}

impl Ledger {
    pub(super) fn new(
        base: BTreeMap<String, String>,
        loans: Vec<Loan>,
        lender: Arc<dyn Lender>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self {
            base,
            lender,
            loans: Lease::new(clock, term(loans)),
        }
    }

    /// The loan for a location as it is now, valid or not.
    pub(super) fn loan(&self, location: &str) -> Loan {
        chosen(&self.loans.newest().unwrap_or_default(), location)
    }

    /// A loan's settings over the catalog's own. Keys of the loan replace the catalog's as a whole.
    pub(super) fn merged(&self, loan: &Loan) -> BTreeMap<String, String> {
        let lends = lends_credentials(loan);
        let own = self
            .base
            .iter()
            .filter(|(name, _)| !(lends && is_credential(name)));
        own.chain(&loan.properties)
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect()
    }

    /// Settings with valid credentials for a prefix.
    pub(super) async fn current(
        &self,
        prefix: &str,
        store: &str,
    ) -> Result<BTreeMap<String, String>, String> {
        let loans = self.loans.get(store, self.fetch()).await?;
        Ok(self.merged(&chosen(&loans, prefix)))
    }

    /// Settings with other credentials than those that were refused.
    pub(super) async fn replaced(
        &self,
        prefix: &str,
        is_refused: impl Fn(&BTreeMap<String, String>) -> bool + Send,
    ) -> Result<BTreeMap<String, String>, String> {
        let is_refused =
            move |loans: &Arc<[Loan]>| is_refused(&self.merged(&chosen(loans, prefix)));
        let loans = self.loans.replace(is_refused, self.fetch()).await?;
        Ok(self.merged(&chosen(&loans, prefix)))
    }

    async fn fetch(&self) -> Result<Term<Arc<[Loan]>>, String> {
        self.lender.lend().await.map(term)
    }
}

/// The loan with the longest prefix of a location; one without settings, if there is none.
fn chosen(loans: &[Loan], location: &str) -> Loan {
    let location = written_alike(location);
    loans
        .iter()
        .filter(|loan| location.starts_with(&written_alike(&loan.prefix)))
        .max_by_key(|loan| loan.prefix.len())
        .cloned()
        .unwrap_or_else(|| Loan {
            prefix: String::new(),
            properties: BTreeMap::new(),
        })
}

/// S3 has three schemes for the same places.
fn written_alike(location: &str) -> String {
    match location.split_once("://") {
        Some(("s3a" | "s3n", rest)) => format!("s3://{rest}"),
        _ => location.to_owned(),
    }
}

/// All loans are replaced at once, so the first to expire counts.
fn term(loans: Vec<Loan>) -> Term<Arc<[Loan]>> {
    let expires = loans.iter().flat_map(|loan| &loan.properties);
    let expires = expires
        .filter(|(name, _)| is_expiry(name))
        .filter_map(|(_, text)| time(text))
        .min();
    Term {
        value: loans.into(),
        expires,
    }
}

fn time(text: &str) -> Option<SystemTime> {
    match text.trim().parse() {
        Ok(millis) => Some(SystemTime::UNIX_EPOCH + Duration::from_millis(millis)),
        Err(_) => DateTime::parse_from_rfc3339(text.trim())
            .ok()
            .map(SystemTime::from),
    }
}
