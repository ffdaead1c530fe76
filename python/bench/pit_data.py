"""Makes the feature table and entity dataframes of the point-in-time benchmark, day by day so that memory stays small.

The shape is fixed by the seed and the number of rows: an int64 key with 100 rows of history on average, 56 days in one
partition and file each, ten features with 2 % nulls, rows shuffled, 2 % of them corrected later (same key and event
time, newer `created`). Entity rows: 2 % unknown keys, 12 % later than the ttl allows, 5 % exactly on a feature row,
1 % duplicates, the rest anywhere.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from harness.warehouse import Warehouse
from pit_measure import FEATURES
from pyiceberg.transforms import DayTransform

TABLE = "bench.driver_stats"
DAYS = 56
HISTORY = 100
TTL_DAYS = 7
DAY_US = 86_400_000_000
START_US = int(np.datetime64("2026-01-01", "us").astype(np.int64))
INSTANT = pa.timestamp("us", tz="UTC")
CATEGORIES = pa.array([f"category_{i:02d}" for i in range(40)])
EXACT_SAMPLES = 200_000


def keys_of(rows: int) -> int:
    """Number of distinct keys in a table of so many rows."""
    return max(rows // HISTORY, 1)


def with_nulls(rng: np.random.Generator, values: pa.Array) -> pa.Array:
    """The values with two in a hundred missing."""
    mask = pa.array(rng.random(len(values)) < 0.02)
    return pa.compute.if_else(mask, pa.scalar(None, values.type), values)


def feature_columns(rng: np.random.Generator, n: int) -> dict[str, pa.Array]:
    """Ten columns of random values."""
    columns = {name: pa.array(rng.normal(100, 25, n)) for name in FEATURES[:4]}
    columns |= {name: pa.array(rng.random(n, dtype=np.float32)) for name in FEATURES[4:6]}
    columns["l1"] = pa.array(rng.integers(0, 1 << 40, n))
    columns["i1"] = pa.array(rng.integers(0, 100_000, n, dtype=np.int32))
    columns["s1"] = CATEGORIES.take(pa.array(rng.integers(0, len(CATEGORIES), n)))
    columns["s2"] = pa.array(rng.integers(0, 1 << 24, n)).cast(pa.string())
    return {name: with_nulls(rng, values) for name, values in columns.items()}


def day_of_rows(rng: np.random.Generator, day: int, rows: int) -> pa.Table:
    """One day of feature rows with their corrections, shuffled."""
    per_day = rows // DAYS + (day < rows % DAYS)
    keys = rng.integers(0, keys_of(rows), per_day)
    times = START_US + day * DAY_US + rng.integers(0, DAY_US, per_day)
    created = times + rng.integers(0, 3_600_000_000, per_day)
    corrected = rng.choice(per_day, per_day // 50, replace=False)
    late = created[corrected] + rng.integers(1, DAY_US, len(corrected))
    columns = {
        "driver_id": np.concatenate([keys, keys[corrected]]),
        "event_timestamp": pa.array(np.concatenate([times, times[corrected]])).cast(INSTANT),
        "created": pa.array(np.concatenate([created, late])).cast(INSTANT),
    }
    n = per_day + len(corrected)
    return pa.table({**columns, **feature_columns(rng, n)}).take(rng.permutation(n))


def report(text: str) -> None:
    """Show progress without hiding the results on standard output."""
    print(text, file=sys.stderr, flush=True)


def write_features(warehouse: Warehouse, rows: int, seed: int) -> pa.Table:
    """Write the table in one commit a day; return a sample of (key, time) rows."""
    started, written, samples = time.monotonic(), 0, []
    table = None
    for day in range(DAYS):
        rng = np.random.default_rng([seed, day])
        batch = day_of_rows(rng, day, rows)
        if table is None:
            table = warehouse.create(TABLE, batch.schema, partition_by={"event_timestamp": DayTransform()})
        table.append(batch)
        samples.append(batch.select(["driver_id", "event_timestamp"]).slice(0, EXACT_SAMPLES // DAYS))
        written += len(batch)
        report(f"day {day + 1:2d}/{DAYS}: {written:,} rows, {time.monotonic() - started:.0f} s")
    return pa.concat_tables(samples)


def prepare(directory: Path, rows: int, seed: int) -> Warehouse:
    """The warehouse under `directory`, made if it is not complete for these parameters."""
    warehouse = Warehouse(directory)
    marker = directory / "complete.json"
    wanted = {"rows": rows, "seed": seed, "version": 1}
    if marker.exists():
        if json.loads(marker.read_text()) != wanted:
            raise SystemExit(f"{directory} holds other data ({marker.read_text()}); give another --dir")
        return warehouse
    if warehouse.catalog.list_namespaces():
        raise SystemExit(f"{directory} holds half-made data; remove it")
    pq.write_table(write_features(warehouse, rows, seed), directory / "sample.parquet")
    marker.write_text(json.dumps(wanted))
    return warehouse


def entity_frame(directory: Path, rows: int, entities: int, seed: int) -> pa.Table:
    """A dataframe of `entities` rows with the mix that the module describes."""
    rng = np.random.default_rng([seed, entities])
    keys = rng.integers(0, keys_of(rows), entities)
    times = START_US + rng.integers(0, DAYS * DAY_US, entities)
    kind = rng.random(entities)
    unknown, expired, exact = kind < 0.02, (kind >= 0.02) & (kind < 0.14), (kind >= 0.14) & (kind < 0.19)
    keys[unknown] += keys_of(rows)
    times[expired] += (DAYS + TTL_DAYS) * DAY_US
    sample = pq.read_table(directory / "sample.parquet").take(rng.integers(0, EXACT_SAMPLES // DAYS, exact.sum()))
    keys[exact] = sample["driver_id"].to_numpy()
    times[exact] = sample["event_timestamp"].cast(pa.int64()).to_numpy()
    copies = rng.choice(entities, entities // 100, replace=False)
    originals = rng.choice(entities, entities // 100, replace=False)
    keys[copies], times[copies] = keys[originals], times[originals]
    return pa.table({"driver_id": keys, "event_timestamp": pa.array(times).cast(INSTANT)})
