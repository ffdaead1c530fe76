//! What comes back, to whom, and from what damage.

use std::path::PathBuf;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema};
use bytesize::ByteSize;

use super::{Place, TTL, alice, put, put_numbers, reason};
use crate::error::ErrorKind;
use crate::model::{Principal, UploadId};
use crate::server::ipc_guard::tests::samples;
use crate::staging::id::WellFormed;
use crate::staging::object::PREAMBLE_BYTES;

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
async fn torn_and_damaged_uploads_are_errors() {
    let place = Place::directory(ByteSize::mib(1));
    let upload = put_numbers(&place.staging, 100).await.unwrap();
    let file = file(&place, &WellFormed::parse(&upload.id.0).unwrap());
    let whole = std::fs::read(&file).unwrap();
    let mut damaged: Vec<_> = (0..whole.len())
        .map(|length| whole[..length].to_vec())
        .collect();
    damaged.push([&whole[..], b"x"].concat());
    damaged.push([b"x", &whole[..]].concat());
    for at in PREAMBLE_BYTES..whole.len() {
        let mut flipped = whole.to_vec();
        flipped[at] ^= 1 << (at % 8);
        damaged.push(flipped);
    }
    for bytes in damaged {
        std::fs::write(&file, bytes).unwrap();
        let error = place.staging.open(&alice(), &upload.id).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Internal, "{error}");
        assert!(
            error
                .to_string()
                .starts_with(&format!("reading upload `{}`", upload.id)),
            "{error}"
        );
    }
    std::fs::write(&file, whole).unwrap();
    assert!(place.staging.open(&alice(), &upload.id).await.is_ok());
}

/// An object under another's name is not what its end says.
#[tokio::test]
async fn an_upload_cannot_be_given_a_longer_life() {
    let place = Place::directory(ByteSize::mib(1));
    let upload = put_numbers(&place.staging, 100).await.unwrap();
    let longer = WellFormed::random(upload.expires_at + TTL).unwrap();
    let shorter = WellFormed::parse(&upload.id.0).unwrap();
    std::fs::rename(file(&place, &shorter), file(&place, &longer)).unwrap();
    assert!(
        place
            .staging
            .open(&alice(), &longer.upload_id())
            .await
            .is_err()
    );
}

/// Where an upload's object lies.
fn file(place: &Place, id: &WellFormed) -> PathBuf {
    let directory = place.directory.as_ref().unwrap().path();
    directory.join(id.path().as_ref())
}
