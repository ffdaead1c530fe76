//! Errors in the words that Feast's clients turn into exceptions.
//!
//! A client looks in the message for `Flight error: ` and takes the JSON object that follows it for the class and message
//! of an exception. Classes must exist in `feast.errors` of every supported version. Without the phrase the code decides:
//! `INVALID_ARGUMENT` arrives as a `ValueError`, which is what Feast raises for wrong columns and data sources, and
//! `NOT_FOUND` as a `KeyError`, which is what it raises for a feature that its view does not have. (A Python built-in named
//! in the JSON would arrive without its message.)

use serde_json::json;

use crate::error::Error;
use crate::server::status::{MAX_ENCODED_MESSAGE_BYTES, encoded_bytes};

const PHRASE: &str = "Flight error: ";
const MODULE: &str = "feast.errors";
const ELLIPSIS: char = '…';

/// The error as Feast's clients have to be told of it.
pub(super) fn reworded(error: Error) -> Error {
    match class(error.root()) {
        Some(class) => of_class(class, error),
        None => error,
    }
}

/// The error as an exception of this class.
pub(super) fn of_class(class: &str, cause: Error) -> Error {
    Error::Reworded {
        message: detail(class, &cause.to_string()),
        cause: Box::new(cause),
    }
}

/// The exception that upstream raises in this case.
fn class(error: &Error) -> Option<&'static str> {
    Some(match error {
        Error::FeatureViewNotFound { .. } => "FeatureViewNotFoundException",
        Error::FeatureServiceNotFound { .. } => "FeatureServiceNotFoundException",
        Error::DataSourceNotFound { .. } => "DataSourceObjectNotFoundException",
        Error::ProjectNotFound { .. } => "ProjectObjectNotFoundException",
        Error::NoTimestampColumn { .. } => "EntityTimestampInferenceException",
        Error::MissingEntityColumn { .. } => "FeastEntityDFMissingColumnsError",
        Error::AlreadyExists { .. } => "SavedDatasetLocationAlreadyExists",
        Error::NotAllowed { .. } => "FeastPermissionError",
        Error::UnsupportedSource { .. } => "FeastOfflineStoreUnsupportedDataSource",
        _ => return None,
    })
}

fn detail(class: &str, message: &str) -> String {
    let whole = |message: &str| {
        let detail = json!({ "module": MODULE, "class": class, "message": message });
        format!("{PHRASE}{detail}")
    };
    let around: usize = whole("").chars().map(encoded_bytes).sum();
    whole(&shortened(
        message,
        MAX_ENCODED_MESSAGE_BYTES.saturating_sub(around),
    ))
}

/// As much of `message` as takes `room` bytes when it is escaped for JSON and then for the header.
fn shortened(message: &str, room: usize) -> String {
    let escaped = |c: char| -> usize {
        let json = json!(c.to_string()).to_string();
        json[1..json.len() - 1].chars().map(encoded_bytes).sum()
    };
    let mut taken = 0;
    let mut end_with_ellipsis = 0;
    for (at, c) in message.char_indices() {
        if taken + escaped(ELLIPSIS) <= room {
            end_with_ellipsis = at;
        }
        taken += escaped(c);
        if taken > room {
            return format!("{}{ELLIPSIS}", &message[..end_with_ellipsis]);
        }
    }
    message.to_owned()
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::Value;
    use uuid::Uuid;

    use super::*;
    use crate::error::ErrorKind;
    use crate::server::status;

    /// What `feast.arrow_error_handler` reads from a message.
    fn exception(message: &str) -> Option<Value> {
        let start = message.find(PHRASE)? + PHRASE.len();
        let start = start + message[start..].find('{')?;
        let mut search = start;
        loop {
            let end = search + 1 + message[search + 1..].find('}')?;
            if let Ok(detail) = serde_json::from_str(&message[start..=end]) {
                return Some(detail);
            }
            search = end;
        }
    }

    fn told(error: Error) -> (i32, Option<Value>, String) {
        let status = status::of(&reworded(error), Uuid::nil());
        let message = status.message().to_owned();
        (status.code() as i32, exception(&message), message)
    }

    fn not_found(view: &str) -> Error {
        Error::FeatureViewNotFound {
            view: view.to_owned(),
            nearest: vec!["a}b".to_owned(), "{\"".to_owned()],
        }
    }

    #[test]
    fn a_class_arrives_with_its_message() {
        let (code, exception, _) = told(not_found("x{}\"y"));
        let exception = exception.unwrap();
        assert_eq!(code, 5);
        assert_eq!(exception["module"], "feast.errors");
        assert_eq!(exception["class"], "FeatureViewNotFoundException");
        assert_eq!(exception["message"], not_found("x{}\"y").to_string());
    }

    #[test]
    fn a_missing_feature_arrives_as_a_plain_not_found() {
        let error = Error::FeatureNotFound {
            view: "v".to_owned(),
            feature: "f".to_owned(),
            nearest: Vec::new(),
        };
        let (code, exception, message) = told(error);
        assert_eq!((code, exception), (5, None));
        assert_eq!(message, "feature `f` not found in feature view `v`");
    }

    #[test]
    fn a_shared_error_keeps_its_class_and_a_reworded_one_is_left_alone() {
        let shared = Error::Shared(std::sync::Arc::new(not_found("v")));
        assert_eq!(
            told(shared).1.unwrap()["class"],
            "FeatureViewNotFoundException"
        );
        let error = of_class("FeastJoinKeysDuringMaterialization", not_found("v"));
        assert_eq!(error.kind(), ErrorKind::NotFound);
        assert_eq!(
            told(error).1.unwrap()["class"],
            "FeastJoinKeysDuringMaterialization"
        );
    }

    #[test]
    fn internal_errors_stay_inside() {
        let (code, exception, message) = told(Error::internal("open /secret", "hunter2"));
        assert_eq!((code, exception), (13, None));
        assert!(!message.contains("secret") && !message.contains("hunter2"));
    }

    #[rstest]
    #[case("x")]
    #[case("\"")]
    #[case("{}")]
    #[case("\\")]
    #[case("\n")]
    #[case("\u{1}")]
    #[case("é")]
    #[case("🦀")]
    fn long_messages_stay_valid(#[case] unit: &str) {
        let (_, exception, message) = told(not_found(&unit.repeat(20_000)));
        let encoded: usize = message.chars().map(encoded_bytes).sum();
        assert!(encoded <= MAX_ENCODED_MESSAGE_BYTES, "{encoded}");
        assert!(encoded > MAX_ENCODED_MESSAGE_BYTES - 64, "{encoded}");
        let exception = exception.unwrap();
        let text = exception["message"].as_str().unwrap();
        assert!(
            text.starts_with("feature view `") && text.ends_with(ELLIPSIS),
            "{text}"
        );
    }

    #[test]
    fn a_message_that_just_fits_is_whole() {
        for room in 0..40 {
            let text = "a\"b}é ".repeat(3);
            let short = shortened(&text, room);
            let json = json!(short).to_string();
            let encoded: usize = json[1..json.len() - 1].chars().map(encoded_bytes).sum();
            assert!(encoded <= room.max(9), "{room}: {short}");
        }
        assert_eq!(shortened("abc", 3), "abc");
        assert_eq!(shortened("abcabcabcabc", 11), "ab…");
    }
}
