//! Messages on the wire: sizes, schemas, and errors in mid-stream.

use std::sync::Arc;

use arrow::array::{DictionaryArray, Int64Array, StringArray, StringViewArray};
use arrow::datatypes::{Field, Int8Type, Schema};
use arrow_flight::decode::FlightRecordBatchStream;
use rstest::rstest;

use super::*;

fn batch(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
    RecordBatch::try_from_iter(columns).unwrap()
}

async fn messages(batch: &RecordBatch) -> Vec<FlightData> {
    encoded(&Encoding::default(), batch).await
}

async fn encoded(encoding: &Encoding, batch: &RecordBatch) -> Vec<FlightData> {
    flight_data(
        encoding,
        batch.schema(),
        stream::iter([Ok::<_, Error>(batch.clone())]),
    )
    .try_collect()
    .await
    .unwrap()
}

async fn decoded(messages: Vec<FlightData>) -> (SchemaRef, Vec<RecordBatch>) {
    let mut stream =
        FlightRecordBatchStream::new_from_flight_data(stream::iter(messages.into_iter().map(Ok)));
    let mut batches = Vec::new();
    while let Some(batch) = stream.try_next().await.unwrap() {
        batches.push(batch);
    }
    (Arc::clone(stream.schema().unwrap()), batches)
}

#[tokio::test]
async fn no_batches_still_send_the_schema() {
    let schema = Arc::new(Schema::new(vec![Field::new("a", DataType::Int64, true)]));
    let sent: Vec<FlightData> = flight_data(
        &Encoding::default(),
        Arc::clone(&schema),
        stream::empty::<Result<RecordBatch>>(),
    )
    .try_collect()
    .await
    .unwrap();
    assert_eq!(sent.len(), 1);
    assert_eq!(decoded(sent).await, (schema, vec![]));
}

#[tokio::test]
async fn the_announced_schema_is_the_one_sent() {
    let dictionary: DictionaryArray<Int8Type> = ["x", "y", "x"].into_iter().collect();
    let batch = batch(vec![
        ("d", Arc::new(dictionary)),
        ("i", Arc::new(Int64Array::from(vec![1, 2, 3]))),
    ]);
    let (schema, _) = decoded(messages(&batch).await).await;
    assert_eq!(schema, schema_on_wire(batch.schema()));
    assert_eq!(schema.field(0).data_type(), &DataType::Utf8);
}

#[tokio::test]
async fn a_small_slice_of_something_large_is_one_small_message() {
    let large = batch(vec![(
        "i",
        Arc::new(Int64Array::from_iter_values(0..1_000_000)),
    )]);
    let sent = messages(&large.slice(500_000, 100)).await;
    assert_eq!(sent.len(), 2, "the schema and one batch");
    assert!(
        sent[1].data_body.len() < 2_000,
        "{}",
        sent[1].data_body.len()
    );
}

#[tokio::test]
async fn a_large_batch_leaves_in_messages_of_about_two_mebibytes_in_order() {
    let text = Arc::new(StringArray::from_iter_values(
        (0..200_000).map(|i| format!("value number {i:>40}")),
    ));
    let large = batch(vec![
        ("i", Arc::new(Int64Array::from_iter_values(0..200_000))),
        ("s", text),
    ]);
    let sent = messages(&large).await;
    assert!(sent.len() > 5);
    assert!(
        sent.iter()
            .all(|message| message.data_body.len() < 2_300_000)
    );
    let (schema, batches) = decoded(sent).await;
    assert_eq!(
        arrow::compute::concat_batches(&schema, &batches).unwrap(),
        large
    );
}

#[tokio::test]
async fn views_leave_only_what_their_rows_hold() {
    let text = StringViewArray::from_iter_values(
        (0..100_000).map(|i| format!("a long enough value {i:>40}")),
    );
    let large = batch(vec![("s", Arc::new(text))]);
    let sent = messages(&large).await;
    let total: usize = sent.iter().map(|message| message.data_body.len()).sum();
    assert!(total < 10_000_000, "{total}");
    let (schema, batches) = decoded(sent).await;
    assert_eq!(
        arrow::compute::concat_batches(&schema, &batches).unwrap(),
        large
    );
}

#[rstest]
#[case("lz4")]
#[case("zstd")]
#[tokio::test]
async fn compressed_bodies_are_smaller_and_hold_the_same(#[case] codec: &'static str) {
    let mut headers = tonic::metadata::MetadataMap::new();
    headers.insert("x-murre-compression", codec.parse().unwrap());
    let encoding = Encoding::asked_by(&headers).unwrap();
    let large = batch(vec![(
        "i",
        Arc::new(Int64Array::from_iter_values((0..100_000).map(|i| i % 7))),
    )]);
    let sent = encoded(&encoding, &large).await;
    let channeled: Vec<FlightData> =
        channel(&encoding, large.schema(), stream::iter([Ok(large.clone())]))
            .try_collect()
            .await
            .unwrap();
    for messages in [sent, channeled] {
        let total: usize = messages.iter().map(|message| message.data_body.len()).sum();
        assert!(total < 100_000, "{total} of 800,000 bytes");
        let (schema, batches) = decoded(messages).await;
        let rows = arrow::compute::concat_batches(&schema, &batches).unwrap();
        assert_eq!(rows, large);
    }
}

#[tokio::test]
async fn an_error_of_ours_stays_itself() {
    let schema = Arc::new(Schema::empty());
    let failing = stream::iter([Err::<RecordBatch, _>(Error::invalid("field", "wrong"))]);
    let sent: Vec<Result<FlightData>> = flight_data(&Encoding::default(), schema, failing)
        .collect()
        .await;
    assert_eq!(sent.len(), 2);
    assert_eq!(sent[1].as_ref().unwrap_err().to_string(), "field: wrong");
}
