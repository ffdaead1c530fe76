"""Uploads that nobody fetches give their memory back; a training set of three million rows goes through in one go."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.flight as flight
import pytest
from drivers import DRIVER, STATS_SCHEMA, frame, stats_source, view
from feast_lab import FeastLab
from harness.frames import at

UPLOADS = 60
UPLOAD_BYTES = 8 * 1024 * 1024
TTL_SECONDS = 3
PATIENCE_SECONDS = 120
ROWS = 3_000_000


@pytest.fixture(scope="module")
def lab(new_lab: Callable[..., FeastLab]) -> FeastLab:
    lab = new_lab().start(staging={"ttl": f"{TTL_SECONDS}s"})
    lab.store.apply([DRIVER, view("stats", stats_source(lab, "iceberg"), STATS_SCHEMA)])
    return lab


def resident_bytes(pid: int) -> int:
    """Resident memory of a process."""
    status = Path(f"/proc/{pid}/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmRSS:"))
    return int(line.split()[1]) * 1024


def abandon(client: flight.FlightClient, count: int) -> None:
    """Do the first of the three steps by which clients up to 0.66 read, and never the others."""
    rows = UPLOAD_BYTES // 16
    entities = pa.table(
        {
            "driver_id": np.arange(rows),
            "event_timestamp": pa.array([at()] * 1, pa.timestamp("us", tz="UTC")).take([0] * rows),
        }
    )
    assert entities.nbytes >= UPLOAD_BYTES
    for _ in range(count):
        command = {
            "command_id": str(uuid.uuid4()),
            "api": "get_historical_features",
            "feature_view_names": ["stats"],
            "feature_refs": ["stats:trips"],
            "project": "lab",
            "full_feature_names": False,
            "name_aliases": [None],
        }
        writer, _ = client.do_put(flight.FlightDescriptor.for_command(json.dumps(command)), entities.schema)
        writer.write_table(entities)
        writer.close()


def test_abandoned_uploads_give_their_memory_back(lab: FeastLab) -> None:
    client = flight.connect(lab.server.location)
    # What a server that has worked needs: threads' arenas, caches, one upload's worth of buffers.
    lab.store.get_historical_features(entity_df=frame((1, at())), features=["stats:trips"]).to_df()
    abandon(client, 2)
    time.sleep(2 * TTL_SECONDS)
    before = resident_bytes(lab.server.pid)
    abandon(client, UPLOADS)
    peak = resident_bytes(lab.server.pid)
    deadline = time.monotonic() + PATIENCE_SECONDS
    while (after := resident_bytes(lab.server.pid)) > before * 1.05 and time.monotonic() < deadline:
        time.sleep(0.5)
    print(f"resident: {before} before, {peak} after the last upload, {after} at the end")
    assert after <= before * 1.05, f"{before} bytes before, {peak} after the last upload, {after} after expiry"


def test_three_million_rows_in_one_go(new_lab: Callable[..., FeastLab]) -> None:
    lab = new_lab().start()
    lab.store.apply([DRIVER, view("stats", stats_source(lab, "iceberg"), STATS_SCHEMA)])
    keys = np.random.default_rng(7).integers(0, 10, ROWS)
    rows = pd.DataFrame({"driver_id": keys, "event_timestamp": pd.Timestamp(at()), "row": np.arange(ROWS)})
    found = lab.store.get_historical_features(entity_df=rows, features=["stats:trips"]).to_df()
    assert len(found) == ROWS
    assert (found["row"].to_numpy() == np.arange(ROWS)).all()
    assert (found["driver_id"].to_numpy() == keys).all()
    expected = pd.Series(keys).map({1: 30.0, 2: 70.0})
    assert found["trips"].astype("float64").equals(expected)
