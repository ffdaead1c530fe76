"""A disk that is full: said so, nothing of the write is there, and the same write goes on when there is room again."""

from __future__ import annotations

import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pytest
from harness.lab import Lab
from harness.online_rows import DEFINITION, START, rows
from pyarrow import flight

ROOM = 64 * 1024
MANY, FEW = 50_000, 3


@pytest.fixture(scope="module")
def lab(start_lab: Callable[..., Lab]) -> Lab:
    """A server that gets errors instead of a signal where a file may not grow."""

    def fill(lab: Lab) -> None:
        lab.process = {"restore_signals": False}
        table = pa.table({"k": [1], "event_timestamp": pa.array([START], pa.timestamp("us", "UTC"))})
        lab.add("batch", ["k"], table)

    return start_lab(fill)


@contextmanager
def full_disk(lab: Lab) -> Iterator[None]:
    """No file of the server grows beyond ROOM, as if the disk were full."""
    endless = resource.RLIM_INFINITY
    resource.prlimit(lab.server.pid, resource.RLIMIT_FSIZE, (ROOM, endless))
    try:
        yield
    finally:
        resource.prlimit(lab.server.pid, resource.RLIMIT_FSIZE, (endless, endless))


def parquet_files(lab: Lab) -> set[Path]:
    """All data files of the warehouse."""
    return set(lab.warehouse.directory.rglob("*.parquet"))


def test_online(lab: Lab) -> None:
    def write(key: str, count: int) -> dict[str, object]:
        return lab.client.write("live", rows(count), definition=DEFINITION, idempotency_key=key)

    first = write("first", FEW)
    before = parquet_files(lab)
    with full_disk(lab):
        with pytest.raises(flight.FlightUnavailableError, match=r"storage is unavailable at `.*parquet`"):
            write("second", MANY)
        assert write("first", FEW)["replayed"] is True
    assert parquet_files(lab) == before
    table = lab.warehouse.catalog.load_table(str(first["table"]))
    assert table.metadata.current_snapshot_id == first["snapshot_id"]
    again = write("second", MANY)
    assert (again["rows"], again["replayed"]) == (MANY, False)


def test_history(lab: Lab) -> None:
    keys = pa.array(range(10**6, 10**6 + MANY), pa.int64())
    batch = pa.table({"k": keys, "event_timestamp": pa.array([START] * MANY, pa.timestamp("us", "UTC"))})
    before = parquet_files(lab)
    with full_disk(lab), pytest.raises(flight.FlightUnavailableError, match="storage is unavailable at"):
        lab.client.write("batch", batch, to="offline")
    assert parquet_files(lab) == before
    lab.client.write("batch", batch, to="offline")
    assert lab.warehouse.catalog.load_table("lab.batch").scan().to_arrow().num_rows == MANY + 1
