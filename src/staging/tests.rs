//! Uploads in memory and in a directory, under a clock that stands still.

mod bytes;
mod expiry;
mod named;
mod serving;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arrow::array::{ArrayRef, Int64Array, RecordBatch};
use arrow::datatypes::SchemaRef;
use bytesize::ByteSize;
use futures::stream;
use tempfile::TempDir;

use super::{StagedUpload, Staging, StagingConfig};
use crate::clock::{ManualClock, SystemClock, sleep};
use crate::error::{Error, Result};
use crate::model::Principal;

const TTL: Duration = Duration::from_secs(600);

struct Place {
    staging: Arc<Staging>,
    clock: Arc<ManualClock>,
    /// None: in memory.
    directory: Option<TempDir>,
}

impl Place {
    fn new(url: &str, budget: ByteSize, directory: Option<TempDir>) -> Self {
        let clock = Arc::new(ManualClock::new(
            SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000),
        ));
        let config = StagingConfig {
            url: url.to_owned(),
            budget,
            ttl: TTL,
        };
        let staging = Arc::new(Staging::try_new(&config, Arc::clone(&clock) as _).unwrap());
        Self {
            staging,
            clock,
            directory,
        }
    }

    fn memory(budget: ByteSize) -> Self {
        Self::new("memory://", budget, None)
    }

    fn directory(budget: ByteSize) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let url = format!("file://{}", directory.path().display());
        Self::new(&url, budget, Some(directory))
    }

    fn both(budget: ByteSize) -> [Self; 2] {
        [Self::memory(budget), Self::directory(budget)]
    }

    /// Another server over the same directory and clock.
    fn replica(&self) -> Staging {
        let url = format!(
            "file://{}",
            self.directory.as_ref().unwrap().path().display()
        );
        Staging::try_new(
            &StagingConfig {
                url,
                ttl: TTL,
                ..StagingConfig::default()
            },
            Arc::clone(&self.clock) as _,
        )
        .unwrap()
    }

    /// Everything that is there, half-written files too.
    async fn names(&self) -> Vec<String> {
        match &self.directory {
            Some(directory) => {
                let entries = std::fs::read_dir(directory.path()).unwrap();
                entries
                    .map(|entry| entry.unwrap().file_name().into_string().unwrap())
                    .collect()
            }
            None => {
                let ids = self.staging.store.ids().await.unwrap();
                ids.iter().map(|id| id.path().to_string()).collect()
            }
        }
    }

    /// Files of dropped uploads are deleted in the background.
    async fn becomes_empty(&self) -> bool {
        for _ in 0..500 {
            if self.names().await.is_empty() {
                return true;
            }
            sleep(Duration::from_millis(10)).await;
        }
        false
    }
}

fn alice() -> Principal {
    Principal("alice".to_owned())
}

fn numbers(rows: usize) -> RecordBatch {
    let column: ArrayRef = Arc::new(Int64Array::from_iter_values(0..rows as i64));
    RecordBatch::try_from_iter([("n", column)]).unwrap()
}

async fn put(
    staging: &Staging,
    schema: &SchemaRef,
    batches: &[RecordBatch],
) -> Result<StagedUpload> {
    let batches = stream::iter(batches.iter().cloned().map(Ok));
    staging.put(&alice(), Arc::clone(schema), batches).await
}

async fn put_numbers(staging: &Staging, rows: usize) -> Result<StagedUpload> {
    put(staging, &numbers(0).schema(), &[numbers(rows)]).await
}

fn reason(error: Error) -> String {
    match error {
        Error::UploadNotFound { reason, .. } => reason,
        other => panic!("{other}"),
    }
}

#[test]
fn urls_are_checked_at_once() {
    let open = |url: &str| {
        let config = StagingConfig {
            url: url.to_owned(),
            ..StagingConfig::default()
        };
        Staging::try_new(&config, Arc::new(SystemClock))
    };
    for url in [
        "",
        "memory",
        "s3://bucket",
        "file://relative",
        "file:/one",
        "/plain",
    ] {
        let error = open(url).unwrap_err();
        assert!(matches!(error, Error::InvalidConfig { .. }), "{url}");
        assert!(
            error
                .to_string()
                .contains("staging.url: expected `memory://` or `file:///directory`"),
            "{error}"
        );
    }
    let parent = tempfile::tempdir().unwrap();
    let fresh = parent.path().join("not/yet/there");
    assert!(open(&format!("file://{}", fresh.display())).is_ok());
    assert!(fresh.is_dir());
    std::fs::write(parent.path().join("file"), b"").unwrap();
    assert!(matches!(
        open(&format!("file://{}/file", parent.path().display())),
        Err(Error::InvalidConfig { .. })
    ));
}

#[test]
fn the_section_has_defaults_and_units() {
    assert_eq!(
        toml::from_str::<StagingConfig>("").unwrap(),
        StagingConfig::default()
    );
    let config: StagingConfig =
        toml::from_str("url = 'file:///tmp/x'\nbudget = '2GiB'\nttl = '90s'").unwrap();
    let expected = StagingConfig {
        url: "file:///tmp/x".to_owned(),
        budget: ByteSize::gib(2),
        ttl: Duration::from_secs(90),
    };
    assert_eq!(config, expected);
}
