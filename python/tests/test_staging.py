"""Uploads have a budget and an end."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pyarrow.flight as flight
import pytest
from harness.client import historical_request
from harness.frames import INSTANT, at, drivers
from harness.lab import Lab

STATS = drivers((1, at(hours=-1), 0.1), extra={"conv_rate": pa.float64()})
GOOD = ["driver_stats:conv_rate"]


def fill(lab: Lab) -> None:
    """One view."""
    lab.add("driver_stats", ["driver_id"], STATS)


def frame(rows: int) -> pa.Table:
    """A dataframe of 16 bytes a row, in one batch."""
    times = pa.array(np.full(rows, int(at().timestamp()) * 1_000_000)).cast(INSTANT)
    return pa.table({"driver_id": pa.array(np.ones(rows, np.int64)), "event_timestamp": times})


def test_budget_is_freed_by_expiry(start_lab: Callable[..., Lab]) -> None:
    client = start_lab(fill, staging={"budget": "4MiB", "ttl": "3s"}).client
    first = client.upload(frame(150_000))["upload"]
    assert len(client.get(historical_request(GOOD, {"upload": first}))) == 150_000
    with pytest.raises(pa.ArrowInvalid, match=r"staging.*budget|budget"):
        client.upload(frame(200_000))
    with pytest.raises(pa.ArrowInvalid, match=r"budget"):
        client.upload(frame(2_000_000))
    time.sleep(4)
    with pytest.raises(KeyError, match=rf"{first}.*expired"):
        client.get(historical_request(GOOD, {"upload": first}))
    second = client.upload(frame(200_000))["upload"]
    assert len(client.get(historical_request(GOOD, {"upload": second}))) == 200_000


def test_message_over_the_limit_is_refused(start_lab: Callable[..., Lab]) -> None:
    lab = start_lab(fill, server={"max_message_size": "1MiB"})
    with pytest.raises((pa.ArrowException, flight.FlightError)):
        lab.client.upload(frame(200_000))
    assert lab.client.upload(frame(200_000), max_chunksize=10_000)["rows"] == 200_000
    assert len(lab.client.historical(frame(1000), GOOD)) == 1000


def test_files_are_removed_after_expiry(
    start_lab: Callable[..., Lab], tmp_path_factory: pytest.TempPathFactory
) -> None:
    directory = tmp_path_factory.mktemp("staging")
    lab = start_lab(fill, staging={"url": directory.as_uri(), "ttl": "2s"})
    lab.client.upload(frame(1000))
    assert any(path.is_file() for path in directory.rglob("*"))
    deadline = time.monotonic() + 120
    while any(path.is_file() for path in directory.rglob("*")):
        assert time.monotonic() < deadline, "expired uploads are still on disk"
        time.sleep(1)
