"""Measures one training set through Feast's client against Murre and against `feast serve_offline`.

    cd python && MURRE_BIN=../target/release/murre uv run --project feast067 python bench/feast_server.py

Both servers read the same Parquet file through the same FileSource definitions; the client is the unmodified remote
offline store of the environment's Feast. Wall is the median of --repeat calls of `to_arrow` after one that warms up;
peak is the server's peak resident memory since its start (VmHWM).
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from datetime import timedelta
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "feast_clients"))

import feast
import numpy as np
import pandas as pd
import pyarrow as pa
from drivers import DRIVER, view
from feast import Field
from feast.types import Float64
from feast_lab import FeastLab
from harness.frames import at

FEATURES = [f"f{number}" for number in range(5)]
DRIVERS = 10_000
SPAN_SECONDS = 30 * 86_400


def instants(generator: np.random.Generator, count: int) -> pd.Series:
    """Instants spread over a month."""
    seconds = generator.integers(0, SPAN_SECONDS, count)
    return pd.Series(pd.Timestamp(at()) + pd.to_timedelta(seconds, unit="s"))


def features(rows: int) -> pa.Table:
    """A table of features by driver and time."""
    generator = np.random.default_rng(1)
    columns = {"driver_id": generator.integers(0, DRIVERS, rows), "event_timestamp": instants(generator, rows)}
    columns |= {"created": columns["event_timestamp"]} | {name: generator.random(rows) for name in FEATURES}
    table = pa.Table.from_pandas(pd.DataFrame(columns), preserve_index=False)
    zone = pa.timestamp("us", tz="UTC")
    return table.cast(
        pa.schema([field.with_type(zone) if pa.types.is_timestamp(field.type) else field for field in table.schema])
    )


def entities(rows: int) -> pd.DataFrame:
    """An entity dataframe."""
    generator = np.random.default_rng(2)
    return pd.DataFrame(
        {"driver_id": generator.integers(0, DRIVERS, rows), "event_timestamp": instants(generator, rows)}
    )


def peak_bytes(pid: int) -> int:
    """Peak resident memory of a process."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmHWM:")).split()[1]) * 1024


def measure(server: str, table: pa.Table, asked: pd.DataFrame, repeat: int) -> float:
    """Print one line about one server; return its median wall in seconds."""
    with tempfile.TemporaryDirectory() as folder:
        lab = FeastLab(Path(folder))
        lab.start() if server == "murre" else lab.start_upstream(server)
        try:
            times = {"timestamp_field": "event_timestamp", "created_timestamp_column": "created"}
            schema = [Field(name=name, dtype=Float64) for name in FEATURES]
            source = lab.parquet("features", table, **times)
            lab.store.apply([DRIVER, view("bench", source, schema, ttl=timedelta(days=7))])
            walls = []
            for _ in range(repeat + 1):
                start = time.perf_counter()
                job = lab.store.get_historical_features(
                    entity_df=asked, features=[f"bench:{name}" for name in FEATURES]
                )
                found = job.to_arrow()
                walls.append(time.perf_counter() - start)
            wall = statistics.median(walls[1:])
            matched = found.num_rows - found[FEATURES[0]].null_count
            peak = peak_bytes(lab.server.pid) / 2**20
            print(f"{server:8} {wall:8.2f} s  peak {peak:7.0f} MiB  {found.num_rows} rows back, {matched} matched")
            return wall
        finally:
            lab.stop()


def main() -> None:
    """Measure Murre and the engines asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--entities", type=int, default=100_000)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--engines", nargs="*", default=["duckdb", "dask"])
    asked = parser.parse_args()
    print(
        f"Feast {feast.__version__}: {asked.rows} feature rows, {asked.entities} entity rows, {len(FEATURES)} features"
    )
    table, frame = features(asked.rows), entities(asked.entities)
    own = measure("murre", table, frame, asked.repeat)
    for engine in asked.engines:
        print(f"{engine} takes {measure(engine, table, frame, asked.repeat) / own:.1f} times as long")


if __name__ == "__main__":
    main()
