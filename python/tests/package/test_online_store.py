"""The online store against a server in memory: what goes over the wire, and what happens when that breaks."""

import asyncio
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.flight as fl
import pytest
from fake_online import FakeOnline
from feast import Entity, FeatureStore, FeatureView, Field, FileSource, RepoConfig, ValueType
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import Value
from feast.types import Float64, Int64, String

from feast_murre import MurreOnlineStore, online_channels

NOW = datetime(2026, 1, 2, 3, 4, 5, 678900, tzinfo=UTC)
DRIVER = Entity(name="driver", join_keys=["driver_id"], value_type=ValueType.INT64)
SHOP = Entity(name="shop", join_keys=["shop_id"], value_type=ValueType.STRING)
SOURCE = FileSource(name="nowhere", path="nowhere.parquet", timestamp_field="event_timestamp")
TRIPS = FeatureView(
    name="trips",
    entities=[DRIVER],
    ttl=timedelta(hours=1, milliseconds=500),
    schema=[
        Field(name="fare", dtype=Float64),
        Field(name="city", dtype=String),
        Field(name="driver_id", dtype=Int64),
    ],
    source=SOURCE,
)
SALES = FeatureView(
    name="sales",
    entities=[SHOP],
    schema=[Field(name="sum", dtype=Int64), Field(name="shop_id", dtype=String)],
    source=SOURCE,
)
WEATHER = FeatureView(name="weather", entities=[], schema=[Field(name="wind", dtype=Float64)], source=SOURCE)


@pytest.fixture
def server() -> Iterator[FakeOnline]:
    with FakeOnline() as server:
        yield server
        # The server in Python ends when its calls have.
        online_channels.close_all()


def store_over(server: FakeOnline, folder: Path, **online: Any) -> FeatureStore:
    settings = {"type": "feast_murre.MurreOnlineStore", "host": "127.0.0.1", "port": server.port, **online}
    config = RepoConfig(
        project="demo",
        provider="local",
        registry=str(folder / "registry.db"),
        online_store=settings,
        entity_key_serialization_version=3,
    )
    store = FeatureStore(config=config)
    store.apply([DRIVER, SHOP, TRIPS, SALES, WEATHER])
    return store


@pytest.fixture
def store(server: FakeOnline, tmp_path: Path) -> FeatureStore:
    return store_over(server, tmp_path)


def trips(*rows: tuple[int, float, str]) -> pd.DataFrame:
    frame = pd.DataFrame(rows, columns=["driver_id", "fare", "city"])
    return frame.assign(event_timestamp=NOW)


def fares(store: FeatureStore, *drivers: int) -> list[float | None]:
    rows = [{"driver_id": driver} for driver in drivers]
    return store.get_online_features(["trips:fare"], rows).to_dict()["fare"]


def online(store: FeatureStore) -> MurreOnlineStore:
    found = store._get_provider().online_store
    assert isinstance(found, MurreOnlineStore)
    return found


def data(rows: int) -> list[Any]:
    keys = (EntityKey(join_keys=["driver_id"], entity_values=[Value(int64_val=row)]) for row in range(rows))
    return [(key, {"fare": Value(double_val=1.0)}, NOW, None) for key in keys]


def test_definitions_travel_with_update_and_with_writes(server: FakeOnline, store: FeatureStore) -> None:
    update = next(action for action in server.actions if "update" in action)
    assert update["project"] == "demo"
    kept = {view["feature_view"]: view["definition"] for view in update["update"]["keep"]}
    assert kept.keys() == {"trips", "sales", "weather"}
    assert kept["trips"] == {
        "join_keys": [{"name": "driver_id", "type": "INT64"}],
        "features": [{"name": "fare", "type": "DOUBLE"}, {"name": "city", "type": "STRING"}],
        "ttl": "3600.500000s",
    }
    assert kept["weather"]["join_keys"] == []
    store.write_to_online_store("trips", trips((1, 2.5, "Oslo")))
    assert server.writes[0]["write"]["definition"] == kept["trips"]
    assert server.writes[0]["write"]["feature_view"] == "trips"


