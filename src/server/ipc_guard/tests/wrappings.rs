//! Flight's and the stream format's own rules.

use arrow_flight::FlightData;
use bytes::Bytes;
use futures::stream;

use super::samples::primitives;
use super::{decode, descriptor, flight_data, messages, options, stream_bytes};
use crate::error::Error;
use crate::server::ipc_guard::{IpcLimits, decode_flight, decode_ipc_stream};

fn upload() -> Vec<FlightData> {
    let sample = primitives();
    messages(&sample.schema, &sample.batches, &options(None))
        .into_iter()
        .map(flight_data)
        .collect()
}

/// As pyarrow begins a DoExchange: descriptor alone, then the stream, with metadata-only messages in between.
#[tokio::test]
async fn a_descriptor_may_come_alone_and_metadata_too() {
    let metadata = FlightData {
        app_metadata: Bytes::from_static(b"note"),
        ..FlightData::default()
    };
    let mut data = vec![FlightData {
        flight_descriptor: Some(descriptor(b"cmd")),
        ..FlightData::default()
    }];
    for message in upload() {
        data.push(message);
        data.push(metadata.clone());
    }
    data[1].flight_descriptor = Some(descriptor(b"a later one does not count"));

    let mut guarded = decode_flight(stream::iter(data.into_iter().map(Ok)), IpcLimits::default());
    assert_eq!(
        guarded.descriptor().await.unwrap(),
        Some(&descriptor(b"cmd"))
    );
    assert_eq!(guarded.schema().await.unwrap(), primitives().schema);
    assert_eq!(
        guarded.next_batch().await.unwrap().unwrap(),
        primitives().batches[0]
    );
    assert_eq!(
        guarded.next_batch().await.unwrap().unwrap(),
        primitives().batches[2]
    );
    assert!(guarded.next_batch().await.unwrap().is_none());
    assert_eq!(
        guarded.descriptor().await.unwrap(),
        Some(&descriptor(b"cmd"))
    );
}

#[tokio::test]
async fn a_descriptor_may_ride_on_the_schema() {
    let mut data = upload();
    data[0].flight_descriptor = Some(descriptor(b"cmd"));
    let mut guarded = decode_flight(stream::iter(data.into_iter().map(Ok)), IpcLimits::default());
    assert_eq!(
        guarded.descriptor().await.unwrap(),
        Some(&descriptor(b"cmd"))
    );
    assert_eq!(guarded.schema().await.unwrap(), primitives().schema);
}

#[tokio::test]
async fn a_broken_connection_is_an_error_and_then_the_end() {
    let mut messages: Vec<_> = upload().into_iter().map(Ok).collect();
    messages.insert(2, Err(tonic::Status::cancelled("the client hung up")));
    let mut guarded = decode_flight(stream::iter(messages), IpcLimits::default());
    guarded.next_batch().await.unwrap();
    let error = guarded.next_batch().await.unwrap_err();
    assert!(error.to_string().contains("the client hung up"), "{error}");
    assert!(guarded.next_batch().await.is_err());
}

#[tokio::test]
async fn no_messages_means_no_descriptor_and_no_schema() {
    let mut guarded = decode_flight(stream::empty(), IpcLimits::default());
    assert_eq!(guarded.descriptor().await.unwrap(), None);
    assert!(matches!(
        guarded.schema().await,
        Err(Error::Malformed { .. })
    ));
}

/// Large bodies take another road, off the async threads.
#[tokio::test]
async fn a_large_batch_decodes() {
    let column: arrow::array::ArrayRef =
        std::sync::Arc::new(arrow::array::Int64Array::from_iter_values(0..200_000));
    let batch = arrow::array::RecordBatch::try_from_iter([("n", column)]).unwrap();
    let data = messages(
        &batch.schema(),
        std::slice::from_ref(&batch),
        &options(None),
    )
    .into_iter()
    .map(flight_data);
    let mut guarded = decode_flight(stream::iter(data.map(Ok)), IpcLimits::default());
    assert_eq!(guarded.next_batch().await.unwrap().unwrap(), batch);
}

#[test]
fn order_matters() {
    let mut schema_late = upload();
    schema_late.swap(0, 1);
    assert!(matches!(
        decode(schema_late, IpcLimits::default()),
        Err(Error::Malformed { .. })
    ));
    let twice = [upload(), upload()].concat();
    assert!(
        decode(twice, IpcLimits::default())
            .unwrap_err()
            .to_string()
            .contains("second schema")
    );
}

#[test]
fn inline_streams_have_an_end() {
    let sample = primitives();
    let whole = stream_bytes(&sample.schema, &sample.batches, &options(None));
    let inline =
        |bytes: &[u8]| decode_ipc_stream(Bytes::copy_from_slice(bytes), IpcLimits::default());
    assert!(inline(&whole).is_ok());
    for cut in [
        0,
        3,
        8,
        100,
        whole.len() / 2,
        whole.len() - 8,
        whole.len() - 1,
    ] {
        assert!(
            matches!(inline(&whole[..cut]), Err(Error::Malformed { .. })),
            "cut at {cut}"
        );
    }
    let trailing = [&whole[..], b"more"].concat();
    assert!(
        inline(&trailing)
            .unwrap_err()
            .to_string()
            .contains("after the end")
    );
    assert!(
        inline(b"ARROW1\0\0")
            .unwrap_err()
            .to_string()
            .contains("send the stream format")
    );
}
