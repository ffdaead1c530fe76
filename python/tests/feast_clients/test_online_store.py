"""Murre's online store under real Feast: what it answers is what Feast's SQLite store answers."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import threading
import time
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal as Exact
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
from feast import Entity, FeatureService, FeatureStore, FeatureView, Field, FileSource, PushSource, RequestSource
from feast.data_source import PushMode
from feast.on_demand_feature_view import on_demand_feature_view
from feast.protos.feast.serving.ServingService_pb2 import FieldStatus
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import Value
from feast.type_map import python_values_to_proto_values
from feast.types import (
    Array,
    Bool,
    Bytes,
    Decimal,
    Float32,
    Float64,
    Int32,
    Int64,
    Json,
    Map,
    ScalarMap,
    Set,
    String,
    Struct,
    TimeUuid,
    UnixTimestamp,
    Uuid,
    ZonedTimestamp,
)
from feast.value_type import ValueType
from feast_lab import FeastLab, feast_command
from harness.frames import INSTANT, at
from harness.server import accepts_connections, free_port
from twins import Twins, store_of

from feast_murre import online_channels

DRIVER = Entity(name="driver", join_keys=["driver_id"], value_type=ValueType.INT64)
CITY = Entity(name="city", join_keys=["city_name"], value_type=ValueType.STRING)
SOURCE = FileSource(name="nowhere", path="nowhere.parquet", timestamp_field="event_timestamp")
KEY = Field(name="driver_id", dtype=Int64)
ID = uuid.UUID("0000000c-0000-1000-8000-000000000001")
ZONED = datetime(2026, 1, 2, 3, tzinfo=UTC)

TYPES: dict[str, tuple[Any, list[Any]]] = {
    "bytes": (Bytes, [b"\x00\xff", b"", None]),
    "string": (String, ["ø", "", None]),
    "bool": (Bool, [True, False, None]),
    "int32": (Int32, [-(2**31), 0, None]),
    "int64": (Int64, [2**63 - 1, 0, None]),
    "float32": (Float32, [0.5, 0.0, None]),
    "float64": (Float64, [0.1, 0.0, None]),
    "instant": (UnixTimestamp, [at(), datetime(1960, 1, 1, tzinfo=UTC), None]),
    "json": (Json, ['{"a": [1]}', "null", None]),
    "uuid": (Uuid, [ID, ID, None]),
    "time_uuid": (TimeUuid, [ID, ID, None]),
    "decimal": (Decimal, [Exact("1.10"), Exact("-0"), None]),
    "map": (Map, [{"a": 1, "b": "x"}, {}, None]),
    "struct": (Struct({"a": Int64, "b": String}), [{"a": 1, "b": "x"}, {"a": 2, "b": ""}, None]),
    "scalar_map": (ScalarMap, [{1: "x", 2: "y"}, {}, None]),
    "zoned": (ZonedTimestamp, [ZONED, ZONED, None]),
    "nested": (Array(Array(Int64)), [[[1, 2], []], [], None]),
    "bytes_list": (Array(Bytes), [[b"a", b""], [], None]),
    "string_list": (Array(String), [["a", ""], [], None]),
    "bool_list": (Array(Bool), [[True, False], [], None]),
    "int32_list": (Array(Int32), [[1, -1], [], None]),
    "int64_list": (Array(Int64), [[1, -(2**63)], [], None]),
    "float32_list": (Array(Float32), [[0.5], [], None]),
    "float64_list": (Array(Float64), [[0.1, float("inf")], [], None]),
    "instant_list": (Array(UnixTimestamp), [[at()], [], None]),
    "json_list": (Array(Json), [['{"a": 1}'], [], None]),
    "uuid_list": (Array(Uuid), [[ID], [], None]),
    "decimal_list": (Array(Decimal), [[Exact("1.5")], [], None]),
    "map_list": (Array(Map), [[{"a": 1}], [], None]),
    "struct_list": (Array(Struct({"a": Int64})), [[{"a": 1}], [], None]),
    "string_set": (Set(String), [{"a"}, set(), None]),
    "int64_set": (Set(Int64), [{1}, set(), None]),
    "bytes_set": (Set(Bytes), [{b"a"}, set(), None]),
    "float64_set": (Set(Float64), [{0.5}, set(), None]),
    "bool_set": (Set(Bool), [{True}, set(), None]),
    "instant_set": (Set(UnixTimestamp), [{at()}, set(), None]),
    "uuid_set": (Set(Uuid), [{ID}, set(), None]),
    "decimal_set": (Set(Decimal), [{Exact("1.5")}, set(), None]),
}


def view(name: str, *fields: Field, entities: tuple[Entity, ...] = (DRIVER,), **options: Any) -> FeatureView:
    keys = {"driver": KEY, "city": Field(name="city_name", dtype=String)}
    own = [keys[entity.name] for entity in entities if entity.name in keys]
    settings = {"source": SOURCE, "ttl": timedelta(days=36500), **options}
    return FeatureView(name=name, entities=list(entities), schema=[*fields, *own], **settings)


FARE = Field(name="fare", dtype=Float64)
TRIPS = Field(name="trips", dtype=Int64)
STATS = view("stats", FARE, TRIPS)


def stats(*rows: tuple[int, float | None, int | None], when: datetime | None = None) -> pd.DataFrame:
    frame = pd.DataFrame(list(rows), columns=["driver_id", "fare", "trips"])
    return frame.astype({"trips": "Int64"}).assign(event_timestamp=when or at())


def drivers(*numbers: int | None) -> list[dict[str, Any]]:
    return [{"driver_id": number} for number in numbers]


@pytest.fixture(scope="module")
def lab(new_lab: Callable[..., FeastLab]) -> Iterator[FeastLab]:
    yield new_lab(online_store={}).start()
    online_channels.close_all()


@pytest.fixture
def project() -> str:
    return f"p{uuid.uuid4().hex[:8]}"


@pytest.fixture
def twins(lab: FeastLab, tmp_path: Path, project: str) -> Twins:
    return Twins(lab, tmp_path, project)


def test_rows_duplicates_unknowns_and_nulls_in_the_order_of_the_request(twins: Twins) -> None:
    twins.apply(DRIVER, STATS).write("stats", stats((1, 1.5, 10), (2, None, None), (3, 3.5, 30)))
    found = twins.same(["stats:fare", "stats:trips"], drivers(3, 9, 1, 2, 3, 9))
    assert found["fare"] == [3.5, None, 1.5, None, 3.5, None]
    assert found["trips"] == [30, None, 10, None, 30, None]
    twins.same(["stats:trips"], {"driver_id": [1]}, full_feature_names=True)
    twins.same(["stats:fare"], drivers(1), include_feature_view_version_metadata=True)


def test_all_types(twins: Twins) -> None:
    fields = [Field(name=name, dtype=dtype) for name, (dtype, _) in TYPES.items()]
    types = view("types", *fields)
    columns = {
        name: python_values_to_proto_values(values, dtype.to_value_type()) for name, (dtype, values) in TYPES.items()
    }
    twins.apply(DRIVER, types)
    for store in twins.both:
        rows = [
            (
                EntityKey(join_keys=["driver_id"], entity_values=[Value(int64_val=row)]),
                {name: values[row] for name, values in columns.items()},
                at(),
                at(minutes=1),
            )
            for row in range(3)
        ]
        store._get_provider().online_write_batch(store.config, types, rows, None)
    twins.same([f"types:{name}" for name in TYPES], drivers(0, 1, 2, 3))
    for name, (_, values) in TYPES.items():
        twins.same([f"types:{name}"], drivers(*range(len(values))))


def test_the_latest_event_wins_whenever_it_was_written(twins: Twins) -> None:
    twins.apply(DRIVER, STATS)
    twins.write("stats", stats((1, 1.0, 1))).write("stats", stats((1, 2.0, 2), when=at(hours=1)))
    assert twins.same(["stats:fare"], drivers(1))["fare"] == [2.0]
    # Of equal times the later write wins; a late old row does not, unlike in SQLite.
    twins.write("stats", stats((1, 3.0, 3), when=at(hours=1)))
    assert twins.same(["stats:fare"], drivers(1))["fare"] == [3.0]
    twins.murre.write_to_online_store("stats", stats((1, 4.0, 4), when=at(hours=-1)))
    assert twins.same(["stats:fare"], drivers(1))["fare"] == [3.0]


def write_weather(twins: Twins) -> None:
    """Write as materialization does."""
    key = EntityKey(join_keys=["__dummy_id"], entity_values=[Value(string_val="")])
    for store in twins.both:
        table = store.registry.get_feature_view("weather", store.project)
        store._get_provider().online_write_batch(
            store.config, table, [(key, {"wind": Value(double_val=2.5)}, at(), None)], None
        )


def test_views_of_other_keys_and_of_none_in_one_request(twins: Twins) -> None:
    towns = view("towns", Field(name="size", dtype=Int32), entities=(CITY,))
    pairs = view("pairs", Field(name="rides", dtype=Int64), entities=(DRIVER, CITY))
    weather = view("weather", Field(name="wind", dtype=Float64), entities=())
    twins.apply(DRIVER, CITY, STATS, towns, pairs, weather)
    now = {"event_timestamp": [at()]}
    twins.write("stats", stats((1, 1.5, 10)))
    twins.write("towns", pd.DataFrame({"city_name": ["Oslo"], "size": [7], **now}))
    twins.write("pairs", pd.DataFrame({"driver_id": [1], "city_name": ["Oslo"], "rides": [3], **now}))
    write_weather(twins)
    rows = [{"driver_id": number, "city_name": name} for number in (1, 2) for name in ("Oslo", "Rome")]
    found = twins.same(["stats:fare", "towns:size", "pairs:rides", "weather:wind"], rows)
    assert found["rides"] == [3, None, None, None]
    assert found["wind"] == [2.5] * 4
    twins.same(["weather:wind", "stats:trips"], rows, full_feature_names=True)
    # Half of a composite key is another key, which no row has.
    assert twins.same(["pairs:rides"], drivers(1))["rides"] == [None]


def test_entity_less_views_alone(twins: Twins) -> None:
    twins.apply(view("weather", Field(name="wind", dtype=Float64), entities=()))
    write_weather(twins)
    assert twins.same(["weather:wind"], [{"any": 1}, {"any": 2}])["wind"] == [2.5, 2.5]
    # Feast writes dataframes of such views under a key that its own stores do not find.
    frame = pd.DataFrame({"wind": [3.5], "event_timestamp": [at(hours=1)]})
    twins.murre.write_to_online_store("weather", frame)
    assert twins.murre.get_online_features(["weather:wind"], [{"any": 1}]).to_dict()["wind"] == [3.5]


@pytest.mark.parametrize(
    ("dtype", "values"),
    [
        (String, ["a", "", "ø"]),
        (Int32, [1, -1, 2**31 - 1]),
        (Int64, [1, -1, 2**53 + 1]),
        (Bytes, [b"a", b"\x00", b"\xff\xfe"]),
        (UnixTimestamp, [at(), at(days=-1), at(days=1)]),
    ],
    ids=str,
)
def test_keys_of_every_type(twins: Twins, dtype: Any, values: list[Any]) -> None:
    thing = Entity(name="thing", join_keys=["thing_id"], value_type=dtype.to_value_type())
    things = FeatureView(
        name="things",
        entities=[thing],
        schema=[TRIPS, Field(name="thing_id", dtype=dtype)],
        source=SOURCE,
        ttl=timedelta(days=36500),
    )
    twins.apply(thing, things)
    for store in twins.both:
        keys = python_values_to_proto_values(values, dtype.to_value_type())
        rows = [
            (EntityKey(join_keys=["thing_id"], entity_values=[key]), {"trips": Value(int64_val=row)}, at(), None)
            for row, key in enumerate(keys[:2])
        ]
        store._get_provider().online_write_batch(store.config, things, rows, None)
    found = twins.same(["things:trips"], {"thing_id": [values[1], values[2], values[0]]})
    assert found["trips"] == [1, None, 0]


def test_services_aliases_and_join_key_maps(twins: Twins) -> None:
    service = FeatureService(
        name="both_ends",
        features=[
            STATS[["fare"]].with_name("origin").with_join_key_map({"driver_id": "from_id"}),
            STATS[["fare", "trips"]].with_name("destination").with_join_key_map({"driver_id": "to_id"}),
        ],
    )
    plain = FeatureService(name="plain", features=[STATS])
    twins.apply(DRIVER, STATS, service, plain).write("stats", stats((1, 1.5, 10), (2, 2.5, 20)))
    found = twins.same("both_ends", {"from_id": [1, 2, 9], "to_id": [2, 9, 1]}, full_feature_names=True)
    assert found["origin__fare"] == [1.5, 2.5, None]
    assert found["destination__fare"] == [2.5, None, 1.5]
    assert twins.same("plain", drivers(2))["trips"] == [20]


def test_on_demand_views_see_what_was_read(twins: Twins) -> None:
    request = RequestSource(name="request", schema=[Field(name="bonus", dtype=Float64)])

    @on_demand_feature_view(sources=[STATS, request], schema=[Field(name="total", dtype=Float64)])
    def totals(rows: pd.DataFrame) -> pd.DataFrame:
        """Add up."""
        return pd.DataFrame({"total": rows["fare"] + rows["bonus"]})

    service = FeatureService(name="totals_service", features=[STATS[["trips"]], totals])
    twins.apply(DRIVER, STATS, totals, service).write("stats", stats((1, 1.5, 10), (2, 2.5, 20)))
    rows = [{"driver_id": 1, "bonus": 0.25}, {"driver_id": 2, "bonus": 1.0}]
    assert twins.same(["totals:total", "stats:trips"], rows)["total"] == [1.75, 3.5]
    twins.same("totals_service", rows, full_feature_names=True)


def test_on_demand_views_that_are_written(twins: Twins) -> None:
    @on_demand_feature_view(
        entities=[DRIVER], sources=[STATS], schema=[Field(name="twice", dtype=Float64)], write_to_online_store=True
    )
    def doubled(rows: pd.DataFrame) -> pd.DataFrame:
        """Double."""
        return pd.DataFrame({"twice": rows["fare"] * 2})

    twins.apply(DRIVER, STATS, doubled)
    frame = pd.DataFrame({"driver_id": [1], "twice": [3.0], "event_timestamp": [at()]})
    for store in twins.both:
        store.write_to_online_store("doubled", frame.copy(), transform_on_write=False)
        assert store.get_online_features(["doubled:twice"], drivers(1, 2)).to_dict()["twice"] == [3.0, None]


def test_a_server_that_knows_the_on_demand_view_reads_it(lab: FeastLab) -> None:
    @on_demand_feature_view(
        entities=[DRIVER], sources=[STATS], schema=[Field(name="thrice", dtype=Float64)], write_to_online_store=True
    )
    def tripled(rows: pd.DataFrame) -> pd.DataFrame:
        """Triple."""
        return pd.DataFrame({"thrice": rows["fare"] * 3})

    lab.store.apply([DRIVER, STATS, tripled])
    frame = pd.DataFrame({"driver_id": [1], "thrice": [4.5], "event_timestamp": [at()]})
    lab.store.write_to_online_store("tripled", frame, transform_on_write=False)
    for _ in range(2):
        assert lab.store.get_online_features(["tripled:thrice"], drivers(1, 2)).to_dict()["thrice"] == [4.5, None]
        entities = pd.DataFrame({"driver_id": [1], "event_timestamp": [at()]})
        with pytest.raises(Exception, match="nowhere"):
            # The server has a look at the definitions, if it had not yet.
            lab.store.get_historical_features(entities, ["stats:fare"]).to_df()


def test_ttl_counts_only_where_that_is_asked_for(lab: FeastLab, twins: Twins, tmp_path: Path, project: str) -> None:
    short = view("short", FARE, TRIPS, ttl=timedelta(hours=1))
    twins.apply(DRIVER, short, STATS)
    now = datetime.now(UTC)
    frame = pd.concat([stats((1, 1.5, 10), when=now), stats((2, 2.5, 20), when=now - timedelta(hours=2))])
    twins.write("short", frame).write("stats", frame)
    assert twins.same(["short:fare"], drivers(1, 2, 3))["fare"] == [1.5, 2.5, None]
    strict = store_of(tmp_path, "murre", lab.online_options(enforce_ttl=True), project)
    found = strict.get_online_features(["short:fare", "stats:trips"], drivers(1, 2, 3))
    assert found.to_dict() == {"driver_id": [1, 2, 3], "fare": [1.5, None, None], "trips": [10, 20, None]}
    by_name = dict(zip(found.proto.metadata.feature_names.val, found.proto.results, strict=True))
    present, outside, missing = FieldStatus.PRESENT, FieldStatus.OUTSIDE_MAX_AGE, FieldStatus.NOT_FOUND
    assert list(by_name["fare"].statuses) == [present, outside, missing]
    assert list(by_name["trips"].statuses) == [present, present, missing]


def test_views_change_and_go(twins: Twins) -> None:
    twins.apply(DRIVER, STATS).write("stats", stats((1, 1.5, 10)))
    assert twins.same(["stats:fare"], drivers(1))["fare"] == [1.5]
    wider = view("stats", FARE, TRIPS, Field(name="name", dtype=String))
    twins.apply(DRIVER, wider)
    for store in twins.both:
        assert store.get_online_features(["stats:name"], drivers(1)).to_dict()["name"] == [None]
    twins.write("stats", stats((2, 2.5, 20)).assign(name="Ann"))
    assert twins.same(["stats:fare", "stats:name"], drivers(2))["name"] == ["Ann"]
    twins.apply(objects_to_delete=[wider], partial=False)
    twins.apply(DRIVER, STATS)
    assert twins.same(["stats:fare"], drivers(1, 2))["fare"] == [None, None]
    twins.write("stats", stats((1, 7.5, 70)))
    assert twins.same(["stats:fare"], drivers(1))["fare"] == [7.5]
    twins.murre.teardown()
    with pytest.raises(Exception, match="stats"):
        twins.murre.get_online_features(["stats:fare"], drivers(1))


def test_projects_do_not_mix(lab: FeastLab, tmp_path: Path, project: str) -> None:
    stores = [store_of(tmp_path, name, lab.online_options(), f"{project}{name}") for name in ("a", "b")]
    for number, store in enumerate(stores):
        store.apply([DRIVER, STATS])
        store.write_to_online_store("stats", stats((1, float(number), number)))
    read = [store.get_online_features(["stats:trips"], drivers(1)).to_dict()["trips"] for store in stores]
    assert read == [[0], [1]]
    stores[0].teardown()
    assert stores[1].get_online_features(["stats:trips"], drivers(1)).to_dict()["trips"] == [1]


def test_views_that_were_never_applied_can_be_written(lab: FeastLab, tmp_path: Path, project: str) -> None:
    store = store_of(tmp_path, "murre", lab.online_options(), project)
    online = store._get_provider().online_store
    key = EntityKey(join_keys=["driver_id"], entity_values=[Value(int64_val=1)])
    assert online.read_precomputed_vectors(store.config, "drivers", project, [key]) == [None]
    online.write_precomputed_vector(store.config, "drivers", project, key, b"\x01\x02")
    other = EntityKey(join_keys=["driver_id"], entity_values=[Value(int64_val=2)])
    found = online.read_precomputed_vectors(store.config, "drivers", project, [key, other])
    assert found == [b"\x01\x02", None]


def test_versions_of_a_view(lab: FeastLab, tmp_path: Path, project: str) -> None:
    twins = Twins(lab, tmp_path, project, enable_online_feature_view_versioning=True)
    twins.apply(DRIVER, STATS).write("stats", stats((1, 1.5, 10)))
    twins.apply(view("stats", FARE, TRIPS, Field(name="name", dtype=String)))
    twins.write("stats", stats((1, 2.5, 20)).assign(name="Ann"))
    refs = ["stats@v0:fare", "stats@v1:fare"]
    found = twins.same(refs, drivers(1, 2), full_feature_names=True, include_feature_view_version_metadata=True)
    assert sorted(value[0] for name, value in found.items() if name.endswith("fare")) == [1.5, 2.5]
    assert twins.same(["stats:name"], drivers(1))["name"] == ["Ann"]


def test_threads(twins: Twins) -> None:
    twins.apply(DRIVER, STATS).write("stats", stats(*((number, float(number), number) for number in range(200))))
    wrong: list[Any] = []

    def read(own: int) -> None:
        for number in range(25):
            asked = [(own * 31 + number) % 250, own]
            found = twins.murre.get_online_features(["stats:trips"], drivers(*asked)).to_dict()["trips"]
            if found != [key if key < 200 else None for key in asked]:
                wrong.append((asked, found))

    threads = [threading.Thread(target=read, args=(own,)) for own in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_coroutines(twins: Twins) -> None:
    twins.apply(DRIVER, STATS)

    async def run() -> list[Any]:
        await twins.murre.initialize()
        await twins.murre.write_to_online_store_async("stats", stats((1, 1.5, 10), (2, 2.5, 20)))
        reads = [twins.murre.get_online_features_async(["stats:trips"], drivers(number)) for number in (1, 2, 3)]
        found = [read.to_dict()["trips"] for read in await asyncio.gather(*reads)]
        await twins.murre.close()
        return found

    assert asyncio.run(run()) == [[10], [20], [None]]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_both_sides_of_a_fork_go_on(twins: Twins) -> None:
    twins.apply(DRIVER, STATS).write("stats", stats((1, 1.5, 10)))

    def trips() -> list[Any]:
        return twins.murre.get_online_features(["stats:trips"], drivers(1)).to_dict()["trips"]

    assert trips() == [10]
    child = os.fork()
    if child == 0:
        signal.alarm(30)
        found = False
        try:
            found = trips() == [10]
        finally:
            os._exit(0 if found else 1)
    assert trips() == [10]
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_a_server_that_comes_back_is_found_again(lab: FeastLab, twins: Twins) -> None:
    twins.apply(DRIVER, STATS).write("stats", stats((1, 1.5, 10)))
    assert twins.same(["stats:fare"], drivers(1))["fare"] == [1.5]
    lab.restart()
    assert twins.same(["stats:fare"], drivers(1))["fare"] == [1.5]
    twins.write("stats", stats((1, 2.5, 10)))
    lab.restart()
    twins.write("stats", stats((1, 3.5, 10)))
    assert twins.same(["stats:fare"], drivers(1, 2))["fare"] == [3.5, None]


def test_what_was_written_is_read_at_once(twins: Twins) -> None:
    twins.apply(DRIVER, STATS, view("other", TRIPS))
    for number in range(5):
        twins.write("stats", stats((number, 1.5, number))).write(
            "other", stats((number, 0.0, -number)).drop(columns="fare")
        )
        twins.same(["stats:trips"], drivers(*range(6)))
        twins.same(["other:trips", "stats:fare"], drivers(*range(6)))


def test_many_keys(twins: Twins) -> None:
    twins.apply(DRIVER, STATS).write("stats", stats(*((number, number / 2, number) for number in range(3000))))
    asked = [(number * 7919) % 3500 for number in range(12_000)]
    found = twins.murre.get_online_features(["stats:fare", "stats:trips"], {"driver_id": asked}).to_dict()
    assert found["trips"] == [number if number < 3000 else None for number in asked]
    twins.same(["stats:fare"], {"driver_id": asked[:500]})


@pytest.fixture
def new_http(lab: FeastLab) -> Iterator[Callable[[FeatureStore], Any]]:
    """`feast serve` of a store's repository; the function that posts to it."""
    processes: list[subprocess.Popen[bytes]] = []

    def start(store: FeatureStore) -> Callable[[str, Any], Any]:
        port = free_port()
        command = [*feast_command(), "-c", str(store.repo_path), "serve", "-h", "127.0.0.1", "-p", str(port)]
        with (lab.directory / "feast_serve.log").open("ab") as log:
            processes.append(subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT))
        deadline = time.monotonic() + 120
        while not accepts_connections(port):
            assert time.monotonic() < deadline
            assert processes[-1].poll() is None
            time.sleep(0.1)

        def post(path: str, body: Any) -> Any:
            data = json.dumps(body).encode()
            headers = {"Content-Type": "application/json"}
            request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", data, headers)
            with urllib.request.urlopen(request, timeout=60) as answer:
                return json.loads(answer.read() or "null")

        return post

    yield start
    for process in processes:
        process.terminate()
        process.wait(30)


