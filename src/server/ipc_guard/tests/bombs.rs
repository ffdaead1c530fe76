//! Small messages that claim to be enormous: refused before anything is allocated for them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema};
use arrow_ipc::{self as ipc, CompressionType};
use flatbuffers::{FlatBufferBuilder, WIPOffset};

use super::{decode, flight_data, messages, options, resident_bytes};
use crate::error::{Error, Result};
use crate::server::ipc_guard::IpcLimits;
use crate::server::ipc_guard::header::{BatchHeader, Header, Node, Span, parse};
use crate::server::ipc_guard::rewrite::{DictionaryId, message};

type Message = (Vec<u8>, Vec<u8>);

fn limits(decoded: u64) -> IpcLimits {
    IpcLimits {
        max_decoded_bytes: decoded,
        ..IpcLimits::default()
    }
}

/// Decodes, and holds the guard to its promise of little time and little memory.
fn cheaply(upload: Vec<Message>, limits: IpcLimits) -> Result<Vec<RecordBatch>> {
    let data: Vec<_> = upload.into_iter().map(flight_data).collect();
    let (resident, started) = (resident_bytes(), Instant::now());
    let outcome = decode(data, limits);
    assert!(
        started.elapsed() < Duration::from_secs(1),
        "took {:?}",
        started.elapsed()
    );
    if let (Some(before), Some(after)) = (resident, resident_bytes()) {
        assert!(
            after < before + (16 << 20),
            "resident memory went from {before} to {after}"
        );
    }
    outcome.map(|(_, batches)| batches)
}

fn schema_of(types: impl IntoIterator<Item = DataType>) -> Message {
    let fields: Vec<_> = types
        .into_iter()
        .map(|data_type| Field::new("c", data_type, true))
        .collect();
    messages(&Schema::new(fields), &[], &options(None)).remove(0)
}

/// A record batch whose header claims these things.
fn claim(rows: usize, nodes: Vec<Node>, buffers: Vec<Span>, variadic: Vec<usize>) -> Vec<u8> {
    let batch = BatchHeader {
        rows,
        nodes,
        buffers: vec![],
        variadic,
        codec: None,
    };
    message(&batch, &buffers, None)
}

fn is_malformed<T: std::fmt::Debug>(outcome: Result<T>) -> bool {
    matches!(outcome, Err(Error::Malformed { .. }))
}

fn is_over_budget<T: std::fmt::Debug>(outcome: Result<T>) -> bool {
    matches!(outcome, Err(Error::BudgetExceeded { .. }))
}

fn compressed_zeros(count: usize, codec: CompressionType) -> Vec<Message> {
    let column: ArrayRef = Arc::new(Int64Array::from(vec![0; count]));
    let batch = RecordBatch::try_from_iter([("n", column)]).unwrap();
    messages(&batch.schema(), &[batch], &options(Some(codec)))
}

/// Where the length prefix of the values stands: `messages` puts the (empty) validity buffer before it.
fn prefix(upload: &mut [Message]) -> &mut [u8] {
    let body = &mut upload[1].1;
    &mut body[..8]
}

#[test]
fn a_tiny_body_whose_length_prefix_says_a_tebibyte() {
    for codec in [CompressionType::LZ4_FRAME, CompressionType::ZSTD] {
        for claimed in [1_i64 << 40, i64::MAX, -2, i64::MIN] {
            let mut upload = compressed_zeros(1000, codec);
            assert!(upload[1].1.len() <= 128, "{}", upload[1].1.len());
            prefix(&mut upload).copy_from_slice(&claimed.to_le_bytes());
            assert!(
                is_malformed(cheaply(upload, IpcLimits::default())),
                "{codec:?} {claimed}"
            );
        }
    }
}

