//! An upload's id: 122 random bits, or a hash of something unguessable, and the moment of expiry, as
//! `<32 hex digits>-<16 hex digits>`.
//!
//! Saying in the id when it ends costs no secret, lets a sweep work from a listing alone, and lets every server answer
//! "expired" without remembering anything about what it deleted.

use chrono::{DateTime, Utc};
use object_store::path::Path;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::model::{Principal, UploadId};

const SUFFIX: &str = ".upload";
const RANDOM_DIGITS: usize = 32;
const EXPIRY_DIGITS: usize = 16;

/// A name by which an upload can be found without having been told its id: a hash takes the place of the random bits, so
/// whoever cannot guess what was hashed cannot guess the id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UploadName(String);

impl UploadName {
    /// The owner's name for what `secret` is the key of; `secret` must hold something that nobody can guess.
    pub fn new(owner: &Principal, secret: &[u8]) -> Self {
        let mut hash = Sha256::new();
        hash.update((owner.0.len() as u64).to_le_bytes());
        hash.update(&owner.0);
        hash.update(secret);
        let digits = hash
            .finalize()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect::<String>();
        Self(digits[..RANDOM_DIGITS].to_owned())
    }
}

/// An id that has the right form. Only such are ever looked up, so no id can name anything but an upload.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct WellFormed {
    id: String,
    expires_at: DateTime<Utc>,
}

impl WellFormed {
    /// A new id; the expiry is cut to milliseconds. None beyond the calendar's end.
    pub(super) fn random(expires_at: DateTime<Utc>) -> Option<Self> {
        let random = Uuid::new_v4().simple();
        Self::parse(&format!("{random}-{:016x}", expires_at.timestamp_millis()))
    }

    /// The id of an upload that has a name; a later one of the same name expires later.
    pub(super) fn named(name: &UploadName, expires_at: DateTime<Utc>) -> Option<Self> {
        Self::parse(&format!(
            "{}-{:016x}",
            name.0,
            expires_at.timestamp_millis()
        ))
    }

    pub(super) fn has_name(&self, name: &UploadName) -> bool {
        self.id
            .split_once('-')
            .is_some_and(|(own, _)| own == name.0)
    }

    pub(super) fn parse(id: &str) -> Option<Self> {
        let (random, expiry) = id.split_once('-')?;
        if !is_hex(random, RANDOM_DIGITS) || !is_hex(expiry, EXPIRY_DIGITS) {
            return None;
        }
        let millis = i64::from_str_radix(expiry, 16).ok()?;
        let expires_at = DateTime::from_timestamp_millis(millis)?;
        Some(Self {
            id: id.to_owned(),
            expires_at,
        })
    }

    /// The id of the object at `path`; None if it is not one of ours.
    pub(super) fn of_object(name: &str) -> Option<Self> {
        Self::parse(name.strip_suffix(SUFFIX)?)
    }

    pub(super) fn path(&self) -> Path {
        Path::from(format!("{}{SUFFIX}", self.id))
    }

    pub(super) fn expires_at(&self) -> DateTime<Utc> {
        self.expires_at
    }

    pub(super) fn is_expired(&self, now: DateTime<Utc>) -> bool {
        now >= self.expires_at
    }

    pub(super) fn upload_id(&self) -> UploadId {
        UploadId(self.id.clone())
    }
}

fn is_hex(text: &str, digits: usize) -> bool {
    text.len() == digits
        && text
            .bytes()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_read_back_and_differ() {
        let expires_at = DateTime::from_timestamp_millis(1_767_225_600_123).unwrap();
        let id = WellFormed::random(expires_at).unwrap();
        assert_eq!(id.expires_at(), expires_at);
        assert_eq!(WellFormed::parse(&id.upload_id().0), Some(id.clone()));
        assert_eq!(WellFormed::of_object(id.path().as_ref()), Some(id.clone()));
        assert_ne!(WellFormed::random(expires_at), Some(id));
    }

    #[test]
    fn anything_else_is_no_id() {
        let id = WellFormed::random(DateTime::UNIX_EPOCH)
            .unwrap()
            .upload_id()
            .0;
        let upper = id.to_uppercase().replace("0000", "000A");
        let cases = [
            "",
            "-",
            "../../etc/passwd",
            &id[1..],
            &format!("{id}0"),
            &format!("{id}#1"),
            &format!("/{}", &id[1..]),
            &format!("..{}", &id[2..]),
            &id.replace('-', "/"),
            &format!("{}ffffffffffffffff", &id[..33]),
            &format!("{}7fffffffffffffff", &id[..33]),
            &format!("{}+00000000000000f", &id[..33]),
            &upper,
        ];
        for case in cases {
            assert_eq!(WellFormed::parse(case), None, "{case}");
        }
    }
}
