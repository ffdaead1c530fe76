//! Round trips, ownership, expiry, budget, damage; over memory and over a directory.

use std::path::Path as FilePath;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arrow::array::{ArrayRef, Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use bytesize::ByteSize;
use futures::{StreamExt, TryStreamExt, stream};
use object_store::ObjectStoreExt;
use object_store::path::Path;
use tempfile::TempDir;

use super::id::WellFormed;
use super::{StagedUpload, Staging, StagingConfig};
use crate::clock::{ManualClock, SystemClock, sleep};
use crate::error::{Error, ErrorKind, Result};
use crate::model::{Principal, UploadId};
use crate::server::ipc_guard::tests::samples;

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
                let objects: Vec<_> = self
                    .staging
                    .store
                    .objects
                    .list(None)
                    .try_collect()
                    .await
                    .unwrap();
                objects
                    .into_iter()
                    .map(|object| object.location.to_string())
                    .collect()
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
    let batches = stream::iter(batches.to_vec().into_iter().map(Ok));
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

#[tokio::test]
async fn everything_comes_back_as_it_was() {
    for place in Place::both(ByteSize::mib(64)) {
        for sample in samples::all() {
            let upload = put(&place.staging, &sample.schema, &sample.batches)
                .await
                .unwrap();
            let frame = place.staging.open(&alice(), &upload.id).await.unwrap();
            assert_eq!(frame.schema, sample.schema, "{}", sample.name);
            assert_eq!(frame.batches, sample.non_empty(), "{}", sample.name);
            assert_eq!(frame.rows, upload.rows);
            assert_eq!(
                frame.rows,
                sample
                    .batches
                    .iter()
                    .map(|batch| batch.num_rows() as u64)
                    .sum::<u64>()
            );
            let description = place.staging.describe(&alice(), &upload.id).await.unwrap();
            assert_eq!(
                (description.upload, description.schema),
                (upload, sample.schema)
            );
        }
    }
}

#[tokio::test]
async fn a_frame_without_rows_keeps_its_schema() {
    let schema = Arc::new(Schema::new(vec![Field::new("n", DataType::Int64, false)]));
    for place in Place::both(ByteSize::mib(1)) {
        let upload = put(&place.staging, &schema, &[]).await.unwrap();
        let frame = place.staging.open(&alice(), &upload.id).await.unwrap();
        assert_eq!(
            (frame.schema, frame.batches, frame.rows),
            (Arc::clone(&schema), vec![], 0)
        );
    }
}

#[tokio::test]
async fn batches_in_memory_share_the_stored_bytes() {
    let place = Place::memory(ByteSize::mib(1));
    let upload = put_numbers(&place.staging, 1000).await.unwrap();
    let mut addresses = Vec::new();
    for _ in 0..2 {
        let frame = place.staging.open(&alice(), &upload.id).await.unwrap();
        addresses.push(frame.batches[0].column(0).to_data().buffers()[0].as_ptr());
    }
    assert_eq!(addresses[0], addresses[1]);
    assert_eq!(addresses[0].align_offset(16), 0);
}

#[tokio::test]
async fn anothers_upload_looks_unknown() {
    for place in Place::both(ByteSize::mib(1)) {
        let upload = put_numbers(&place.staging, 10).await.unwrap();
        let unknown = WellFormed::random(upload.expires_at).unwrap().upload_id();
        let tricks = [
            "",
            "../secret",
            "/etc/passwd",
            &format!("{}#1", upload.id),
            &upload.id.0.to_uppercase(),
        ]
        .map(|id| UploadId(id.to_owned()));
        let mallory = Principal("mallory".to_owned());
        let mut reasons = vec![
            reason(place.staging.open(&mallory, &upload.id).await.unwrap_err()),
            reason(
                place
                    .staging
                    .describe(&mallory, &upload.id)
                    .await
                    .unwrap_err(),
            ),
            reason(place.staging.open(&alice(), &unknown).await.unwrap_err()),
        ];
        for id in tricks {
            reasons.push(reason(place.staging.open(&alice(), &id).await.unwrap_err()));
        }
        assert!(
            reasons.iter().all(|reason| reason == "no such upload"),
            "{reasons:?}"
        );
        assert_eq!(
            place.staging.open(&alice(), &upload.id).await.unwrap().rows,
            10
        );
    }
}

#[tokio::test]
async fn nothing_is_kept_after_expiry() {
    for place in Place::both(ByteSize::mib(1)) {
        let upload = put_numbers(&place.staging, 10).await.unwrap();
        assert_eq!(upload.expires_at.to_rfc3339(), "2027-01-15T08:10:00+00:00");
        place.clock.advance(TTL - Duration::from_millis(1));
        assert_eq!(place.staging.sweep().await.unwrap(), 0);
        assert!(place.staging.open(&alice(), &upload.id).await.is_ok());
        place.clock.advance(Duration::from_millis(1));
        let expired = reason(place.staging.open(&alice(), &upload.id).await.unwrap_err());
        assert_eq!(expired, "expired at 2027-01-15T08:10:00.000Z");
        assert!(
            place.names().await.is_empty(),
            "opening an expired upload deletes it"
        );
        let again = place
            .staging
            .describe(&alice(), &upload.id)
            .await
            .unwrap_err();
        assert_eq!(again.kind(), ErrorKind::NotFound);
        assert_eq!(reason(again), expired, "the reason outlives the upload");
    }
}

#[tokio::test]
async fn a_sweep_deletes_what_expired_and_gives_its_bytes_back() {
    for place in Place::both(ByteSize::mib(1)) {
        put_numbers(&place.staging, 1000).await.unwrap();
        put_numbers(&place.staging, 1000).await.unwrap();
        let used = place.staging.budget.used_bytes();
        assert!((16_000..24_000).contains(&used), "{used}");
        place.clock.advance(TTL / 2);
        let late = put_numbers(&place.staging, 1000).await.unwrap();
        place.clock.advance(TTL / 2);
        assert_eq!(place.staging.sweep().await.unwrap(), 2);
        assert_eq!(place.names().await, [format!("{}.upload", late.id)]);
        assert_eq!(place.staging.budget.used_bytes(), used / 2);
    }
}

#[tokio::test]
async fn an_upload_slower_than_its_life_is_not_kept() {
    for place in Place::both(ByteSize::mib(1)) {
        let clock = Arc::clone(&place.clock);
        let batches = stream::iter([Ok(numbers(10))]).inspect(|_| clock.advance(TTL));
        let error = place
            .staging
            .put(&alice(), numbers(0).schema(), batches)
            .await
            .unwrap_err();
        assert!(reason(error).starts_with("expired at"));
        assert!(place.becomes_empty().await);
        assert_eq!(place.staging.budget.used_bytes(), 0);
    }
}

#[tokio::test]
async fn the_background_sweeps_too() {
    let config = StagingConfig {
        ttl: Duration::from_millis(40),
        ..StagingConfig::default()
    };
    let staging = Arc::new(Staging::try_new(&config, Arc::new(SystemClock)).unwrap());
    let place = Place {
        staging: Arc::clone(&staging),
        clock: Place::memory(ByteSize::b(1)).clock,
        directory: None,
    };
    let _sweeper = staging.sweep_in_background();
    put_numbers(&staging, 10).await.unwrap();
    assert!(place.becomes_empty().await);
}

#[tokio::test]
async fn the_budget_covers_what_is_kept_and_what_arrives() {
    for place in Place::both(ByteSize::kib(100)) {
        put_numbers(&place.staging, 5000).await.unwrap();
        let used = place.staging.budget.used_bytes();
        let batches = [numbers(3000), numbers(3000), numbers(3000)];
        let error = put(&place.staging, &numbers(0).schema(), &batches)
            .await
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ResourceExhausted);
        let Error::BudgetExceeded {
            needed_bytes,
            limit_bytes: 102_400,
            ..
        } = error
        else {
            panic!("{error}")
        };
        assert!(needed_bytes > 5000 * 8 + 9000 * 8, "{needed_bytes}");
        assert_eq!(
            place.staging.budget.used_bytes(),
            used,
            "the refused upload is given back"
        );
        assert!(put_numbers(&place.staging, 3000).await.is_ok());
        place.clock.advance(TTL);
        assert!(
            put_numbers(&place.staging, 9000).await.is_ok(),
            "a put sweeps first"
        );
    }
}