/// What the bytes could hold at the utmost is within the budget, but is not what they hold.
#[test]
fn a_length_prefix_that_lies_within_reason() {
    for codec in [CompressionType::LZ4_FRAME, CompressionType::ZSTD] {
        for claimed in [8001_i64, 8064, 10_000] {
            let mut upload = compressed_zeros(1000, codec);
            prefix(&mut upload).copy_from_slice(&claimed.to_le_bytes());
            assert!(
                is_malformed(cheaply(upload, IpcLimits::default())),
                "{codec:?} {claimed}"
            );
        }
    }
}

/// `arrow-ipc` would let an lz4 frame grow to any size whatever its prefix says.
#[test]
fn a_frame_longer_than_its_length_prefix() {
    for codec in [CompressionType::LZ4_FRAME, CompressionType::ZSTD] {
        let mut upload = compressed_zeros(4 << 20, codec);
        prefix(&mut upload).copy_from_slice(&8_i64.to_le_bytes());
        upload[1].0 = compressed_zeros(1, codec).remove(1).0;
        let batch = ipc::root_as_message(&upload[1].0)
            .unwrap()
            .header_as_record_batch()
            .unwrap();
        let span = *batch.buffers().unwrap().get(1);
        let whole = i64::try_from(upload[1].1.len()).unwrap();
        let at = upload[1]
            .0
            .windows(16)
            .position(|window| window == span.0)
            .unwrap();
        upload[1].0[at + 8..at + 16].copy_from_slice(&whole.to_le_bytes());
        let body_length = ipc::root_as_message(&upload[1].0)
            .unwrap()
            .bodyLength()
            .to_le_bytes();
        let at = upload[1]
            .0
            .windows(8)
            .position(|window| window == body_length)
            .unwrap();
        upload[1].0[at..at + 8].copy_from_slice(&whole.to_le_bytes());
        assert!(
            is_malformed(cheaply(upload, IpcLimits::default())),
            "{codec:?}"
        );
    }
}

#[test]
fn an_honest_bomb_is_over_budget_before_it_is_inflated() {
    let upload = compressed_zeros(32 << 20, CompressionType::ZSTD);
    let sent = upload[1].1.len();
    assert!((256 << 20) / sent > 20_000, "only {sent} bytes sent");
    assert!(is_over_budget(cheaply(upload, limits(64 << 20))));
}

#[test]
fn rows_that_occupy_nothing_are_charged() {
    let rows = 1 << 60;
    let all_null = Node { rows, nulls: rows };
    let none_null = Node { rows, nulls: 0 };
    let null_column = vec![
        schema_of([DataType::Null]),
        (claim(rows, vec![all_null], vec![], vec![]), vec![]),
    ];
    assert!(is_over_budget(cheaply(null_column, IpcLimits::default())));

    let no_columns = vec![schema_of([]), (claim(rows, vec![], vec![], vec![]), vec![])];
    assert!(is_over_budget(cheaply(no_columns, IpcLimits::default())));

    let empty_span = Span { start: 0, bytes: 0 };
    let empty_struct = schema_of([DataType::Struct(arrow::datatypes::Fields::empty())]);
    let empty_struct = vec![
        empty_struct,
        (
            claim(rows, vec![none_null], vec![empty_span], vec![]),
            vec![],
        ),
    ];
    assert!(is_over_budget(cheaply(empty_struct, IpcLimits::default())));
}

#[test]
fn fixed_sizes_of_nothing_are_refused_by_name() {
    let item = Arc::new(Field::new("item", DataType::Int64, true));
    for data_type in [
        DataType::FixedSizeBinary(0),
        DataType::FixedSizeList(item, 0),
    ] {
        let error = cheaply(vec![schema_of([data_type])], IpcLimits::default()).unwrap_err();
        assert!(matches!(error, Error::Unsupported { .. }));
        assert_eq!(
            error.to_string(),
            "column `c`: a fixed-size type of width 0 in an uploaded frame is not supported"
        );
    }
}

