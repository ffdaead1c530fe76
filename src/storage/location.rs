//! Locations as people and table metadata write them.

use std::path::PathBuf;

/// A place on disk or in a bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Location {
    /// An absolute path.
    Local(PathBuf),
    /// A bucket and a key in it, as it is stored; empty for the bucket's root.
    S3 {
        /// Bucket name.
        bucket: String,
        /// Key or prefix, without a leading slash.
        key: String,
    },
}

impl Location {
    /// Parses an absolute path, `file:///path`, `file:/path`, `s3://bucket/key` or `s3a://bucket/key`. Nothing is decoded:
    /// tables are full of names with percent signs.
    ///
    /// # Errors
    /// A message that says what was expected.
    pub fn parse(uri: &str) -> Result<Self, String> {
        if let Some((scheme, rest)) = uri.split_once("://") {
            return match scheme.to_ascii_lowercase().as_str() {
                "file" => local(rest.strip_prefix("localhost").unwrap_or(rest), uri),
                "s3" | "s3a" | "s3n" => s3(rest, uri),
                _ => Err(format!("{scheme}:// storage is not supported")),
            };
        }
        local(uri.strip_prefix("file:").unwrap_or(uri), uri)
    }
}

fn local(path: &str, uri: &str) -> Result<Location, String> {
    if path.starts_with('/') {
        return Ok(Location::Local(PathBuf::from(path)));
    }
    Err(format!(
        "expected an absolute path, `file:///path` or `s3://bucket/key`, found `{uri}`"
    ))
}

fn s3(rest: &str, uri: &str) -> Result<Location, String> {
    let (bucket, key) = rest.split_once('/').unwrap_or((rest, ""));
    if bucket.is_empty() {
        return Err(format!("expected `s3://bucket/key`, found `{uri}`"));
    }
    Ok(Location::S3 {
        bucket: bucket.to_owned(),
        key: key.to_owned(),
    })
}
