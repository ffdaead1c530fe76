//! What a failure of the Iceberg library means: a missing table, a catalog that is down, a metadata file that is gone.

use iceberg::ErrorKind;

use super::{glue, rest, sql};
use crate::error::{self, Error, Result};
use crate::model::TableName;
use crate::storage::{self, missing_file};

/// Tells a missing table, a catalog that is down and a missing metadata file apart.
pub(crate) fn table_error(name: &TableName, error: iceberg::Error) -> Error {
    match error.kind() {
        ErrorKind::TableNotFound | ErrorKind::NamespaceNotFound => Error::TableNotFound {
            table: name.to_string(),
            catalog: name.catalog.clone(),
        },
        _ => match (outage(&error), missing_file(&error)) {
            (Some(message), _) => Error::CatalogUnavailable {
                catalog: name.catalog.clone(),
                message,
            },
            (None, Some(path)) => Error::FileNotFound {
                table: name.to_string(),
                path: path.to_owned(),
            },
            (None, None) => match glue::refusal(&error) {
                Some(message) => Error::invalid("table", message),
                None => unread(name, error),
            },
        },
    }
}

/// For work on many tables: one that is damaged is logged, and must not keep it from the others; one that cannot be reached
/// now is an error.
///
/// # Errors
/// `error` itself.
pub(crate) fn pass_over(name: &TableName, error: Error) -> Result<()> {
    if error.kind() == error::ErrorKind::Unavailable {
        return Err(error);
    }
    tracing::warn!(table = %name, %error, "passing over a table that cannot be read");
    Ok(())
}

/// The catalog's own failure in words without secrets, if it is what failed.
fn outage(error: &iceberg::Error) -> Option<String> {
    sql::outage(error)
        .or_else(|| rest::outage(error))
        .or_else(|| glue::outage(error))
}

/// A damaged table, or one whose store is down.
fn unread(name: &TableName, error: iceberg::Error) -> Error {
    match storage::outage(&error) {
        Some((_, message)) => Error::StorageUnavailable {
            path: name.to_string(),
            message,
        },
        None => Error::iceberg(format!("load table `{name}`"))(error),
    }
}
