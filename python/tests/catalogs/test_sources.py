"""Batch sources in every catalog: point-in-time joins over tables of pyiceberg, and offline writes into them."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.flight as flight
import pytest
from harness.frames import at, drivers
from harness.lab import Lab
from harness.polling import eventually
from harness.reference import naive_join, rows_of
from harness.warehouse import rows_by_partition
from pyiceberg.schema import Schema
from pyiceberg.table import Table
from pyiceberg.transforms import BucketTransform, DayTransform
from pyiceberg.types import DoubleType, LongType, NestedField, TimestamptzType

KEY = ["driver_id"]
TYPES = {"rate": pa.float64(), "trips": pa.int64()}
DEFINITION = {
    "join_keys": [{"name": "driver_id", "type": "INT64"}],
    "features": [{"name": "rate", "type": "DOUBLE"}, {"name": "trips", "type": "INT64"}],
}
LAYOUTS = {
    "bucketed": {"driver_id": BucketTransform(4)},
    "daily": {"event_timestamp": DayTransform()},
    "flat": {},
}
FRAME = drivers(*((key, at(hours=hour)) for key in range(12) for hour in range(-3, 60, 7)))


def stats(first: int, last: int, hour: int = 0) -> pa.Table:
    """One row for each driver, an hour after the driver before."""
    return drivers(*((key, at(hours=hour + key), key / 4, key * 10) for key in range(first, last)), extra=TYPES)


@pytest.fixture(scope="module")
def lab(start_over: Callable[..., Lab], project: str) -> Lab:
    """Tables of pyiceberg in several layouts, and views over tables that are yet to be made."""

    def fill(lab: Lab) -> None:
        for name, layout in LAYOUTS.items():
            table = f"{project}.{name}"
            lab.warehouse.write(table, stats(0, 10), stats(3, 8, 24), partition_by=layout)
            lab.definitions.view(name, table, KEY)
        for name in ("dropped", "crowded"):
            lab.warehouse.write(f"{project}.{name}", stats(0, 2))
            lab.definitions.view(name, f"{project}.{name}", KEY)
        for name in ("missing", "written"):
            lab.definitions.view(name, f"{project}.{name}", KEY)
        lab.definitions.view("nested", f"{project}.inner.deep.stats", KEY)

    return start_over(fill, online={"read_timeout_ms": 60_000})


def stored(lab: Lab, name: str) -> Table:
    return lab.warehouse.catalog.load_table(f"{lab.definitions.project}.{name}")


def check_join(lab: Lab, view: str, table: str | None = None) -> None:
    """The server's join over a table is that of obvious Python over what pyiceberg reads."""
    source = stored(lab, table or view).scan().to_arrow()
    joined = lab.client.historical(FRAME, [f"{view}:rate", f"{view}:trips"])
    assert rows_of(joined) == naive_join(FRAME, source, KEY, ["rate", "trips"])


def write(lab: Lab, view: str, rows: pa.Table, **options: Any) -> dict[str, Any]:
    return lab.client.write(view, rows, to="offline", **options)


@pytest.mark.parametrize("view", ["bucketed", "daily", "flat"])
def test_tables_of_pyiceberg_are_joined_and_appended_to(lab: Lab, view: str) -> None:
    check_join(lab, view)
    before = len(stored(lab, view).scan().to_arrow())
    assert write(lab, view, stats(0, 12, 48))["rows"] == 12
    assert len(stored(lab, view).scan().to_arrow()) == before + 12
    check_join(lab, view)


def test_buckets_of_appended_files_are_those_of_pyiceberg(lab: Lab) -> None:
    write(lab, "bucketed", stats(0, 40, 96))
    bucket = BucketTransform(4).transform(LongType())
    parts = rows_by_partition(stored(lab, "bucketed"))
    assert sorted(parts) == [0, 1, 2, 3]
    for value, part in parts.items():
        assert {bucket(key) for key in part["driver_id"].to_pylist()} == {value}
    wanted = stored(lab, "bucketed").scan(row_filter="driver_id = 17").to_arrow()
    assert wanted["trips"].to_pylist() == [170]


def test_the_first_offline_write_creates_the_table(lab: Lab) -> None:
    with pytest.raises(KeyError, match="written"):
        lab.client.historical(FRAME, ["written:rate"])
    assert write(lab, "written", stats(0, 5), definition=DEFINITION)["rows"] == 5
    assert len(stored(lab, "written").scan().to_arrow()) == 5
    check_join(lab, "written")