#[tokio::test]
async fn a_failed_upload_leaves_nothing() {
    for place in Place::both(ByteSize::mib(64)) {
        let broken = stream::iter([
            Ok(numbers(2 << 20)),
            Err(Error::invalid("upload", "broke off")),
        ]);
        let error = place
            .staging
            .put(&alice(), numbers(0).schema(), broken)
            .await
            .unwrap_err();
        assert_eq!(error.to_string(), "upload: broke off");
        assert!(place.becomes_empty().await);
        assert_eq!(place.staging.budget.used_bytes(), 0);
    }
}

#[tokio::test]
async fn a_dropped_upload_leaves_nothing() {
    for place in Place::both(ByteSize::mib(64)) {
        let staging = Arc::clone(&place.staging);
        let stalled = stream::iter([Ok(numbers(2 << 20))]).chain(stream::pending());
        let uploading =
            tokio::spawn(async move { staging.put(&alice(), numbers(0).schema(), stalled).await });
        while place.staging.budget.used_bytes() < 16 << 20 {
            sleep(Duration::from_millis(1)).await;
        }
        assert!(
            place
                .staging
                .store
                .objects
                .list(None)
                .next()
                .await
                .is_none(),
            "half-written uploads are not visible"
        );
        uploading.abort();
        assert!(uploading.await.unwrap_err().is_cancelled());
        assert!(place.becomes_empty().await);
        assert_eq!(place.staging.budget.used_bytes(), 0);
    }
}

