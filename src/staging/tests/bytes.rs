//! Budget and memory.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::{ArrayRef, Int64Array, RecordBatch};
use bytesize::ByteSize;
use futures::{StreamExt, stream};

use super::{Place, TTL, alice, numbers, put, put_numbers};
use crate::clock::sleep;
use crate::error::{Error, ErrorKind};

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
            place.staging.store.ids().await.unwrap().is_empty(),
            "half-written uploads are not visible"
        );
        uploading.abort();
        assert!(uploading.await.unwrap_err().is_cancelled());
        assert!(place.becomes_empty().await);
        assert_eq!(place.staging.budget.used_bytes(), 0);
    }
}

/// As pyarrow sends it: one batch. Beside it, a directory needs the encoded bytes, memory nothing.
#[tokio::test]
async fn a_batch_of_200_mb() {
    const BYTES: u64 = 200_000_000;
    let large = || {
        let column: ArrayRef = Arc::new(Int64Array::from(vec![7; BYTES as usize / 8]));
        RecordBatch::try_from_iter([("n", column)]).unwrap()
    };
    for place in [
        Place::directory(ByteSize::gib(1)),
        Place::memory(ByteSize::gib(1)),
    ] {
        let before = memory("VmRSS:");
        let batches = stream::once(async { Ok(large()) }).boxed();
        let upload = place
            .staging
            .put(&alice(), numbers(0).schema(), batches)
            .await
            .unwrap();
        if let (Some(before), Some(peak)) = (before, memory("VmHWM:")) {
            assert!(
                peak - before < BYTES * 9 / 4,
                "peak memory rose by {} bytes",
                peak - before
            );
        }
        let frame = place.staging.open(&alice(), &upload.id).await.unwrap();
        assert_eq!(frame.batches, [large()]);
    }
}

/// Memory of this process, where it is ours alone to judge: one process per test.
fn memory(which: &str) -> Option<u64> {
    std::env::var_os("NEXTEST")?;
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(which))?;
    line.trim()
        .strip_suffix(" kB")?
        .parse::<u64>()
        .ok()
        .map(|kib| kib * 1024)
}
