//! Requests on the wire: golden texts and bytes, refusals, and arbitrary bytes.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use proptest::prelude::*;
use rstest::rstest;

use super::*;
use crate::error::ErrorKind;
use crate::model::{
    EntitySource, FeatureRef, FeatureSelection, FlightPart, HistoricalRequest, Pins, SnapshotId,
    TableName, TablePin, TimeRange, UploadId,
};

const UPLOADED: &str = r#"{"historical": {"features": ["driver_stats:conv_rate", "customer_profile:age"], "full_feature_names": false, "entity": {"upload": "ID"}}}"#;
const UPLOADED_BYTES: &str = "12340a166472697665725f73746174733a636f6e765f726174650a14637573746f6d65725f70726f66696c\
                              653a61676522040a024944";
const RANGE: &str = r#"{"historical": {"feature_service": "drivers_v1", "full_feature_names": true, "entity": {"range": {"start": "2026-01-01T00:00:00Z", "end": "2026-02-01T02:00:00+02:00"}}}}"#;
const RANGE_BYTES: &str =
    "1222120a647269766572735f7631180122121a100a060880f2d6ca0612060880affacb06";
const INLINE: &str = r#"{"historical": {"features": ["v:f"], "entity": {"ipc": "AAE="}}}"#;
const INLINE_BYTES: &str = "120b0a03763a66220412020001";
const ATTACHED: &str = r#"{"historical": {"features": ["v:f"]}}"#;
const ATTACHED_BYTES: &str = "12050a03763a66";
const UPLOAD: &str = r#"{"upload_entities": {}}"#;
const UPLOAD_BYTES: &str = "1a00";
const TICKET: &str = r#"{"historical": {"feature_service": "drivers_v1", "entity": {"upload": "ID"}}, "project": "demo", "pins": {"version": 1, "tables": [{"catalog": "default", "namespace": ["demo"], "name": "driver_stats", "snapshot_id": 9007199254740993, "schema_id": 2}], "parts": 1, "ordered": true, "issued_at": "2026-01-01T00:00:00Z"}}"#;
const TICKET_BYTES: &str = "1212120a647269766572735f763122040a024944520464656d6f5a38080112280a0764656661756c7412046465\
                            6d6f1a0c6472697665725f737461747320818080808080801028022001280132060880f2d6ca06";
const UNORDERED: &str = r#"{"historical": {"features": ["v:f"], "ordered": false}}"#;
const UNORDERED_BYTES: &str = "12070a03763a662800";
const PART: &str = r#"{"historical": {"features": ["v:f"], "ordered": false}, "pins": {"version": 1, "part": 1, "parts": 3, "issued_at": "2026-01-01T00:00:00Z", "divided_by": "k"}}"#;
const PART_BYTES: &str = "12070a03763a6628005a1108011801200332060880f2d6ca063a016b";

fn json(text: &str) -> Result<Request> {
    decode(&Bytes::copy_from_slice(text.as_bytes()))
}

fn unhex(text: &str) -> Bytes {
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap())
        .collect()
}