#[tokio::test]
async fn another_server_serves_and_sweeps_the_same_directory() {
    let place = Place::directory(ByteSize::mib(1));
    let upload = put_numbers(&place.staging, 10).await.unwrap();
    let replica = place.replica();
    let frame = replica.open(&alice(), &upload.id).await.unwrap();
    assert_eq!(frame.batches, [numbers(10)]);
    assert_eq!(frame.expires_at, upload.expires_at);
    assert!(
        replica
            .open(&Principal::anonymous(), &upload.id)
            .await
            .is_err()
    );
    place.clock.advance(TTL);
    assert_eq!(replica.sweep().await.unwrap(), 1);
    assert!(place.names().await.is_empty());
}

/// A server that dies leaves its unfinished file; another's files are none of ours.
#[tokio::test]
async fn leftovers_are_swept_and_strangers_are_not() {
    let place = Place::directory(ByteSize::mib(1));
    let directory = place.directory.as_ref().unwrap().path();
    let now = place.staging.now();
    let touch = |name: String| std::fs::write(directory.join(name), b"x").unwrap();
    let expired = WellFormed::random(now).unwrap();
    let alive = WellFormed::random(now + Duration::from_secs(1)).unwrap();
    touch(format!("{}#1", expired.path()));
    touch(format!("{}#1", alive.path()));
    touch("readme.txt#1".to_owned());
    touch("readme.txt".to_owned());
    place.staging.sweep().await.unwrap();
    let mut expected = [
        format!("{}#1", alive.path()),
        "readme.txt".to_owned(),
        "readme.txt#1".to_owned(),
    ];
    let mut found = place.names().await;
    expected.sort();
    found.sort();
    assert_eq!(found, expected);
}

#[tokio::test]
async fn torn_and_damaged_uploads_are_errors() {
    let place = Place::memory(ByteSize::mib(1));
    let upload = put_numbers(&place.staging, 100).await.unwrap();
    let path = WellFormed::parse(&upload.id.0).unwrap().path();
    let whole = place
        .staging
        .store
        .objects
        .get(&path)
        .await
        .unwrap()
        .bytes()
        .await
        .unwrap();
    let mut damaged: Vec<_> = (0..whole.len())
        .map(|length| whole[..length].to_vec())
        .collect();
    damaged.push([&whole[..], b"x"].concat());
    damaged.push([b"x", &whole[..]].concat());
    for at in super::object::PREAMBLE_BYTES..whole.len() {
        let mut flipped = whole.to_vec();
        flipped[at] ^= 1 << (at % 8);
        damaged.push(flipped);
    }
    for bytes in damaged {
        overwrite(&place, &path, bytes).await;
        let error = place.staging.open(&alice(), &upload.id).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Internal, "{error}");
        assert!(
            error
                .to_string()
                .starts_with(&format!("reading upload `{}`", upload.id)),
            "{error}"
        );
    }
    overwrite(&place, &path, whole.to_vec()).await;
    assert!(place.staging.open(&alice(), &upload.id).await.is_ok());
}

/// An object under another's name is not what its end says.
#[tokio::test]
async fn an_upload_cannot_be_given_a_longer_life() {
    let place = Place::directory(ByteSize::mib(1));
    let upload = put_numbers(&place.staging, 100).await.unwrap();
    let directory = place.directory.as_ref().unwrap().path();
    let longer = WellFormed::random(upload.expires_at + TTL).unwrap();
    let file = |name: &Path| FilePath::new(directory).join(name.as_ref());
    std::fs::rename(
        file(&WellFormed::parse(&upload.id.0).unwrap().path()),
        file(&longer.path()),
    )
    .unwrap();
    assert!(
        place
            .staging
            .open(&alice(), &longer.upload_id())
            .await
            .is_err()
    );
}

async fn overwrite(place: &Place, path: &Path, bytes: Vec<u8>) {
    place
        .staging
        .store
        .objects
        .put(path, bytes.into())
        .await
        .unwrap();
}

/// As pyarrow sends it: one batch. Memory is the batch and the object being put together, not more.
#[tokio::test]
async fn a_batch_of_200_mb() {
    const BYTES: u64 = 200_000_000;
    for place in Place::both(ByteSize::gib(1)) {
        let schema = numbers(0).schema();
        let base = peak_memory();
        let batches = stream::once(async { Ok(numbers(BYTES as usize / 8)) }).boxed();
        let upload = place.staging.put(&alice(), schema, batches).await.unwrap();
        if let (Some(before), Some(after)) = (base, peak_memory()) {
            assert!(
                after - before < BYTES * 5 / 2,
                "peak memory rose by {} bytes",
                after - before
            );
        }
        let frame = place.staging.open(&alice(), &upload.id).await.unwrap();
        assert_eq!(frame.rows, BYTES / 8);
        let column = frame.batches[0].column(0).to_data();
        assert_eq!(
            column.buffers()[0].typed_data::<i64>()[25_000_000 - 1],
            25_000_000 - 1
        );
    }
}

/// Of this process so far, where it is ours alone to judge: one process per test.
fn peak_memory() -> Option<u64> {
    std::env::var_os("NEXTEST")?;
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim()
        .strip_suffix(" kB")?
        .parse::<u64>()
        .ok()
        .map(|kib| kib * 1024)
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