#[test]
fn unions_and_run_ends_are_refused_by_name() {
    let union = DataType::Union(
        [(0, Arc::new(Field::new("a", DataType::Int64, true)))]
            .into_iter()
            .collect(),
        arrow::datatypes::UnionMode::Dense,
    );
    let ends = Arc::new(Field::new("run_ends", DataType::Int32, false));
    let runs = DataType::RunEndEncoded(ends, Arc::new(Field::new("values", DataType::Utf8, true)));
    for (data_type, what) in [(union, "a union"), (runs, "run-end encoding")] {
        let error = cheaply(vec![schema_of([data_type])], IpcLimits::default()).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("column `c`: {what} in an uploaded frame is not supported")
        );
    }
}

#[test]
fn row_counts_that_overflow_are_refused() {
    let rows = usize::MAX >> 1;
    let node = Node { rows, nulls: 0 };
    let span = Span {
        start: 0,
        bytes: 64,
    };
    let item = Arc::new(Field::new("item", DataType::Int64, true));
    let cases = [
        (DataType::Int64, vec![node], vec![span; 2]),
        (DataType::Boolean, vec![node], vec![span; 2]),
        (DataType::Utf8, vec![node], vec![span; 3]),
        (DataType::LargeUtf8, vec![node], vec![span; 3]),
        (
            DataType::FixedSizeBinary(i32::MAX),
            vec![node],
            vec![span; 2],
        ),
        (
            DataType::FixedSizeList(item, i32::MAX),
            vec![node, node],
            vec![span; 3],
        ),
    ];
    for (data_type, nodes, buffers) in cases {
        let upload = vec![
            schema_of([data_type.clone()]),
            (claim(rows, nodes, buffers, vec![]), vec![0; 64]),
        ];
        let error = cheaply(upload, IpcLimits::default()).unwrap_err();
        assert!(matches!(error, Error::Malformed { .. }), "{data_type}");
        assert!(error.to_string().contains("column `c`"), "{error}");
    }
}

#[test]
fn buffers_that_overlap_are_charged_each() {
    let columns = 1000;
    let rows = 128 << 10;
    let nodes = vec![Node { rows, nulls: 0 }; columns];
    let buffers = vec![
        Span {
            start: 0,
            bytes: 8 * rows
        };
        2 * columns
    ];
    let upload = vec![
        schema_of(std::iter::repeat_n(DataType::Int64, columns)),
        (claim(rows, nodes, buffers, vec![]), vec![0; 8 * rows]),
    ];
    assert!(is_over_budget(cheaply(upload, limits(1 << 30))));
}

#[test]
fn a_view_column_that_claims_countless_data_buffers() {
    let span = Span {
        start: 0,
        bytes: 16,
    };
    let node = Node { rows: 1, nulls: 0 };
    for count in [2, 1 << 60] {
        let header = claim(1, vec![node], vec![span; 3], vec![count]);
        assert!(is_malformed(cheaply(
            vec![schema_of([DataType::Utf8View]), (header, vec![0; 16])],
            IpcLimits::default()
        )));
    }
}

#[test]
fn dictionaries_that_grow_by_deltas_are_charged_for_every_copy() {
    let data_type = DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8));
    let mut upload = vec![schema_of([data_type])];
    let values: ArrayRef = Arc::new(StringArray::from_iter_values([&*"x".repeat(1000)]));
    let batch = RecordBatch::try_from_iter([("v", values)]).unwrap();
    let (header, body) = messages(&batch.schema(), &[batch], &options(None)).remove(1);
    let Ok(Header::Batch(batch)) = parse(&header, body.len(), &IpcLimits::default()) else {
        panic!("no batch")
    };
    for i in 0..2000 {
        let id = DictionaryId {
            id: 0,
            is_delta: i > 0,
        };
        upload.push((message(&batch, &batch.buffers, Some(id)), body.clone()));
    }
    assert!(cheaply(upload[..100].to_vec(), limits(16 << 20)).is_ok());
    assert!(is_over_budget(cheaply(upload, limits(16 << 20))));
}