fn time(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

fn by_features(features: &[&str], entity: EntitySource) -> HistoricalRequest {
    let refs = features.iter().map(|text| text.parse().unwrap()).collect();
    HistoricalRequest {
        project: None,
        features: FeatureSelection::Refs(refs),
        full_feature_names: false,
        entity,
        ordered: true,
        pins: None,
    }
}

fn by_service(entity: EntitySource) -> HistoricalRequest {
    HistoricalRequest {
        features: FeatureSelection::Service("drivers_v1".to_owned()),
        ..by_features(&[], entity)
    }
}

fn staged() -> EntitySource {
    EntitySource::Staged(UploadId("ID".to_owned()))
}

fn uploaded() -> HistoricalRequest {
    by_features(
        &["driver_stats:conv_rate", "customer_profile:age"],
        staged(),
    )
}

fn ranged() -> HistoricalRequest {
    let range = TimeRange {
        start: time("2026-01-01T00:00:00Z"),
        end: time("2026-02-01T00:00:00Z"),
    };
    HistoricalRequest {
        full_feature_names: true,
        ..by_service(EntitySource::Range(range))
    }
}

fn ticket() -> HistoricalRequest {
    let table = TableName::parse("default", "demo.driver_stats").unwrap();
    let pin = TablePin {
        snapshot: Some(SnapshotId(9_007_199_254_740_993)),
        schema_id: 2,
    };
    let tables = BTreeMap::from([(table, pin)]);
    let pins = Pins {
        tables,
        part: FlightPart::whole(),
        ordered: true,
        issued_at: time("2026-01-01T00:00:00Z"),
    };
    HistoricalRequest {
        project: Some("demo".to_owned()),
        pins: Some(pins),
        ..by_service(staged())
    }
}

fn unordered() -> HistoricalRequest {
    HistoricalRequest {
        ordered: false,
        ..by_features(&["v:f"], EntitySource::Attached)
    }
}

/// A ticket of one part of an unordered flight.
fn part() -> HistoricalRequest {
    let part = FlightPart {
        number: 1,
        count: 3,
        divided_by: "k".to_owned(),
    };
    let pins = Pins {
        tables: BTreeMap::new(),
        part,
        ordered: false,
        issued_at: time("2026-01-01T00:00:00Z"),
    };
    HistoricalRequest {
        pins: Some(pins),
        ..unordered()
    }
}

/// The message of a request that the server or a client writes.
fn wire(request: &Request) -> v1::Request {
    match request {
        Request::Historical(request) => to_wire::request(request),
        Request::UploadEntities { project } => v1::Request {
            kind: Some(v1::request::Kind::UploadEntities(v1::UploadEntities {})),
            project: project.clone(),
            pins: None,
        },
        other => panic!("{} requests are only read", other.kind()),
    }
}

fn encode(request: &Request) -> Bytes {
    wire(request).encode_to_vec().into()
}

#[rstest]
#[case::uploaded(UPLOADED, UPLOADED_BYTES, Request::Historical(uploaded()))]
#[case::range(RANGE, RANGE_BYTES, Request::Historical(ranged()))]
#[case::inline(
    INLINE,
    INLINE_BYTES,
    Request::Historical(by_features(&["v:f"], EntitySource::Inline(Bytes::from_static(&[0, 1]))))
)]
#[case::attached(ATTACHED, ATTACHED_BYTES, Request::Historical(by_features(&["v:f"], EntitySource::Attached)))]
#[case::upload(UPLOAD, UPLOAD_BYTES, Request::UploadEntities { project: None })]
#[case::ticket(TICKET, TICKET_BYTES, Request::Historical(ticket()))]
#[case::unordered(UNORDERED, UNORDERED_BYTES, Request::Historical(unordered()))]
#[case::part(PART, PART_BYTES, Request::Historical(part()))]
fn the_contract_stands(#[case] text: &str, #[case] bytes: &str, #[case] request: Request) {
    assert_eq!(json(text).unwrap(), request);
    assert_eq!(decode(&unhex(bytes)).unwrap(), request);
    assert_eq!(encode(&request), unhex(bytes));
}

#[rstest]
#[case(UPLOADED)]
#[case(RANGE)]
#[case(INLINE)]
#[case(TICKET)]
#[case(UNORDERED)]
#[case(PART)]
fn json_that_is_written_reads_back(#[case] text: &str) {
    let request = json(text).unwrap();
    let written = serde_json::to_string(&wire(&request)).unwrap();
    assert_eq!(json(&written).unwrap(), request);
}