def test_views_of_one_request_share_a_channel_that_stays_open(server: FakeOnline, store: FeatureStore) -> None:
    store.write_to_online_store("trips", trips((1, 2.5, "Oslo")))
    store.write_to_online_store("sales", pd.DataFrame({"shop_id": ["a"], "sum": [7], "event_timestamp": [NOW]}))
    store.write_to_online_store("weather", pd.DataFrame({"wind": [3.0], "event_timestamp": [NOW]}))
    refs = ["trips:fare", "sales:sum", "weather:wind"]
    for _ in range(3):
        found = store.get_online_features(refs, [{"driver_id": 1, "shop_id": "a"}, {"driver_id": 2, "shop_id": "b"}])
        assert found.to_dict() == {
            "driver_id": [1, 2],
            "shop_id": ["a", "b"],
            "fare": [2.5, None],
            "sum": [7, None],
            "wind": [3.0, 3.0],
        }
    assert len(server.channels) == 1
    assert server.asked == 3
    assert server.channels[0]["project"] == "demo"


def test_times_are_exact(store: FeatureStore) -> None:
    store.write_to_online_store("trips", trips((1, 2.5, "Oslo")))
    key = EntityKey(join_keys=["driver_id"], entity_values=[Value(int64_val=1)])
    (time_read, values), unknown = online(store).online_read(
        store.config, TRIPS, [key, EntityKey(join_keys=["driver_id"], entity_values=[Value(int64_val=9)])]
    )
    assert time_read == NOW
    assert values == {"fare": Value(double_val=2.5), "city": Value(string_val="Oslo")}
    assert unknown == (None, None)
    assert online(store).online_read(store.config, TRIPS, []) == []


def test_naive_times_are_utc(server: FakeOnline, store: FeatureStore) -> None:
    (key, values, _, _), *_ = data(1)
    naive = datetime(2026, 1, 1)
    online(store).online_write_batch(store.config, TRIPS, [(key, values, naive, pd.NaT)], None)
    assert online(store).online_read(store.config, TRIPS, [key])[0][0] == naive.replace(tzinfo=UTC)


def test_many_keys_go_in_batches(server: FakeOnline, store: FeatureStore) -> None:
    store.write_to_online_store("trips", trips(*((driver, driver / 2, "x") for driver in range(50))))
    drivers = [driver % 60 for driver in range(25_000)]
    expected = [driver / 2 if driver < 50 else None for driver in drivers]
    assert fares(store, *drivers) == expected
    assert server.asked == 3


def test_a_null_key_matches_nothing(store: FeatureStore) -> None:
    store.write_to_online_store("trips", trips((1, 2.5, "Oslo")))
    found = store.get_online_features(["trips:fare"], {"driver_id": [None, 1]}).to_dict()
    assert found["fare"] == [None, 2.5]


def test_a_missing_join_key_is_an_error_as_in_feast(store: FeatureStore) -> None:
    with pytest.raises(KeyError, match="Missing join key values"):
        store.get_online_features(["trips:fare"], [{"nothing": 1}])


def test_progress_hears_of_all_rows_once(server: FakeOnline, store: FeatureStore) -> None:
    heard: list[int] = []
    server.failures = [fl.FlightUnavailableError("away")]
    online(store).online_write_batch(store.config, TRIPS, data(100_000), heard.append)
    assert sum(heard) == 100_000
    assert len(heard) == 2


