"""Retrieval without a dataframe: every key and time of a range."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from harness.client import Client, historical_request
from harness.frames import INSTANT, at
from harness.lab import Lab
from harness.reference import naive_join, plain, rows_of
from pyiceberg.transforms import BucketTransform, DayTransform

HOUR = 3_600_000_000
START = int(at().timestamp()) * 1_000_000


def rows(seed: int, keys: list[str], count: int, name: str) -> pa.Table:
    """Random rows on a grid of hours, so that keys and times repeat."""
    rng = np.random.default_rng(seed)
    columns: dict[str, Any] = {key: pa.array(rng.integers(0, 6, count)) for key in keys}
    columns["event_timestamp"] = pa.array(START + rng.integers(0, 48, count) * HOUR).cast(INSTANT)
    columns[name] = pa.array(np.arange(count))
    return pa.table(columns)


TABLES = {
    "stats": (["driver_id"], rows(1, ["driver_id"], 300, "trips")),
    "rating": (["driver_id"], rows(2, ["driver_id"], 100, "stars")),
    "route": (["driver_id", "city_id"], rows(3, ["driver_id", "city_id"], 200, "km")),
    "city": (["city_id"], rows(4, ["city_id"], 50, "heat")),
    "market": ([], rows(5, [], 20, "rate")),
}


def fill(lab: Lab) -> None:
    """One view per table; their event times have other names in the source, which the spine does not show."""
    lab.add("stats", ["driver_id"], TABLES["stats"][1], write={"partition_by": {"event_timestamp": DayTransform()}})
    lab.add("rating", ["driver_id"], TABLES["rating"][1], write={"partition_by": {"driver_id": BucketTransform(4)}})
    lab.add("route", ["driver_id", "city_id"], TABLES["route"][1])
    lab.add(
        "city",
        ["city_id"],
        TABLES["city"][1].rename_columns(["city_id", "measured", "heat"]),
        timestamp_field="measured",
    )
    lab.add("market", [], TABLES["market"][1])


@pytest.fixture(scope="module")
def lab(start_lab: Callable[..., Lab]) -> Lab:
    """The server with views of different keys."""
    return start_lab(fill)


@pytest.fixture
def client(lab: Lab) -> Client:
    """A connection."""
    return lab.client


def spine(views: list[str], keys: list[str], start: datetime, end: datetime) -> pa.Table:
    """The distinct keys and times of views inside a range."""
    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'")
    for view in views:
        connection.register(view, TABLES[view][1])
    columns = ", ".join([*keys, "event_timestamp"])
    parts = " UNION ".join(f"SELECT {columns} FROM {view}" for view in views)
    found = connection.sql(
        f"SELECT DISTINCT {columns} FROM ({parts}) WHERE event_timestamp BETWEEN $a AND $b",
        params={"a": start, "b": end},
    )
    return found.to_arrow_table()


def expected(views: list[str], spine_views: list[str], start: datetime, end: datetime) -> list[dict[str, Any]]:
    """All rows of a range retrieval, sorted."""
    keys = list(dict.fromkeys(key for view in views for key in TABLES[view][0]))
    frame = spine(spine_views, keys, start, end)
    for view in views:
        own_keys, source = TABLES[view]
        feature = source.column_names[-1]
        joined = naive_join(frame, source, own_keys, [feature], ties=source.column_names)
        frame = frame.append_column(feature, pa.array([row[feature] for row in joined], pa.int64()))
    return sort(rows_of(frame))


def sort(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows in an order of their own, since a range has none."""
    return sorted(found, key=lambda row: [str(value) for value in row.values()])


CASES = {
    "one view": (["stats"], ["stats"]),
    "two views of one key": (["stats", "rating"], ["stats", "rating"]),
    "the view with all keys is the spine": (["stats", "route", "city"], ["route"]),
    "an entity-less view alone": (["market"], ["market"]),
    "an entity-less view adds no rows": (["rating", "market"], ["rating"]),
}


@pytest.mark.parametrize("case", CASES)
def test_range_is_every_key_and_time(client: Client, case: str) -> None:
    views, spine_views = CASES[case]
    refs = [f"{view}:{TABLES[view][1].column_names[-1]}" for view in views]
    start, end = at(hours=3), at(hours=30)
    result = client.range(start.isoformat(), end.isoformat(), refs)
    wanted = expected(views, spine_views, start, end)
    assert result.column_names == list(wanted[0])
    assert sort(rows_of(result)) == wanted


def test_both_ends_belong_to_the_range(client: Client) -> None:
    instant = at(hours=7)
    result = client.range(instant.isoformat(), instant.isoformat(), ["stats:trips"])
    assert set(plain(result["event_timestamp"].to_pylist())) == {instant}
    assert sort(rows_of(result)) == expected(["stats"], ["stats"], instant, instant)
    beside = client.range(
        at(hours=7, microseconds=1).isoformat(), at(hours=8, microseconds=-1).isoformat(), ["stats:trips"]
    )
    assert len(beside) == 0
    assert beside.column_names == ["driver_id", "event_timestamp", "trips"]


def test_range_texts_and_offsets(client: Client) -> None:
    zulu = client.range("2026-03-01T15:00:00Z", "2026-03-01T18:00:00.000000Z", ["stats:trips"])
    berlin = client.range("2026-03-01T16:00:00+01:00", "2026-03-01T19:00:00+01:00", ["stats:trips"])
    assert sort(rows_of(zulu)) == sort(rows_of(berlin))
    assert len(zulu) > 0
    assert datetime(2026, 3, 1, 15, tzinfo=UTC) == at(hours=3)


def test_spine_time_is_called_event_timestamp(client: Client) -> None:
    result = client.range(at().isoformat(), at(days=2).isoformat(), ["city:heat"])
    assert result.column_names == ["city_id", "event_timestamp", "heat"]
    assert result.schema.field("event_timestamp").type == INSTANT


def test_views_without_a_common_key_give_their_own_rows(client: Client) -> None:
    start, end = at().isoformat(), at(days=2).isoformat()
    both = client.range(start, end, ["stats:trips", "city:heat"])
    assert both.column_names == ["driver_id", "city_id", "event_timestamp", "trips", "heat"]
    of_drivers = both.filter(pc.is_valid(both["driver_id"]))
    of_cities = both.filter(pc.is_valid(both["city_id"]))
    assert len(of_drivers) > 0
    assert len(of_cities) > 0
    assert len(both) == len(of_drivers) + len(of_cities)
    drivers = ["driver_id", "event_timestamp", "trips"]
    assert sort(rows_of(of_drivers.select(drivers))) == sort(rows_of(client.range(start, end, ["stats:trips"])))
    cities = ["city_id", "event_timestamp", "heat"]
    assert sort(rows_of(of_cities.select(cities))) == sort(rows_of(client.range(start, end, ["city:heat"])))


def test_range_that_ends_before_it_starts_is_refused(client: Client) -> None:
    with pytest.raises(pa.ArrowInvalid, match="end"):
        client.range(at(days=2).isoformat(), at().isoformat(), ["stats:trips"])


def test_planned_range_gives_the_same_rows(client: Client) -> None:
    request = historical_request(["stats:trips"], {"range": {"start": at().isoformat(), "end": at(days=1).isoformat()}})
    info = client.info(request)
    assert len(client.get_info(info)) == len(client.get(request))
