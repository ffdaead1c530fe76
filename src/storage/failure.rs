//! Failures of object stores in words: where, and without the answer itself, which may repeat what was sent.

use std::error::Error as StdError;
use std::io;

use object_store::Error;

/// What stands before a status in words of the library, and then the answer's body.
const STATUS: &str = "non-2xx status code: ";
/// Characters that are shown of other failures.
const SHOWN: usize = 300;

/// A store's failure without what the store answered.
pub fn told(error: &Error) -> String {
    let text = error.to_string();
    let Some((_, answer)) = text.split_once(STATUS) else {
        return text.chars().take(SHOWN).collect();
    };
    let status = answer.split(':').next().unwrap_or_default();
    format!("the store answered {}", status.trim())
}

/// The file and the store's failure, if a store that cannot be used is what failed; a full disk is one.
pub fn outage(error: &iceberg::Error) -> Option<(String, String)> {
    let mut file = String::new();
    let mut next: Option<&(dyn StdError + 'static)> = Some(error);
    while let Some(error) = next {
        if let Some(error) = error.downcast_ref::<iceberg::Error>() {
            file = file_of(error.message()).to_owned();
        }
        if let Some(error) = error.downcast_ref::<Error>() {
            return is_outage(error).then(|| (file, told(error)));
        }
        if let Some(error) = error.downcast_ref::<io::Error>().filter(is_full) {
            return Some((file, error.to_string()));
        }
        next = error.source();
    }
    None
}

/// The location in `Failed to write file LOCATION: cause`.
fn file_of(message: &str) -> &str {
    let message = message.rsplit_once(": ").map_or(message, |(told, _)| told);
    let slash = message.find('/').unwrap_or_default();
    let (before, _) = message.split_at(slash);
    let start = before.rfind(' ').map_or(0, |space| space + 1);
    message.split_at(start).1
}

/// Whether the disk takes no more, for now.
fn is_full(error: &&io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull
            | io::ErrorKind::QuotaExceeded
            | io::ErrorKind::FileTooLarge
            | io::ErrorKind::ReadOnlyFilesystem
    )
}

fn is_outage(error: &Error) -> bool {
    !matches!(
        error,
        Error::NotFound { .. }
            | Error::AlreadyExists { .. }
            | Error::Precondition { .. }
            | Error::InvalidPath { .. }
            | Error::NotImplemented { .. }
    )
}

#[cfg(test)]
mod tests {
    use iceberg::ErrorKind;
    use parquet::errors::ParquetError;

    use super::*;

    fn refused() -> Error {
        Error::Generic {
            store: "S3",
            source: "Error performing PUT http://h/b/k in 1ms - Server returned non-2xx status code: 400 Bad Request: secret"
                .into(),
        }
    }

    #[test]
    fn the_answer_is_not_told() {
        assert_eq!(told(&refused()), "the store answered 400 Bad Request");
    }

    #[test]
    fn an_outage_is_found_below_other_errors() {
        let stored = iceberg::Error::new(ErrorKind::Unexpected, "Failed to finish file s3://b/k");
        let stored = stored.with_source(refused());
        let written =
            iceberg::Error::new(ErrorKind::Unexpected, "Failed to finish parquet writer.");
        let written = written.with_source(ParquetError::External(Box::new(stored)));
        let (file, message) = outage(&written).unwrap();
        assert_eq!(
            (file.as_str(), message.as_str()),
            ("s3://b/k", "the store answered 400 Bad Request")
        );
        let missing = iceberg::Error::new(ErrorKind::Unexpected, "Failed to read file k/1");
        let missing = missing.with_source(Error::NotFound {
            path: "k".to_owned(),
            source: "gone".into(),
        });
        assert_eq!(outage(&missing), None);
    }

    #[test]
    fn a_full_disk_is_an_outage_and_a_bad_file_is_none() {
        let failed = |kind: io::ErrorKind| {
            let cause = io::Error::from(kind);
            let message = format!("Failed to write file /data/a b/c.parquet: {cause}");
            iceberg::Error::new(ErrorKind::DataInvalid, message).with_source(cause)
        };
        let (file, told) = outage(&failed(io::ErrorKind::StorageFull)).unwrap();
        assert_eq!(
            (file.as_str(), told.as_str()),
            ("/data/a b/c.parquet", "no storage space")
        );
        assert_eq!(outage(&failed(io::ErrorKind::InvalidData)), None);
    }
}