#[test]
fn large_integers_are_numbers_and_exact() {
    let written = serde_json::to_string(&wire(&Request::Historical(ticket()))).unwrap();
    assert!(
        written.contains(r#""snapshot_id":9007199254740993"#),
        "{written}"
    );
    let as_string = TICKET.replace("9007199254740993", r#""9007199254740993""#);
    assert_eq!(json(&as_string).unwrap(), json(TICKET).unwrap());
}

#[rstest]
#[case(r#"{"historical": {"featureService": "s", "fullFeatureNames": true}}"#)]
#[case(r#"{"historical": {"features": null, "feature_service": "s", "full_feature_names": true, "entity": null}, "pins": null, "project": ""}"#)]
fn camel_case_and_nulls_are_accepted(#[case] text: &str) {
    let Request::Historical(request) = json(text).unwrap() else {
        panic!("a historical request")
    };
    assert_eq!(request.features, FeatureSelection::Service("s".to_owned()));
    assert!(
        request.full_feature_names
            && request.entity == EntitySource::Attached
            && request.project.is_none()
    );
}

fn historical(fields: &str) -> String {
    format!(r#"{{"historical": {{{fields}}}}}"#)
}

fn entity(entity: &str) -> String {
    historical(&format!(r#""features": ["v:f"], "entity": {entity}"#))
}

fn with_pins(pins: &str) -> String {
    format!(r#"{{"historical": {{"features": ["v:f"]}}, "pins": {pins}}}"#)
}

#[rstest]
#[case("{}".to_owned(), "request: expected one of `historical`, `upload_entities`")]
#[case(r#"{"historical": {}, "upload_entities": {}}"#.to_owned(), "request: `upload_entities` is given twice, or together with an alternative to it")]
#[case(r#"{"upload_entities": {}, "pins": {}}"#.to_owned(), "pins: expected no pins beside `upload_entities`")]
#[case(r#"{"histrical": {}}"#.to_owned(), "histrical: unknown field `histrical`, expected one of `project`, `pins`, `historical`")]
#[case(
    historical(r#""featurs": []"#),
    "historical.featurs: unknown field `featurs`, expected one of `features`, `feature_service`"
)]
#[case(
    historical(r#""features": "v:f""#),
    r#"historical.features: invalid type: string "v:f", expected a sequence"#
)]
#[case(
    historical(r#""features": ["v:f", 1]"#),
    "historical.features[1]: invalid type: integer `1`, expected a string"
)]
#[case(
    historical(r#""features": ["v:f", "vf"]"#),
    "historical.features[1]: expected `view:feature`, found `vf`"
)]
#[case(
    historical(r#""features": []"#),
    "historical.features: expected at least one `view:feature`, or a `feature_service`"
)]
#[case(
    historical(r#""features": ["v:f"], "feature_service": "s""#),
    "historical.feature_service: expected either"
)]
#[case(
    historical(r#""feature_service": """#),
    "historical.feature_service: expected a name, found an empty string"
)]
#[case(
    historical(r#""feature_service": "s", "full_feature_names": 1"#),
    "historical.full_feature_names: invalid type"
)]
#[case(
    entity("{}"),
    "historical.entity: expected one of `upload`, `ipc`, `range`"
)]
#[case(
    entity(r#"{"uplod": "ID"}"#),
    "historical.entity.uplod: unknown field `uplod`, expected one of `upload`"
)]
#[case(
    entity(r#"{"ipc": "AAE=", "upload": "ID"}"#),
    "historical.entity: `upload` is given twice, or together with an alternative"
)]
#[case(
    entity(r#"{"upload": ""}"#),
    "historical.entity.upload: expected a name, found an empty string"
)]
#[case(entity(r#"{"ipc": "!"}"#), "historical.entity.ipc: ")]
#[case(
    entity(r#"{"ipc": ""}"#),
    "historical.entity.ipc: expected an Arrow IPC stream, found no bytes"
)]
#[case(
    entity(r#"{"range": {}}"#),
    "historical.entity.range.start: expected a timestamp"
)]
#[case(
    entity(r#"{"range": {"start": "2026-01-01", "end": "2026-01-01T00:00:00Z"}}"#),
    "historical.entity.range.start: "
)]
#[case(
    entity(r#"{"range": {"start": "2026-01-02T00:00:00Z", "end": "2026-01-01T00:00:00Z"}}"#),
    "historical.entity.range.end: expected a time not before `start`, 2026-01-02T00:00:00Z, found 2026-01-01T00:00:00Z"
)]
#[case(
    with_pins("{}"),
    "pins.version: expected version 1, found 0; plan the request again"
)]
#[case(
    with_pins(r#"{"version": 2}"#),
    "pins.version: expected version 1, found 2; plan the request again"
)]
#[case(
    with_pins(r#"{"version": 1}"#),
    "pins.parts: expected at least 1, found 0"
)]
#[case(
    with_pins(r#"{"version": 1, "parts": 1, "part": 1}"#),
    "pins.part: expected less than 1, found 1"
)]
#[case(
    with_pins(r#"{"version": 1, "parts": 16, "part": 16}"#),
    "pins.part: expected less than 16, found 16"
)]
#[case(
    with_pins(r#"{"version": 1, "parts": 1}"#),
    "pins.issued_at: expected a timestamp"
)]
#[case(
    with_pins(r#"{"version": 1, "parts": 1, "tables": [{}]}"#),
    "pins.tables[0]: expected a full table name, each table once"
)]
fn a_wrong_field_is_named(#[case] text: String, #[case] message: &str) {
    let error = json(&text).unwrap_err();
    assert!(matches!(error, Error::InvalidRequest { .. }), "{error:?}");
    assert!(error.to_string().starts_with(message), "{error}");
}

