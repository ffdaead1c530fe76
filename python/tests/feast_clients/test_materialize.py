"""`materialize` through the server into Feast's SQLite online store, and the online features that come of it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pyarrow as pa
import pytest
from drivers import DRIVER, STATS_ROWS, STATS_SCHEMA, STATS_TYPES, TIMES, plain, view
from feast import FeatureStore, Field
from feast.infra.offline_stores.remote import RemoteOfflineStore
from feast.types import Float64
from feast_lab import FeastLab
from harness.frames import INSTANT, at, table


@pytest.fixture(scope="module")
def lab(kind: str, new_lab: Callable[..., FeastLab]) -> FeastLab:
    lab = new_lab().start()
    weather = lab.source(
        kind,
        "weather_source",
        table({"event_timestamp": INSTANT, "wind": pa.float64()}, (at(hours=-4), 3.0), (at(hours=-1), 7.0)),
        timestamp_field="event_timestamp",
    )
    mapped = lab.source(
        kind,
        "mapped_source",
        table(
            {"id": pa.int64(), "ts": INSTANT, "raw": pa.float64()},
            (1, at(hours=-2), 0.5),
            (1, at(hours=-1), 1.5),
        ),
        # The mapped name: Feast's materialization looks for it after it has renamed the columns.
        timestamp_field="event_timestamp",
        field_mapping={"id": "driver_id", "raw": "rate", "ts": "event_timestamp"},
    )
    # Feast's online stores refuse null keys, so there are none here.
    known = table(STATS_TYPES, *(row for row in STATS_ROWS if row[0] is not None))
    source = lab.source(kind, "stats_source", known, **TIMES)
    lab.store.apply(
        [
            DRIVER,
            view("stats", source, STATS_SCHEMA, ttl=timedelta(days=3650)),
            view("weather", weather, [Field(name="wind", dtype=Float64)], entities=[], ttl=timedelta(days=3650)),
            view("mapped", mapped, [Field(name="rate", dtype=Float64)], ttl=timedelta(days=3650)),
        ]
    )
    return lab


@pytest.fixture
def store(lab: FeastLab) -> FeatureStore:
    return lab.store


def online(store: FeatureStore, keys: list[int], *features: str) -> dict[str, list[Any]]:
    rows = [{"driver_id": key} for key in keys]
    return store.get_online_features(features=list(features), entity_rows=rows).to_dict()


def test_the_latest_row_inside_the_range(store: FeatureStore) -> None:
    # Both ends of the range are inside: the row of driver 2 is at its end.
    store.materialize(at(hours=-3), at(hours=-1), feature_views=["stats"])
    found = online(store, [1, 2, 3, 4, 5], "stats:trips", "stats:conv_rate", "stats:city", "stats:active")
    assert found["trips"] == [30, 70, None, None, None]
    assert found["conv_rate"] == [0.3, 0.7, None, None, None]
    assert found["city"] == ["Rome", "Bern", None, None, None]
    assert found["active"] == [False, True, None, None, None]


def test_incrementally(store: FeatureStore) -> None:
    store.materialize_incremental(at(hours=-2), feature_views=["mapped"])
    assert online(store, [1], "mapped:rate")["rate"] == [0.5]
    store.materialize_incremental(at(), feature_views=["mapped"])
    assert online(store, [1], "mapped:rate")["rate"] == [1.5]


def test_a_view_without_entities(store: FeatureStore) -> None:
    store.materialize(at(hours=-5), at(), feature_views=["weather"])
    assert online(store, [1], "weather:wind")["wind"] == [7.0]


def pull(store: FeatureStore, api: str, start: datetime | None, end: datetime | None, features: list[str]) -> pa.Table:
    source = store.get_data_source("stats_source")
    call = getattr(RemoteOfflineStore, api)
    return call(
        store.config, source, ["driver_id"], features, TIMES["timestamp_field"], TIMES["created_timestamp_column"],
        start, end,
    ).to_arrow()  # fmt: skip


def test_pull_latest_gives_source_columns(store: FeatureStore) -> None:
    found = pull(store, "pull_latest_from_table_or_query", at(hours=-3), at(hours=9), ["trips"])
    assert set(found.column_names) == {"driver_id", "trips", "event_timestamp", "created"}
    assert {row["driver_id"]: row["trips"] for row in found.to_pylist()} == {1: 30, 2: 70, 3: 90, 5: None}


def test_pull_all_gives_every_row_of_the_range(store: FeatureStore) -> None:
    found = pull(store, "pull_all_from_table_or_query", at(hours=-2), at(hours=5), ["trips"])
    assert sorted(plain(found["trips"].to_pylist()), key=str) == sorted([30, 70, 50, 90, 40, None], key=str)


def test_pull_all_without_dates_gives_every_row(store: FeatureStore) -> None:
    found = pull(store, "pull_all_from_table_or_query", None, None, ["trips", "city"])
    assert found.num_rows == 8
