//! All files below a folder, with what a decision about each of them needs: Iceberg's `FileIO` reads, writes and deletes, but
//! does not list. Their locations are spelled otherwise by other writers, so that they are compared in one spelling.

use std::time::SystemTime;

use futures::StreamExt;
use futures::stream::BoxStream;
use iceberg::io::FileIO;

use super::location::Location;
use super::{iceberg_io, told};
use crate::error::{Error, Result};

/// A file as it was when it was listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Its location: an absolute path, or scheme and container as the folder's location has them and the key.
    pub path: String,
    /// Length in bytes.
    pub size_bytes: u64,
    /// When it was written, by the store's clock.
    pub modified: SystemTime,
}

/// Lists the files below `folder`, at any depth, with the credentials that `io` has; a folder that does not exist has none.
/// Links on a local disk are not followed. The order is the store's.
///
/// # Errors
/// [`Error::InvalidRequest`] for another kind of location; the stream ends with [`Error::StorageUnavailable`].
pub fn list(io: &FileIO, folder: &str) -> Result<BoxStream<'static, Result<Listed>>> {
    let invalid = |error: iceberg::Error| Error::invalid("location", error.message());
    let listed = iceberg_io::list(io, folder).map_err(invalid)?;
    let folder = folder.to_owned();
    let failed = move |error: object_store::Error| Error::StorageUnavailable {
        path: folder.clone(),
        message: told(&error),
    };
    Ok(listed.map(move |file| file.map_err(&failed)).boxed())
}

/// The one spelling of a location by which it is compared with others: `s3a` is `s3`, accounts of a container are one,
/// slashes are single, and whatever is encoded with percent signs is decoded. Two files may share it, which then count as one;
/// one file never has two.
///
/// # Errors
/// A message, for another kind of location.
pub fn canonical(uri: &str) -> Result<String, String> {
    let (start, path) = match Location::parse(uri)? {
        Location::Local(path) => ("file:".to_owned(), path.to_string_lossy().into_owned()),
        Location::Remote {
            service,
            container,
            key,
        } => {
            let container = container.split('@').next().unwrap_or_default();
            (format!("{}://{container}", service.scheme()), key)
        }
    };
    let mut spelled = start;
    for part in decoded(path).split('/') {
        if !matches!(part, "" | ".") {
            spelled.push('/');
            spelled.push_str(part);
        }
    }
    Ok(spelled)
}

/// Decoded until nothing is encoded any more: who wrote the metadata may have encoded a name that was encoded already.
fn decoded(mut text: String) -> String {
    while let Some(once) = decoded_once(&text) {
        text = once;
    }
    text
}

/// `None` if nothing is encoded.
fn decoded_once(text: &str) -> Option<String> {
    let (mut bytes, mut rest, mut found) = (Vec::with_capacity(text.len()), text.as_bytes(), false);
    while let Some((first, after)) = rest.split_first() {
        let encoded = (*first == b'%').then(|| hex_pair(after)).flatten();
        bytes.push(encoded.unwrap_or(*first));
        rest = after.get(if encoded.is_some() { 2 } else { 0 }..)?;
        found |= encoded.is_some();
    }
    found.then(|| String::from_utf8_lossy(&bytes).into_owned())
}

fn hex_pair(digits: &[u8]) -> Option<u8> {
    let digit = |index: usize| char::from(*digits.get(index)?).to_digit(16);
    u8::try_from(digit(0)? * 16 + digit(1)?).ok()
}