#[rstest]
#[case(
    b"{",
    "malformed request: not JSON: EOF while parsing an object at line 1 column 1"
)]
#[case(
    b"{\"historical\": {]",
    "malformed request: not JSON: key must be a string at line 1 column 17"
)]
#[case(
    b" {}",
    "malformed request: JSON must start with `{` at its first byte, without white space"
)]
#[case(b"driver_stats", "malformed request: neither JSON nor protobuf: ")]
#[case(&[0x12, 0x03, 0x0a, 0x01, 0xff], "malformed request: neither JSON nor protobuf: ")]
#[case(b"\x0a\x00", "Flight SQL is not supported")]
#[case(
    br#"{"api": "get_historical_features", "command_id": "1"}"#,
    "Feast's remote offline store protocol (command \"get_historical_features\") is not supported"
)]
#[case(b"", "request: expected one of `historical`, `upload_entities`")]
fn bytes_that_are_no_request_are_refused(#[case] bytes: &'static [u8], #[case] message: &str) {
    let error = decode(&Bytes::from_static(bytes)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidRequest);
    assert!(error.to_string().starts_with(message), "{error}");
}

#[rstest]
#[case(br#"{"api": "persist"}"#, true)]
#[case(br#"{"x": [1], "api": null}"#, true)]
#[case(br#"{"historical": {"api": "persist"}}"#, false)]
#[case(br#"["api"]"#, false)]
#[case(br#"{"api": "persist""#, false)]
#[case(b"\x12{\"api\": 1}", false)]
#[case(b"", false)]
fn feasts_commands_are_objects_with_an_api(#[case] bytes: &[u8], #[case] expected: bool) {
    assert_eq!(is_feast(bytes), expected);
}

#[test]
fn deep_nesting_is_an_error() {
    let error = json(&"{\"historical\":".repeat(100_000)).unwrap_err();
    assert!(error.to_string().contains("recursion limit"), "{error}");
}

fn names() -> impl Strategy<Value = String> {
    "[a-zA-Zé_ ]{1,12}"
}

fn instants() -> impl Strategy<Value = DateTime<Utc>> {
    (-62_000_000_000_i64..250_000_000_000, 0_u32..1_000_000_000)
        .prop_map(|(seconds, nanos)| DateTime::from_timestamp(seconds, nanos).unwrap())
}

fn selections() -> impl Strategy<Value = FeatureSelection> {
    let refs = (names(), "[a-z:]{1,9}").prop_map(|(view, feature)| FeatureRef { view, feature });
    prop_oneof![
        prop::collection::vec(refs, 1..5).prop_map(FeatureSelection::Refs),
        names().prop_map(FeatureSelection::Service)
    ]
}

fn entities() -> impl Strategy<Value = EntitySource> {
    let range = (instants(), instants()).prop_map(|(a, b)| TimeRange {
        start: a.min(b),
        end: a.max(b),
    });
    prop_oneof![
        Just(EntitySource::Attached),
        names().prop_map(|id| EntitySource::Staged(UploadId(id))),
        prop::collection::vec(any::<u8>(), 1..40)
            .prop_map(|bytes| EntitySource::Inline(bytes.into())),
        range.prop_map(EntitySource::Range),
    ]
}

