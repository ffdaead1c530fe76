//! Listings that a server answers in pages.

use iceberg::{NamespaceIdent, TableIdent};
use iceberg_catalog_rest::{ListNamespaceResponse, ListTablesResponse};
use reqwest::Url;
use serde::de::DeserializeOwned;

use super::error::Failure;
use super::session::Session;

/// More pages than this are no listing but a loop.
const PAGES: usize = 10_000;

/// One page of a listing.
pub(super) trait Page: DeserializeOwned {
    type Item;

    /// What is on it, and the token of the next one.
    fn parts(self) -> (Vec<Self::Item>, Option<String>);
}

impl Page for ListNamespaceResponse {
    type Item = NamespaceIdent;

    fn parts(self) -> (Vec<NamespaceIdent>, Option<String>) {
        (self.namespaces, self.next_page_token)
    }
}

impl Page for ListTablesResponse {
    type Item = TableIdent;

    fn parts(self) -> (Vec<TableIdent>, Option<String>) {
        (self.identifiers, self.next_page_token)
    }
}

/// What all pages of the listing at `url` have.
pub(super) async fn all<P: Page>(session: &Session, url: &Url) -> Result<Vec<P::Item>, Failure> {
    let (mut found, mut next) = (Vec::new(), None);
    for _ in 0..PAGES {
        let page: P = session.get(page_of(url, next.as_deref())).await?;
        let (items, token) = page.parts();
        found.extend(items);
        next = token.filter(|token| !token.is_empty());
        if next.is_none() {
            break;
        }
    }
    Ok(found)
}

fn page_of(url: &Url, token: Option<&str>) -> Url {
    let mut url = url.clone();
    if let Some(token) = token {
        url.query_pairs_mut().append_pair("pageToken", token);
    }
    url
}
