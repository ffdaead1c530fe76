"""What definitions can say: aliases, join-key maps, field mappings, entity-less views, services, live changes."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta

import pyarrow as pa
import pytest
from harness.client import Client
from harness.frames import INSTANT, at, drivers, table
from harness.lab import Lab
from harness.reference import naive_join, rows_of

CITIES = table(
    {"city_id": pa.int64(), "event_timestamp": INSTANT, "temperature": pa.float64(), "rain": pa.bool_()},
    (1, at(hours=-2), 11.0, True),
    (1, at(hours=-1), 12.0, None),
    (2, at(hours=-1), 20.0, False),
)
GLOBAL = table(
    {"event_timestamp": INSTANT, "rate": pa.float64()}, (at(hours=-5), 0.5), (at(hours=-3), 0.3), (at(hours=1), 0.1)
)
SOURCE = table(
    {"id": pa.int32(), "ts_1": INSTANT, "made": INSTANT, "cr": pa.float32(), "other": pa.string()},
    (1, at(hours=-1), at(), 0.25, "x"),
    (1, at(hours=-1), at(hours=1), 0.5, "y"),
    (2, at(hours=-1), at(), 0.75, None),
)
MAPPING = {"id": "driver_id", "ts_1": "ts", "cr": "conv_rate", "absent": "whatever"}
TRIPS = table(
    {"origin_id": pa.int64(), "destination_id": pa.int64(), "city_id": pa.int64(), "event_timestamp": INSTANT},
    (1, 2, 2, at()),
    (2, 1, 1, at(hours=-1)),
    (3, None, 1, at(hours=-2)),
)


def fill(lab: Lab) -> None:
    """Views of each kind."""
    lab.add("weather", ["city_id"], CITIES)
    lab.add("weather_short", ["city_id"], CITIES, ttl="90m", features=["temperature"])
    lab.definitions.view("weather_rain", "lab.weather", ["city_id"], features=["rain"])
    lab.add("market", [], GLOBAL, ttl="3h")
    mapped = {"timestamp_field": "ts", "created_timestamp_column": "made", "field_mapping": MAPPING}
    lab.add("mapped", ["driver_id"], SOURCE, **mapped)
    by_source = {"timestamp_field": "ts_1", "created_timestamp_column": "made", "field_mapping": MAPPING}
    lab.definitions.view("mapped_source_name", "lab.mapped", ["driver_id"], catalog="default", ttl="0", **by_source)
    lab.definitions.service(
        "trips",
        [
            {
                "view": "weather",
                "alias": "origin",
                "features": ["temperature"],
                "join_key_map": {"city_id": "origin_id"},
            },
            {"view": "weather", "alias": "destination", "join_key_map": {"city_id": "destination_id"}},
            {"view": "market"},
        ],
    )


@pytest.fixture(scope="module")
def lab(start_lab: Callable[..., Lab]) -> Lab:
    """The server with all kinds of views."""
    return start_lab(fill)


@pytest.fixture
def client(lab: Lab) -> Client:
    """A connection."""
    return lab.client


def test_service_with_aliases_and_join_key_maps(client: Client) -> None:
    result = client.historical(TRIPS, "trips", full_feature_names=True)
    added = result.column_names[4:]
    assert added == ["origin__temperature", "destination__temperature", "destination__rain", "market__rate"]
    assert result["origin__temperature"].to_pylist() == [12.0, 20.0, None]
    assert result["destination__temperature"].to_pylist() == [20.0, 12.0, None]
    assert result["destination__rain"].to_pylist() == [False, None, None]
    assert result["market__rate"].to_pylist() == [0.3, 0.3, 0.3]


def test_refs_may_use_a_services_alias(client: Client) -> None:
    refs = ["destination:rain", "weather:rain", "origin:temperature"]
    result = client.historical(TRIPS, refs, full_feature_names=True)
    assert result.column_names[4:] == ["destination__rain", "weather__rain", "origin__temperature"]
    assert result["weather__rain"].to_pylist() == [False, None, True]
    assert result["origin__temperature"].to_pylist() == [12.0, 20.0, None]


def test_names_that_collide_are_refused(client: Client) -> None:
    for features in ("trips", ["origin:temperature", "weather:temperature"]):
        with pytest.raises(pa.ArrowInvalid, match=r"`temperature`.*full_feature_names"):
            client.historical(TRIPS, features)
    with pytest.raises(pa.ArrowInvalid, match=r"`temperature`"):
        client.historical(TRIPS.append_column("temperature", pa.nulls(3)), ["weather:temperature"])


def test_entity_less_view_joins_on_time_alone(client: Client) -> None:
    frame = drivers(*((key, at(hours=hour)) for key in (1, None) for hour in range(-6, 3)))
    expected = naive_join(frame, GLOBAL, [], ["rate"], ttl=timedelta(hours=3))
    assert rows_of(client.historical(frame, ["market:rate"])) == expected
    times_alone = frame.select(["event_timestamp"])
    assert client.historical(times_alone, ["market:rate"])["rate"].to_pylist() == [row["rate"] for row in expected]


@pytest.mark.parametrize("view", ["mapped", "mapped_source_name"])
def test_field_mapping_renames_keys_times_and_features(client: Client, view: str) -> None:
    result = client.historical(drivers((2, at()), (1, at()), (3, at())), [f"{view}:conv_rate", f"{view}:other"])
    assert result["conv_rate"].to_pylist() == [0.75, 0.5, None]
    assert result["other"].to_pylist() == [None, "y", None]
    assert result.schema.field("conv_rate").type == pa.float32()


def test_source_names_are_not_feature_names(client: Client) -> None:
    with pytest.raises(KeyError, match=r"`cr`.*`mapped`"):
        client.historical(drivers((1, at())), ["mapped:cr"])


def test_views_that_share_a_table_have_their_own_features_and_ttl(client: Client) -> None:
    frame = TRIPS.select(["city_id", "event_timestamp"]).append_column("late", pa.nulls(3))
    later = frame.set_column(1, "event_timestamp", pa.array([at(minutes=30), at(minutes=31), at(minutes=30)], INSTANT))
    assert client.historical(later, ["weather:temperature"])["temperature"].to_pylist() == [20.0, 12.0, 12.0]
    assert client.historical(later, ["weather_short:temperature"])["temperature"].to_pylist() == [20.0, None, 12.0]
    with pytest.raises(KeyError, match=r"`temperature`.*`weather_rain`"):
        client.historical(frame, ["weather_rain:temperature"])


def test_repeated_refs_count_once(client: Client) -> None:
    frame = TRIPS.select(["city_id", "event_timestamp"])
    result = client.historical(frame, ["weather:rain", "weather:temperature", "weather:rain"])
    assert result.column_names == ["city_id", "event_timestamp", "rain", "temperature"]


def eventually(check: Callable[[], bool], seconds: float = 10) -> None:
    """Wait until a check holds."""
    deadline = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.1)


def test_definitions_are_read_again_when_they_change(start_lab: Callable[..., Lab]) -> None:
    lab = start_lab(fill)
    frame = TRIPS.select(["city_id", "event_timestamp"])
    with pytest.raises(KeyError, match="`weather_new`"):
        lab.client.historical(frame, ["weather_new:rain"])
    lab.definitions.view("weather_new", "lab.weather", ["city_id"])
    lab.publish()
    assert lab.client.historical(frame, ["weather_new:rain"])["rain"].to_pylist() == [False, None, True]

    lab.features_path.write_text("this is [not toml")
    assert lab.client.historical(frame, ["weather_new:rain"])["rain"].to_pylist() == [False, None, True]
    eventually(lambda: "features.toml" in lab.server.log())

    lab.publish()
    assert len(lab.client.historical(frame, ["weather:rain"])) == 3