def materializable(lab: FeastLab, name: str) -> tuple[FeatureView, PushSource]:
    rows = pa.table(
        {
            "driver_id": pa.array([1, 1, 2, 3], pa.int64()),
            "event_timestamp": pa.array([at(hours=-3), at(hours=-1), at(hours=-2), at(hours=3)], INSTANT),
            "fare": pa.array([1.0, 1.5, 2.5, 3.5], pa.float64()),
            "trips": pa.array([1, 10, None, 30], pa.int64()),
        }
    )
    source = lab.iceberg(f"{name}_source", rows, timestamp_field="event_timestamp")
    push = PushSource(name=f"{name}_push", batch_source=source)
    return view(name, FARE, TRIPS, source=push), push


def test_from_murre_offline_to_murre_online(lab: FeastLab) -> None:
    rides, push = materializable(lab, "rides")
    store = lab.store
    store.apply([DRIVER, rides, push])
    store.materialize(at(hours=-4), at(), feature_views=["rides"])

    def read(*numbers: int) -> list[Any]:
        found = store.get_online_features(["rides:fare", "rides:trips"], drivers(*numbers)).to_dict()
        return list(zip(found["fare"], found["trips"], strict=True))

    assert read(1, 2, 3) == [(1.5, 10), (2.5, None), (None, None)]
    store.materialize_incremental(at(hours=4), feature_views=["rides"])
    assert read(1, 2, 3) == [(1.5, 10), (2.5, None), (3.5, 30)]
    store.push("rides_push", stats((2, 9.5, 90), when=at(hours=5)), to=PushMode.ONLINE_AND_OFFLINE)
    assert read(2) == [(9.5, 90)]
    entities = pd.DataFrame({"driver_id": [2], "event_timestamp": [at(hours=6)]})
    assert store.get_historical_features(entities, ["rides:trips"]).to_df()["trips"].tolist() == [90]