def test_an_offline_write_is_not_repeated(lab: Lab) -> None:
    first = write(lab, "crowded", stats(50, 53), idempotency_key="once")
    again = write(lab, "crowded", stats(50, 53), idempotency_key="once")
    assert (first["replayed"], again["replayed"]) == (False, True)
    assert first["snapshot_id"] == again["snapshot_id"] == stored(lab, "crowded").metadata.current_snapshot_id
    found = stored(lab, "crowded").scan(row_filter="driver_id >= 50 and driver_id < 53").to_arrow()
    assert sorted(found["driver_id"].to_pylist()) == [50, 51, 52]


def test_concurrent_offline_writes_are_all_kept(lab: Lab) -> None:
    with ThreadPoolExecutor(6) as threads:
        list(threads.map(lambda key: write(lab, "crowded", stats(key, key + 1)), range(100, 130)))
    kept = stored(lab, "crowded").scan(row_filter="driver_id >= 100").to_arrow()
    assert sorted(kept["driver_id"].to_pylist()) == list(range(100, 130))


def test_schemas_evolve_under_the_view(lab: Lab) -> None:
    name = f"{lab.definitions.project}.evolving"
    narrow = Schema(
        NestedField(1, "driver_id", LongType()),
        NestedField(2, "event_timestamp", TimestamptzType()),
        NestedField(3, "rate", DoubleType()),
    )
    table = lab.warehouse.create(name, narrow)
    table.append(stats(0, 4).drop_columns(["trips"]))
    with table.update_schema() as update:
        update.add_column("trips", LongType())
    table.append(stats(4, 8))
    lab.definitions.view("evolving", name, KEY)
    lab.publish()
    eventually(lambda: "evolving" in views(lab))
    check_join(lab, "evolving")
    old = table.scan(snapshot_id=table.history()[0].snapshot_id).to_arrow()
    assert (old.column_names, len(old)) == (["driver_id", "event_timestamp", "rate"], 4)


def views(lab: Lab) -> str:
    """Which views the server knows, by its answer to a request for one of them."""
    try:
        lab.client.historical(FRAME, ["evolving:rate"])
    except KeyError:
        return ""
    return "evolving"


def test_nested_namespaces(lab: Lab, kind: str) -> None:
    if kind == "glue":
        with pytest.raises((pa.ArrowInvalid, KeyError), match=r"(?i)glue.*namespace|namespace.*glue|nested"):
            write(lab, "nested", stats(0, 5), definition=DEFINITION)
        return
    write(lab, "nested", stats(0, 5), definition=DEFINITION)
    assert len(stored(lab, "inner.deep.stats").scan().to_arrow()) == 5
    check_join(lab, "nested", "inner.deep.stats")
    inner = (lab.definitions.project, "inner", "deep")
    assert lab.warehouse.catalog.list_tables(inner) == [(*inner, "stats")]


def test_a_missing_table_is_not_found_by_its_name(lab: Lab) -> None:
    with pytest.raises(KeyError, match=rf"{lab.definitions.project}\.missing"):
        lab.client.historical(FRAME, ["missing:rate"])


def test_a_dropped_table_is_not_found(lab: Lab) -> None:
    check_join(lab, "dropped")
    lab.warehouse.catalog.drop_table(f"{lab.definitions.project}.dropped")
    with pytest.raises(KeyError, match=rf"{lab.definitions.project}\.dropped"):
        lab.client.historical(FRAME, ["dropped:rate"])


def test_a_planned_flight_keeps_its_snapshot(lab: Lab) -> None:
    upload = lab.client.upload(FRAME)
    request = {"historical": {"features": ["flat:trips"], "entity": {"upload": upload["upload"]}}}
    planned = lab.client.info(request)
    before = lab.client.get_info(planned)
    stored(lab, "flat").append(stats(0, 12, -1).set_column(3, "trips", pc.multiply(stats(0, 12)["trips"], -1)))
    assert lab.client.get_info(planned) == before
    assert lab.client.get(request) != before


def test_a_source_that_cannot_take_the_rows_says_so(lab: Lab) -> None:
    text = stats(0, 2).set_column(3, "trips", pa.array(["a", "b"]))
    before = stored(lab, "flat").metadata.current_snapshot_id
    with pytest.raises((pa.ArrowInvalid, flight.FlightServerError), match="trips"):
        write(lab, "flat", text)
    assert stored(lab, "flat").metadata.current_snapshot_id == before
