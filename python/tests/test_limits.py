"""Requests that need more memory than there is are joined in slices; requests that nobody has room for are refused."""

from __future__ import annotations

import json
import time
from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pyarrow.flight as flight
import pytest
from harness.client import historical_request
from harness.frames import INSTANT, at
from harness.lab import Lab

KEYS = 5000
REFS = ["driver_stats:conv_rate", "driver_stats:name"]


def instants(rng: np.random.Generator, rows: int, hours: int) -> pa.Array:
    """Random times before now."""
    now = int(at().timestamp()) * 1_000_000
    return pa.array(now - rng.integers(0, hours * 3_600_000_000, rows)).cast(INSTANT)


def fill(lab: Lab) -> None:
    """One view with ten rows of history per key."""
    rng = np.random.default_rng(3)
    rows = KEYS * 10
    names = pa.array([f"driver number {number:030d}" for number in rng.integers(0, 1 << 40, rows)])
    columns = {
        "driver_id": pa.array(rng.integers(0, KEYS, rows)),
        "event_timestamp": instants(rng, rows, 48),
        "conv_rate": pa.array(rng.random(rows)),
        "name": names,
    }
    lab.add("driver_stats", ["driver_id"], pa.table(columns))


def frame(rows: int) -> pa.Table:
    """Random keys, some of them unknown, at random times."""
    rng = np.random.default_rng(5)
    return pa.table(
        {"driver_id": pa.array(rng.integers(0, KEYS + 100, rows)), "event_timestamp": instants(rng, rows, 30)}
    )


def test_more_memory_than_allowed_takes_slices(start_lab: Callable[..., Lab]) -> None:
    wide = start_lab(fill).client.historical(frame(300_000), REFS)
    narrow = start_lab(fill, engine={"memory_limit": "16MiB"}, tables={"column_cache": "0B"})
    assert narrow.client.historical(frame(300_000), REFS).equals(wide)
    assert wide["name"].null_count < 100_000
    request = historical_request(REFS, {"upload": narrow.client.upload(frame(300_000))["upload"]})
    report = narrow.client.explain(request)
    scanned = int(report.partition(" scanned")[0].rpartition(" ")[2])
    assert scanned >= 2 * KEYS * 10, report


def test_repeated_requests_read_from_memory(start_lab: Callable[..., Lab]) -> None:
    client = start_lab(fill).client
    request = historical_request(REFS, {"upload": client.upload(frame(1000))["upload"]})
    first = client.get(request)
    client.get(request)
    assert client.get(request).equals(first)
    assert "bytes read: 0\n" in client.explain(request)


def test_one_request_too_many_is_told_to_come_back(start_lab: Callable[..., Lab]) -> None:
    client = start_lab(fill, engine={"max_running": 1, "max_waiting": 0}).client
    upload = client.upload(frame(1_000_000))["upload"]
    request = historical_request(REFS, {"upload": upload})
    small = historical_request(REFS, {"upload": client.upload(frame(10))["upload"]})
    unread = client.flight.do_get(flight.Ticket(json.dumps(request).encode()))
    assert unread.read_chunk().data.num_rows > 0
    with pytest.raises((pa.ArrowException, flight.FlightError), match=r"busy.*retry in 30s"):
        client.get(small)
    unread.cancel()
    assert patiently(lambda: client.get(small)).num_rows == 10


def patiently(ask: Callable[[], pa.Table]) -> pa.Table:
    """Ask until there is room: the server notices a cancelled call a moment later."""
    deadline = time.monotonic() + 60
    while True:
        try:
            return ask()
        except (pa.ArrowException, flight.FlightError):
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