def test_materialization_of_more_rows_than_a_batch(lab: FeastLab) -> None:
    count = 20_000
    rows = pa.table(
        {
            "driver_id": pa.array(range(count), pa.int64()),
            "event_timestamp": pa.array([at(hours=-1)] * count, INSTANT),
            "trips": pa.array(range(count), pa.int64()),
        }
    )
    source = lab.iceberg("crowd_source", rows, timestamp_field="event_timestamp")
    lab.store.apply([DRIVER, view("crowd", TRIPS, source=source)])
    lab.store.materialize(at(hours=-4), at(), feature_views=["crowd"])
    found = lab.store.get_online_features(["crowd:trips"], {"driver_id": list(range(count))}).to_dict()
    assert found["trips"] == list(range(count))


def test_feasts_own_server_over_it(lab: FeastLab, new_http: Callable[[FeatureStore], Any]) -> None:
    served = view("served", FARE, TRIPS)
    lab.store.apply([DRIVER, served])
    lab.store.write_to_online_store("served", stats((1, 1.5, 10), (2, None, 20)))
    answer = new_http(lab.store)
    request = {"features": ["served:fare", "served:trips"], "entities": {"driver_id": [2, 1, 3]}}
    found = answer("/get-online-features", request)
    names = found["metadata"]["feature_names"]
    by_name = dict(zip(names, found["results"], strict=True))
    assert by_name["trips"]["values"] == [20, 10, None]
    assert by_name["fare"]["statuses"] == ["PRESENT", "PRESENT", "NOT_FOUND"]
    row = {"driver_id": [3], "fare": [3.5], "trips": [30], "event_timestamp": [at().isoformat()]}
    answer("/write-to-online-store", {"feature_view_name": "served", "df": row})
    found = answer("/get-online-features", request)
    assert dict(zip(names, found["results"], strict=True))["trips"]["values"] == [20, 10, 30]
