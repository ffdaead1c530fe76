//! Mutated streams: never a panic out of the guard, never an invalid array through it, memory given back.

use arrow::array::Array;
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use bytes::Bytes;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::{
    CODECS, decode, flight_data, messages, options, resident_bytes, samples, stream_bytes,
};
use crate::error::{Error, ErrorKind, Result};
use crate::server::ipc_guard::{IpcLimits, caught_panics, decode_ipc_stream, quiet_caught_panics};

type Message = (Vec<u8>, Vec<u8>);

const LIMITS: IpcLimits = IpcLimits {
    max_message_bytes: 16 << 20,
    max_header_bytes: 1 << 20,
    max_decoded_bytes: 32 << 20,
    max_fields: 1000,
    max_nesting: 16,
    max_name_bytes: 256,
};

const LIES: [i64; 10] = [
    -1,
    0,
    1,
    7,
    1 << 16,
    i32::MAX as i64,
    1 << 40,
    1 << 60,
    i64::MAX,
    i64::MIN,
];

#[test]
fn ten_thousand_mutated_uploads() {
    mutated_uploads(10_000, 0xF117);
}

#[test]
fn ten_thousand_mutated_inline_streams() {
    mutated_inline(10_000, 0x1417E);
}

/// The long run: `cargo nextest run --run-ignored only -E 'test(a_million_mutated)'`.
#[test]
#[ignore = "takes minutes"]
fn a_million_mutated_streams() {
    for round in 0..50 {
        mutated_uploads(10_000, 1_000 + round);
        mutated_inline(10_000, 2_000 + round);
    }
}

fn mutated_uploads(count: usize, seed: u64) {
    let corpus: Vec<Vec<Message>> = samples::all()
        .iter()
        .flat_map(|sample| {
            CODECS.map(|codec| messages(&sample.schema, &sample.batches, &options(codec)))
        })
        .collect();
    let mut rng = StdRng::seed_from_u64(seed);
    judge(count, seed, || {
        let mut upload = corpus[rng.random_range(0..corpus.len())].clone();
        mutate_upload(&mut rng, &mut upload);
        decode(upload.into_iter().map(flight_data).collect(), LIMITS)
    });
}

fn mutated_inline(count: usize, seed: u64) {
    let corpus: Vec<Vec<u8>> = samples::all()
        .iter()
        .flat_map(|sample| {
            CODECS.map(|codec| stream_bytes(&sample.schema, &sample.batches, &options(codec)))
        })
        .collect();
    let mut rng = StdRng::seed_from_u64(seed);
    judge(count, seed, || {
        let mut bytes = corpus[rng.random_range(0..corpus.len())].clone();
        mutate_bytes(&mut rng, &mut bytes);
        decode_ipc_stream(Bytes::from(bytes), LIMITS)
    });
}

fn judge(
    count: usize,
    seed: u64,
    mut attempt: impl FnMut() -> Result<(SchemaRef, Vec<RecordBatch>)>,
) {
    quiet_caught_panics();
    let panics_before = caught_panics();
    let mut accepted = 0;
    let mut resident = None;
    for case in 0..count {
        match attempt() {
            Ok((_, batches)) => {
                accepted += 1;
                assert_valid(&batches);
            }
            Err(error) => assert_blames_the_sender(&error, case, seed),
        }
        if case == count / 10 {
            resident = resident_bytes();
        }
    }
    let panics = caught_panics() - panics_before;
    println!("seed {seed}: {count} streams, {accepted} still valid, {panics} panics caught");
    assert_eq!(
        panics, 0,
        "the decoder panicked on what the guard let through"
    );
    assert!(
        accepted > 0 && accepted < count / 2,
        "{accepted} of {count} accepted: the mutations are off"
    );
    if let (Some(before), Some(after)) = (resident, resident_bytes()) {
        assert!(
            after < before + (32 << 20),
            "resident memory went from {before} to {after}"
        );
    }
}

fn assert_valid(batches: &[RecordBatch]) {
    for column in batches.iter().flat_map(RecordBatch::columns) {
        column.to_data().validate_full().unwrap();
    }
}

fn assert_blames_the_sender(error: &Error, case: usize, seed: u64) {
    let blamed = matches!(
        error.kind(),
        ErrorKind::InvalidRequest | ErrorKind::ResourceExhausted
    );
    assert!(blamed, "seed {seed} case {case}: {error}");
}

fn mutate_upload(rng: &mut StdRng, upload: &mut Vec<Message>) {
    let at = rng.random_range(0..upload.len());
    let other = rng.random_range(0..upload.len());
    match rng.random_range(0..12) {
        0 => upload.swap(at, other),
        1 => upload.insert(at, upload[other].clone()),
        2 => drop(upload.remove(at)),
        3 => upload[at].1 = upload[other].1.clone(),
        4 | 5 => mutate_bytes(rng, &mut upload[at].1),
        _ => mutate_bytes(rng, &mut upload[at].0),
    }
}

/// Flips 1 to 8 bytes, cuts the end off, or overwrites a number with a lie.
fn mutate_bytes(rng: &mut StdRng, bytes: &mut Vec<u8>) {
    if bytes.is_empty() {
        return bytes.push(rng.random());
    }
    match rng.random_range(0..10) {
        0 => bytes.truncate(rng.random_range(0..bytes.len())),
        1..=3 if bytes.len() >= 8 => {
            let at = rng.random_range(0..=bytes.len() / 8 - 1) * 8;
            let lie = LIES[rng.random_range(0..LIES.len())];
            bytes[at..at + 8].copy_from_slice(&lie.to_le_bytes());
        }
        _ => {
            for _ in 0..rng.random_range(1..=8) {
                let at = rng.random_range(0..bytes.len());
                bytes[at] = if rng.random() {
                    rng.random()
                } else {
                    bytes[at] ^ (1 << rng.random_range(0..8))
                };
            }
        }
    }
}
