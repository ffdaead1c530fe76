//! Locations, settings, and files on disk, in buckets and behind lent credentials.

mod bank;
mod bounds;
mod files;
mod lease;
mod lent;
mod listing;
mod locations;
mod others;
mod server;
mod settings;

use bytes::Bytes;
use object_store::CredentialProvider;

use super::*;
use server::{Answer, Server};

fn properties(entries: &[(&str, &str)]) -> BTreeMap<String, String> {
    entries
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect()
}
