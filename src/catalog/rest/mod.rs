//! Catalogs that speak Iceberg's REST protocol, over a client of our own: tokens and lent credentials are replaced before they
//! expire, and a commit's outcome is told apart (docs/adr/0011).
//!
//! Properties have pyiceberg's names: `token` or `credential` with `oauth2-server-uri`, `scope`, `audience` and `resource`,
//! `prefix`, `header.…`, `ssl.cabundle`; `s3.…` and what the server adds to a table reach its storage.

mod catalog;
mod committer;
mod error;
mod lender;
mod pages;
mod paths;
mod secrets;
mod session;
mod settings;
mod token;

use std::sync::Arc;

use super::{CatalogConfig, Opened};
use crate::error::{Error, Result};
use catalog::RestCatalog;
use committer::RestCommitter;
use session::Session;

pub(super) use error::outage;

/// Faults of a section as (key, message).
pub(super) fn faults(config: &CatalogConfig) -> Vec<(&'static str, String)> {
    let address = config.uri.split_once("://");
    let fits = address.is_some_and(|(scheme, rest)| {
        matches!(scheme, "http" | "https") && !rest.is_empty() && !rest.starts_with('/')
    });
    let has_user =
        address.is_some_and(|(_, rest)| rest.split('/').next().unwrap_or_default().contains('@'));
    let message = match (fits, has_user) {
        (false, _) => "expected `http://host` or `https://host`",
        (true, true) => "credentials belong into `token` or `credential`",
        (true, false) => return settings::unsupported(&config.properties),
    };
    vec![("uri", message.to_owned())]
}

/// Asks the server nothing yet.
pub(super) fn open(name: &str, config: &CatalogConfig) -> Result<Opened> {
    let session = Session::new(config).map_err(|message| Error::CatalogUnavailable {
        catalog: name.to_owned(),
        message,
    })?;
    let session = Arc::new(session);
    Ok(Opened {
        catalog: Arc::new(RestCatalog(Arc::clone(&session))),
        committer: Arc::new(RestCommitter {
            catalog: name.to_owned(),
            session,
        }),
    })
}