#[test]
fn schemas_have_limits() {
    let nested = |levels: usize| {
        let nest = |inner, _| DataType::List(Arc::new(Field::new("item", inner, true)));
        (1..levels).fold(DataType::Int64, nest)
    };
    let limits = IpcLimits {
        max_nesting: 5,
        max_fields: 7,
        max_name_bytes: 4,
        ..IpcLimits::default()
    };
    assert!(cheaply(vec![schema_of([nested(5)])], limits).is_ok());
    assert!(is_malformed(cheaply(vec![schema_of([nested(6)])], limits)));
    assert!(cheaply(vec![schema_of(vec![DataType::Int8; 7])], limits).is_ok());
    assert!(is_malformed(cheaply(
        vec![schema_of(vec![DataType::Int8; 8])],
        limits
    )));
    let name = |length| {
        let schema = Schema::new(vec![Field::new("n".repeat(length), DataType::Int8, true)]);
        messages(&schema, &[], &options(None))
    };
    assert!(cheaply(name(4), limits).is_ok());
    assert!(is_malformed(cheaply(name(5), limits)));
}

#[test]
fn messages_have_a_limit() {
    let upload = compressed_zeros(1000, CompressionType::ZSTD);
    let sent = (upload[1].0.len() + upload[1].1.len()) as u64;
    let limit = |bytes| IpcLimits {
        max_message_bytes: bytes,
        ..IpcLimits::default()
    };
    assert!(cheaply(upload.clone(), limit(sent)).is_ok());
    assert!(is_over_budget(cheaply(upload, limit(sent - 1))));
}

/// A schema written by hand: `nest` is given the innermost field and returns the outermost.
fn forged(
    nest: impl FnOnce(
        &mut FlatBufferBuilder<'static>,
        WIPOffset<ipc::Field<'static>>,
    ) -> WIPOffset<ipc::Field<'static>>,
) -> Message {
    let mut builder = FlatBufferBuilder::new();
    let type_ = ipc::Struct_::create(&mut builder, &ipc::Struct_Args {}).as_union_value();
    let leaf = ipc::FieldArgs {
        type_type: ipc::Type::Struct_,
        type_: Some(type_),
        ..ipc::FieldArgs::default()
    };
    let leaf = ipc::Field::create(&mut builder, &leaf);
    let outermost = nest(&mut builder, leaf);
    let fields = Some(builder.create_vector(&[outermost]));
    let schema = ipc::Schema::create(
        &mut builder,
        &ipc::SchemaArgs {
            fields,
            ..ipc::SchemaArgs::default()
        },
    );
    let message = ipc::MessageArgs {
        version: ipc::MetadataVersion::V5,
        header_type: ipc::MessageHeader::Schema,
        header: Some(schema.as_union_value()),
        ..ipc::MessageArgs::default()
    };
    let message = ipc::Message::create(&mut builder, &message);
    builder.finish(message, None);
    (builder.finished_data().to_vec(), vec![])
}

fn parent(
    builder: &mut FlatBufferBuilder<'static>,
    children: &[WIPOffset<ipc::Field<'static>>],
) -> WIPOffset<ipc::Field<'static>> {
    let type_ = Some(ipc::Struct_::create(builder, &ipc::Struct_Args {}).as_union_value());
    let children = Some(builder.create_vector(children));
    let args = ipc::FieldArgs {
        type_type: ipc::Type::Struct_,
        type_,
        children,
        ..ipc::FieldArgs::default()
    };
    ipc::Field::create(builder, &args)
}

#[test]
fn ten_thousand_levels_of_nesting() {
    let deep = forged(|builder, leaf| (0..10_000).fold(leaf, |inner, _| parent(builder, &[inner])));
    assert!(is_malformed(cheaply(vec![deep], IpcLimits::default())));
}

/// Each level names the level below twice: 30 small tables that unfold to a billion fields.
#[test]
fn a_schema_that_unfolds() {
    let unfolding =
        forged(|builder, leaf| (0..30).fold(leaf, |inner, _| parent(builder, &[inner, inner])));
    assert!(unfolding.0.len() < 4096);
    assert!(is_malformed(cheaply(vec![unfolding], IpcLimits::default())));
}
