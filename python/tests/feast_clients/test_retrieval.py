"""`get_historical_features` of an unmodified client means what docs/semantics.md says, for both kinds of sources."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

import pandas as pd
import pyarrow as pa
import pytest
from drivers import CUSTOMER, DRIVER, STATS_SCHEMA, frame, plain, stats_source, view
from feast import Entity, FeatureService, FeatureStore, FeatureView, Field
from feast.types import Array, Bool, Bytes, Float32, Float64, Int32, Int64, String, UnixTimestamp
from feast.value_type import ValueType
from feast_lab import FeastLab
from harness.frames import INSTANT, at, table

LOCATION = Entity(name="location", join_keys=["location_id"], value_type=ValueType.INT64)


@pytest.fixture(scope="module")
def lab(kind: str, new_lab: Callable[..., FeastLab]) -> FeastLab:
    lab = new_lab().start()
    stats = stats_source(lab, kind)
    profiles = lab.source(
        kind,
        "profiles_source",
        table(
            {"customer_id": pa.string(), "event_timestamp": INSTANT, "age": pa.int32()},
            ("a", at(days=-1), 30),
            ("b", at(days=-1), 40),
        ),
        timestamp_field="event_timestamp",
    )
    weather = lab.source(
        kind,
        "weather_source",
        table({"event_timestamp": INSTANT, "wind": pa.float64()}, (at(hours=-4), 3.0), (at(hours=-1), 7.0)),
        timestamp_field="event_timestamp",
    )
    mapped = lab.source(
        kind,
        "mapped_source",
        table({"id": pa.int64(), "ts": INSTANT, "raw": pa.float64()}, (1, at(hours=-1), 1.5), (2, at(hours=-1), 2.5)),
        timestamp_field="ts",
        field_mapping={"id": "driver_id", "raw": "rate", "ts": "event_timestamp", "not_there": "anything"},
    )
    named_as_mapped = lab.source(
        kind,
        "named_as_mapped_source",
        table({"id": pa.int64(), "ts_1": INSTANT, "raw": pa.float64()}, (1, at(hours=-1), 1.5)),
        timestamp_field="ts",
        field_mapping={"id": "driver_id", "raw": "rate", "ts_1": "ts"},
    )
    temperatures = lab.source(
        kind,
        "temperatures_source",
        table(
            {"location_id": pa.int64(), "event_timestamp": INSTANT, "temperature": pa.float64()},
            (1, at(hours=-1), 11.0),
            (2, at(hours=-1), 22.0),
        ),
        timestamp_field="event_timestamp",
    )
    temperature = view("temperature", temperatures, [Field(name="temperature", dtype=Float64)], entities=[LOCATION])
    conv = view("conv_view", stats, [Field(name="conv_rate", dtype=Float64)])
    trips = view("trips_view", stats, [Field(name="trips", dtype=Int64)])
    rate = [Field(name="rate", dtype=Float64)]
    lab.store.apply(
        [
            DRIVER,
            CUSTOMER,
            LOCATION,
            view("stats", stats, STATS_SCHEMA),
            view("forever", stats, STATS_SCHEMA, ttl=timedelta(0)),
            conv,
            trips,
            view("profile", profiles, [Field(name="age", dtype=Int32)], entities=[CUSTOMER], ttl=None),
            view("weather", weather, [Field(name="wind", dtype=Float64)], entities=[], ttl=None),
            view("mapped", mapped, rate, ttl=None),
            view("named_as_mapped", named_as_mapped, rate, ttl=None),
            temperature,
            FeatureService(
                name="routes",
                features=[
                    temperature.with_name("origin").with_join_key_map({"location_id": "origin_id"}),
                    temperature.with_name("target").with_join_key_map({"location_id": "target_id"}),
                ],
            ),
            FeatureService(name="renamed", features=[conv.with_name("one"), trips[["trips"]].with_name("other")]),
            FeatureService(name="some", features=[conv, trips]),
        ]
    )
    return lab


@pytest.fixture
def store(lab: FeastLab) -> FeatureStore:
    return lab.store


def ask(store: FeatureStore, rows: pd.DataFrame, *features: str, **options: bool) -> pd.DataFrame:
    return store.get_historical_features(entity_df=rows, features=list(features), **options).to_df()


def test_every_row_comes_back_in_its_order_with_its_columns(store: FeatureStore) -> None:
    rows = frame(
        (4, at(), 1),  # expired
        (1, at(), 2),
        (3, at(), 3),  # only in the future
        (1, at(hours=-2), 4),
        (9, at(), 5),  # unknown
        (2, at(), 6),  # tie, decided by created
        (1, at(), 7),  # a key and time that came before
        (1, at(), 2),  # a whole row that came before
        (5, at(), 8),  # a null in the row that matches
        columns=("driver_id", "event_timestamp", "label"),
    )
    found = ask(store, rows, "stats:conv_rate", "stats:city")
    assert list(found.columns) == ["driver_id", "event_timestamp", "label", "conv_rate", "city"]
    assert found["driver_id"].tolist() == rows["driver_id"].tolist()
    assert found["label"].tolist() == rows["label"].tolist()
    assert found["event_timestamp"].tolist() == rows["event_timestamp"].tolist()
    assert plain(found["conv_rate"]) == [None, 0.3, None, 0.1, None, 0.7, 0.3, 0.3, None]
    assert plain(found["city"]) == [None, "Rome", None, "Oslo", None, "Bern", "Rome", "Rome", None]


def test_both_ends_of_the_ttl_are_inside(store: FeatureStore) -> None:
    edges = [at(hours=-1), at(hours=-1, microseconds=-1), at(hours=1), at(hours=1, microseconds=1)]
    found = ask(store, frame(*((1, edge) for edge in edges)), "stats:conv_rate", "forever:trips")
    assert plain(found["conv_rate"]) == [0.3, 0.1, 0.3, None]
    assert plain(found["trips"]) == [30, 10, 30, 30]


def test_null_keys_match_nothing_and_stay(store: FeatureStore) -> None:
    rows = frame((1, at()), (None, at()), (2, at()))
    found = ask(store, rows, "stats:conv_rate")
    assert plain(found["driver_id"]) == [1, None, 2]
    assert plain(found["conv_rate"]) == [0.3, None, 0.7]


def test_times_without_a_zone_are_utc(store: FeatureStore) -> None:
    rows = frame((1, at().replace(tzinfo=None)), (1, at(hours=-2).replace(tzinfo=None)))
    found = ask(store, rows, "stats:conv_rate")
    assert plain(found["conv_rate"]) == [0.3, 0.1]
    assert str(found["event_timestamp"].dtype.tz) == "UTC"


def test_times_of_another_zone_are_instants(store: FeatureStore) -> None:
    rows = frame((1, pd.Timestamp(at(hours=-1)).tz_convert("Asia/Kathmandu")))
    found = ask(store, rows, "stats:conv_rate")
    assert plain(found["conv_rate"]) == [0.3]
    assert found["event_timestamp"].tolist() == [at(hours=-1)]


@pytest.mark.parametrize("name", [None, "ride"], ids=["unnamed", "named"])
def test_an_index_is_no_column(store: FeatureStore, name: str | None) -> None:
    rows = frame((2, at()), (1, at())).set_index(pd.Index([17, 4], name=name))
    found = ask(store, rows, "stats:conv_rate")
    assert list(found.columns) == ["driver_id", "event_timestamp", "conv_rate"]
    assert plain(found["conv_rate"]) == [0.7, 0.3]


def test_timestamp_column_of_another_name(store: FeatureStore) -> None:
    rows = frame((1, at()), columns=("driver_id", "asked_at"))
    found = ask(store, rows, "stats:conv_rate")
    assert list(found.columns) == ["driver_id", "asked_at", "conv_rate"]
    assert plain(found["conv_rate"]) == [0.3]


def test_full_feature_names(store: FeatureStore) -> None:
    found = ask(store, frame((1, at())), "stats:conv_rate", "forever:conv_rate", full_feature_names=True)
    assert list(found.columns) == ["driver_id", "event_timestamp", "stats__conv_rate", "forever__conv_rate"]


def test_several_views_with_different_entities(store: FeatureStore) -> None:
    rows = frame(
        (1, "b", at()), (9, "a", at()), (2, "?", at()), columns=("driver_id", "customer_id", "event_timestamp")
    )
    found = ask(store, rows, "stats:trips", "profile:age", "weather:wind")
    assert plain(found["trips"]) == [30, None, 70]
    assert plain(found["age"]) == [40, 30, None]
    assert plain(found["wind"]) == [7.0, 7.0, 7.0]


def test_entity_less_views_join_on_time_alone(store: FeatureStore) -> None:
    rows = pd.DataFrame({"event_timestamp": [at(hours=-5), at(hours=-2), at()]})
    assert plain(ask(store, rows, "weather:wind")["wind"]) == [None, 3.0, 7.0]


@pytest.mark.parametrize("name", ["mapped", "named_as_mapped"])
def test_field_mapping_of_keys_times_and_features(store: FeatureStore, name: str) -> None:
    found = ask(store, frame((1, at()), (1, at(hours=-2))), f"{name}:rate")
    assert list(found.columns) == ["driver_id", "event_timestamp", "rate"]
    assert plain(found["rate"]) == [1.5, None]


def test_a_feature_of_another_view_over_the_same_source(store: FeatureStore) -> None:
    rows = frame((1, at()))
    assert plain(ask(store, rows, "conv_view:conv_rate", "trips_view:trips")["trips"]) == [30]
    with pytest.raises(KeyError):
        ask(store, rows, "conv_view:trips")


def test_feature_service(store: FeatureStore) -> None:
    service = store.get_feature_service("some")
    found = store.get_historical_features(entity_df=frame((2, at())), features=service).to_df()
    assert found[["conv_rate", "trips"]].values.tolist() == [[0.7, 70.0]]


def test_feature_service_with_aliases(store: FeatureStore) -> None:
    service = store.get_feature_service("renamed")
    job = store.get_historical_features(entity_df=frame((2, at())), features=service, full_feature_names=True)
    found = job.to_df()
    assert list(found.columns) == ["driver_id", "event_timestamp", "one__conv_rate", "other__trips"]
    assert found[["one__conv_rate", "other__trips"]].values.tolist() == [[0.7, 70.0]]


def test_feature_service_with_join_key_maps(store: FeatureStore) -> None:
    rows = frame((1, 2, at()), (2, 1, at()), (9, 2, at()), columns=("origin_id", "target_id", "event_timestamp"))
    service = store.get_feature_service("routes")
    found = store.get_historical_features(entity_df=rows, features=service, full_feature_names=True).to_df()
    assert list(found.columns) == [
        "origin_id", "target_id", "event_timestamp", "origin__temperature", "target__temperature",
    ]  # fmt: skip
    assert plain(found["origin__temperature"]) == [11.0, 22.0, None]
    assert plain(found["target__temperature"]) == [22.0, 11.0, 22.0]


def test_dates_without_a_frame(store: FeatureStore) -> None:
    job = store.get_historical_features(
        features=["forever:conv_rate", "forever:trips"], start_date=at(hours=-3), end_date=at(hours=-1)
    )
    found = job.to_df().sort_values(["driver_id", "event_timestamp"], na_position="last").reset_index(drop=True)
    rows = list(zip(plain(found["driver_id"]), found["event_timestamp"], plain(found["trips"]), strict=True))
    known = [row for row in rows if row[0] is not None]
    assert known == [
        (1, at(hours=-3), 10),
        (1, at(hours=-1), 30),
        (2, at(hours=-1), 70),
        (5, at(hours=-2), 40),
        (5, at(hours=-1), None),
    ]


def test_end_date_alone_reaches_back_by_the_ttl(store: FeatureStore) -> None:
    found = store.get_historical_features(features=["stats:trips"], end_date=at()).to_df()
    seen = {(key, time) for key, time in zip(plain(found["driver_id"]), found["event_timestamp"], strict=True) if key}
    assert seen == {(1, at(hours=-1)), (2, at(hours=-1)), (5, at(hours=-2)), (5, at(hours=-1))}


def test_a_large_frame_keeps_its_order(store: FeatureStore) -> None:
    count = 20_000
    keys = [(index * 7) % 6 for index in range(count)]
    rows = pd.DataFrame({"driver_id": keys, "event_timestamp": [at()] * count, "row": range(count)})
    found = ask(store, rows, "stats:trips")
    assert found["row"].tolist() == list(range(count))
    expected = {1: 30, 2: 70}
    assert plain(found["trips"]) == [expected.get(key) for key in keys]


def test_an_empty_frame_gives_the_columns(store: FeatureStore) -> None:
    rows = frame((1, at())).head(0)
    job = store.get_historical_features(entity_df=rows, features=["stats:conv_rate"])
    assert job.to_arrow().column_names == ["driver_id", "event_timestamp", "conv_rate"]
    assert job.to_arrow().num_rows == 0


TYPES = {
    "driver_id": pa.int64(),
    "event_timestamp": INSTANT,
    "small": pa.int32(),
    "big": pa.int64(),
    "single": pa.float32(),
    "double": pa.float64(),
    "text": pa.string(),
    "flag": pa.bool_(),
    "raw": pa.binary(),
    "seen": INSTANT,
    "numbers": pa.list_(pa.int64()),
    "words": pa.list_(pa.string()),
    "flags": pa.list_(pa.bool_()),
    "ratios": pa.list_(pa.float64()),
}
VALUES = (3, 2**40, 0.5, 0.25, "å", True, b"\x00\xff", at(days=-3), [1, 2], ["x", "y"], [True, False], [0.5])
DECLARED = [
    Field(name="small", dtype=Int32),
    Field(name="big", dtype=Int64),
    Field(name="single", dtype=Float32),
    # Declared narrower than stored: the stored type is what comes back.
    Field(name="double", dtype=Float32),
    Field(name="text", dtype=String),
    Field(name="flag", dtype=Bool),
    Field(name="raw", dtype=Bytes),
    Field(name="seen", dtype=UnixTimestamp),
    Field(name="numbers", dtype=Array(Int64)),
    Field(name="words", dtype=Array(String)),
    Field(name="flags", dtype=Array(Bool)),
    Field(name="ratios", dtype=Array(Float64)),
]


@pytest.fixture(scope="module")
def typed(lab: FeastLab, kind: str) -> FeatureView:
    rows = table(TYPES, (1, at(hours=-1), *VALUES), (2, at(hours=-1), *[None] * len(VALUES)))
    source = lab.source(kind, "typed_source", rows, timestamp_field="event_timestamp")
    typed = view("typed", source, DECLARED)
    lab.store.apply([typed])
    return typed


def test_types_are_those_of_the_table(store: FeatureStore, typed: FeatureView) -> None:
    names = [field.name for field in DECLARED]
    job = store.get_historical_features(
        entity_df=frame((1, at()), (2, at()), (3, at())), features=[f"typed:{name}" for name in names]
    )
    found = job.to_arrow()
    for name, stored in list(TYPES.items())[2:]:
        got = found.schema.field(name).type
        if pa.types.is_list(stored):
            assert pa.types.is_list(got), name
            got, stored = got.value_type, stored.value_type
        assert got == stored, name
    first, second, third = found.to_pylist()
    assert tuple(first[name] for name in names) == VALUES
    assert all(second[name] is None for name in names)
    assert all(third[name] is None for name in names)


def test_whole_numbers_stay_whole_in_pandas(store: FeatureStore, typed: FeatureView) -> None:
    found = ask(store, frame((1, at())), "typed:small", "typed:big", "typed:flag", "typed:seen")
    assert found["small"].dtype.kind == "i"
    assert found["big"].tolist() == [2**40]
    assert found["flag"].dtype.kind == "b"
    assert found["seen"].tolist() == [datetime.fromisoformat(at(days=-3).isoformat())]


KEYS = {
    "int32": (pa.int32(), [1, 2], [2, 1]),
    "int64": (pa.int64(), [1, 2], [2, 1]),
    "string": (pa.string(), ["1", "11"], ["11", "1"]),
}


@pytest.mark.parametrize("name", list(KEYS))
def test_types_of_join_keys(lab: FeastLab, store: FeatureStore, kind: str, name: str) -> None:
    stored, values, asked = KEYS[name]
    types = {"key": stored, "event_timestamp": INSTANT, "value": pa.int64()}
    rows = [(value, at(hours=-1), index) for index, value in enumerate(values)]
    source = lab.source(kind, f"keyed_{name}", table(types, *rows), timestamp_field="event_timestamp")
    value_type = {"int32": ValueType.INT32, "int64": ValueType.INT64, "string": ValueType.STRING}[name]
    entity = Entity(name=f"entity_{name}", join_keys=["key"], value_type=value_type)
    store.apply([entity, view(f"keyed_{name}", source, [Field(name="value", dtype=Int64)], entities=[entity])])
    found = ask(
        store, frame(*((key, at()) for key in asked), columns=("key", "event_timestamp")), f"keyed_{name}:value"
    )
    assert plain(found["value"]) == [1, 0]


def test_ints_declared_as_strings_join_by_their_data(lab: FeastLab, store: FeatureStore, kind: str) -> None:
    types = {"code": pa.int64(), "event_timestamp": INSTANT, "value": pa.int64()}
    source = lab.source(kind, "coded", table(types, (7, at(hours=-1), 70)), timestamp_field="event_timestamp")
    entity = Entity(name="coded_entity", join_keys=["code"], value_type=ValueType.STRING)
    store.apply([entity, view("coded", source, [Field(name="value", dtype=Int64)], entities=[entity])])
    found = ask(store, frame((7, at()), columns=("code", "event_timestamp")), "coded:value")
    assert plain(found["value"]) == [70]