def test_a_bar_shows_the_rows(server: FakeOnline, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = store_over(server, tmp_path, progress=True)
    heard: list[int] = []
    online(store).online_write_batch(store.config, TRIPS, data(1200), heard.append)
    assert "write trips" in capsys.readouterr().err
    assert heard == [1200]


def test_a_write_that_is_tried_again_keeps_its_name(server: FakeOnline, store: FeatureStore) -> None:
    names = []
    for _ in range(2):
        server.failures = [fl.FlightUnavailableError("away")]
        online(store).online_write_batch(store.config, TRIPS, data(1), None)
        names.append(server.writes[-1]["write"]["idempotency_key"])
    assert names[0] != names[1]
    assert len(server.writes) == 2


def test_a_write_with_a_faulty_row_writes_nothing(server: FakeOnline, store: FeatureStore) -> None:
    rows = data(100_000)
    rows[-1][1]["fare"] = Value(string_val="much")
    with pytest.raises(TypeError, match="column fare: expected double_val"):
        online(store).online_write_batch(store.config, TRIPS, rows, None)
    assert server.writes == []


def test_a_refused_write_is_not_tried_again(server: FakeOnline, store: FeatureStore) -> None:
    server.failures = [ValueError("column fare: no"), ValueError("again")]
    with pytest.raises(ValueError, match="column fare: no"):
        online(store).online_write_batch(store.config, TRIPS, data(1), None)
    assert len(server.failures) == 1


@pytest.mark.parametrize(
    "failures",
    [
        [fl.FlightUnavailableError("away")],
        [fl.FlightTimedOutError("cold")] * 5,
        [fl.FlightTimedOutError("cold"), fl.FlightUnavailableError("away"), fl.FlightTimedOutError("cold")],
    ],
)
@pytest.mark.parametrize("warm", [True, False])
def test_reads_that_may_succeed_are_tried_again(
    server: FakeOnline, store: FeatureStore, failures: list[Exception], warm: bool
) -> None:
    store.write_to_online_store("trips", trips((1, 2.5, "Oslo")))
    if warm:
        assert fares(store, 1) == [2.5]
    server.failures = list(failures)
    assert fares(store, 1) == [2.5]
    assert server.failures == []


def test_a_read_that_cannot_succeed_fails(server: FakeOnline, store: FeatureStore) -> None:
    with pytest.raises(KeyError, match="no online table of view trips"):
        fares(store, 1)
    store.write_to_online_store("trips", trips((1, 2.5, "Oslo")))
    server.failures = [fl.FlightUnavailableError("away")] * 3
    with pytest.raises(fl.FlightUnavailableError):
        fares(store, 1)
    assert len(server.failures) == 1
    server.failures = []
    assert fares(store, 1) == [2.5]


def test_reads_end_in_time(server: FakeOnline, tmp_path: Path) -> None:
    store = store_over(server, tmp_path, timeout=0.5)
    store.write_to_online_store("trips", trips((1, 2.5, "Oslo")))
    server.failures = [fl.FlightTimedOutError("cold")] * 10_000
    started = time.monotonic()
    with pytest.raises(fl.FlightTimedOutError, match=r"did not answer within 0.5 s"):
        fares(store, 1)
    assert time.monotonic() - started < 3
    server.failures = []
    # A server that says nothing at all.
    with server.stalled():
        started = time.monotonic()
        with pytest.raises(fl.FlightTimedOutError, match=r"did not answer within 0.5 s"):
            fares(store, 1)
        assert time.monotonic() - started < 3
    assert fares(store, 1) == [2.5]


def test_threads_do_not_share_channels(server: FakeOnline, tmp_path: Path) -> None:
    store = store_over(server, tmp_path, pool_size=2)
    store.write_to_online_store("trips", trips(*((driver, driver / 2, "x") for driver in range(100))))
    wrong: list[Any] = []

    def read(own: int) -> None:
        for number in range(50):
            driver = (own * 7 + number) % 100
            if fares(store, driver, own) != [driver / 2, own / 2]:
                wrong.append(driver)

    threads = [threading.Thread(target=read, args=(own,)) for own in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    channels = online(store)._channels
    assert channels is not None
    assert channels._idle_count <= 2
    assert channels._busy == set()


def test_coroutines_read_and_write(store: FeatureStore) -> None:
    async def run() -> list[Any]:
        await store.write_to_online_store_async("trips", trips((1, 2.5, "Oslo"), (2, 3.5, "Rome")))
        reads = [store.get_online_features_async(["trips:city"], [{"driver_id": driver}]) for driver in (1, 2, 3)]
        return [read.to_dict()["city"] for read in await asyncio.gather(*reads)]

    assert asyncio.run(run()) == [["Oslo"], ["Rome"], [None]]


def test_views_that_go_take_their_tables_along(server: FakeOnline, store: FeatureStore) -> None:
    store.apply([], objects_to_delete=[SALES], partial=False)
    assert server.actions[-1]["update"]["delete"] == ["sales"]
    store.teardown()
    assert sorted(server.actions[-1]["teardown"]["feature_views"]) == ["trips", "weather"]


def test_vectors_that_are_computed_ahead(store: FeatureStore) -> None:
    keys = [EntityKey(join_keys=["driver_id"], entity_values=[Value(int64_val=number)]) for number in (1, 2)]
    own = online(store)
    assert own.read_precomputed_vectors(store.config, "service", "demo", keys) == [None, None]
    own.write_precomputed_vector(store.config, "service", "demo", keys[0], b"\x01")
    assert own.read_precomputed_vectors(store.config, "service", "demo", keys) == [b"\x01", None]


def test_the_servers_options_are_accepted(server: FakeOnline, tmp_path: Path) -> None:
    options = {
        "catalog_type": "sql",
        "catalog_name": "default",
        "uri": "sqlite:///online.db",
        "warehouse": "data",
        "namespace": "online",
        "partition_strategy": "hybrid",
        "partition_count": 16,
        "read_timeout_ms": 50,
        "storage_options": {"s3.region": "x"},
    }
    store_over(server, tmp_path, **options)
    with pytest.raises(ValueError, match="colour"):
        store_over(server, tmp_path, colour="red")