fn parts() -> impl Strategy<Value = FlightPart> {
    (any::<u32>(), 1..u32::MAX, names()).prop_map(|(number, count, divided_by)| FlightPart {
        number: number % count,
        count,
        divided_by,
    })
}

fn pins() -> impl Strategy<Value = Pins> {
    let table = (names(), prop::collection::vec(names(), 0..3), names()).prop_map(
        |(catalog, namespace, name)| TableName {
            catalog,
            namespace,
            name,
        },
    );
    let pin = (prop::option::of(any::<i64>()), any::<i32>()).prop_map(|(id, schema_id)| TablePin {
        snapshot: id.map(SnapshotId),
        schema_id,
    });
    (
        prop::collection::btree_map(table, pin, 0..4),
        parts(),
        any::<bool>(),
        instants(),
    )
        .prop_map(|(tables, part, ordered, issued_at)| Pins {
            tables,
            part,
            ordered,
            issued_at,
        })
}

fn requests() -> impl Strategy<Value = Request> {
    let project = || prop::option::of(names());
    let historical = (
        project(),
        selections(),
        any::<bool>(),
        entities(),
        any::<bool>(),
        prop::option::of(pins()),
    )
        .prop_map(
            |(project, features, full_feature_names, entity, ordered, pins)| {
                Request::Historical(HistoricalRequest {
                    project,
                    features,
                    full_feature_names,
                    entity,
                    ordered,
                    pins,
                })
            },
        );
    prop_oneof![9 => historical, 1 => project().prop_map(|project| Request::UploadEntities { project })]
}

fn goldens() -> Vec<Vec<u8>> {
    let texts = [UPLOADED, RANGE, INLINE, ATTACHED, UPLOAD, TICKET, PART];
    let bytes = [
        UPLOADED_BYTES,
        RANGE_BYTES,
        INLINE_BYTES,
        ATTACHED_BYTES,
        UPLOAD_BYTES,
        TICKET_BYTES,
        PART_BYTES,
    ];
    let texts = texts.iter().map(|text| text.as_bytes().to_vec());
    texts
        .chain(bytes.iter().map(|hex| unhex(hex).to_vec()))
        .collect()
}

/// A valid request in one of its forms, with a few bytes changed, removed or added.
fn mutated() -> impl Strategy<Value = Vec<u8>> {
    let drawn = (requests(), any::<bool>()).prop_map(|(request, as_json)| match as_json {
        true => serde_json::to_vec(&wire(&request)).unwrap(),
        false => encode(&request).to_vec(),
    });
    let valid = prop_oneof![19 => prop::sample::select(goldens()), 1 => drawn];
    let edits = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..3_u8), 1..6);
    (valid, edits).prop_map(|(mut bytes, edits)| {
        for (at, byte, edit) in edits {
            let at = at.index(bytes.len() + 1);
            match edit {
                0 => bytes.truncate(at),
                1 => bytes.insert(at, byte),
                _ => bytes
                    .iter_mut()
                    .skip(at)
                    .take(1)
                    .for_each(|target| *target = byte),
            }
        }
        bytes
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10_000))]

    #[test]
    fn mutated_requests_are_read_or_refused(bytes in mutated()) {
        if let Err(error) = decode(&bytes.into()) {
            prop_assert_eq!(error.kind(), ErrorKind::InvalidRequest);
        }
    }

    #[test]
    fn arbitrary_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        if let Err(error) = decode(&bytes.into()) {
            prop_assert_eq!(error.kind(), ErrorKind::InvalidRequest);
        }
    }
}

proptest! {
    #[test]
    fn requests_survive_both_forms(request in requests()) {
        let bytes = encode(&request);
        prop_assert!(matches!(Dialect::of(&bytes), Dialect::Protobuf));
        prop_assert_eq!(decode(&bytes).unwrap(), request.clone());
        let written = serde_json::to_vec(&wire(&request)).unwrap();
        prop_assert_eq!(decode(&written.into()).unwrap(), request);
    }
}
