"""Draws the feature rows and entity dataframes of the point-in-time benchmark, day by day so that memory stays small.

The shape is fixed by the seed and the number of rows: 100 rows of history a key on average over 56 days, features with
2 % nulls, rows shuffled, 2 % of them corrected later (same key and event time, newer `created`). Entity rows: 2 %
unknown keys, 12 % later than the ttl allows, 5 % exactly on a feature row, 1 % duplicates, the rest anywhere.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pit_views import TTL_DAYS, VIEWS, View, kind_of

DAYS = 56
HISTORY = 100
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
    return pc.if_else(mask, pa.scalar(None, values.type), values)


def random_values(rng: np.random.Generator, feature: str, n: int) -> pa.Array:
    """A column of random values of the feature's type."""
    match kind_of(feature):
        case "d":
            return pa.array(rng.normal(100, 25, n))
        case "f":
            return pa.array(rng.random(n, dtype=np.float32))
        case "l":
            return pa.array(rng.integers(0, 1 << 40, n))
        case "i":
            return pa.array(rng.integers(0, 100_000, n, dtype=np.int32))
    if feature.endswith("s1"):
        return CATEGORIES.take(pa.array(rng.integers(0, len(CATEGORIES), n)))
    return pa.array(rng.integers(0, 1 << 24, n)).cast(pa.string())


def feature_columns(rng: np.random.Generator, view: View, n: int) -> dict[str, pa.Array]:
    """The view's features with random values."""
    columns = {name: random_values(rng, name, n) for name in view.features}
    return {name: with_nulls(rng, values) for name, values in columns.items()}


def key_column(view: View, keys: np.ndarray) -> pa.Array:
    """Numbers of keys as the view's join key."""
    if not view.text_key:
        return pa.array(keys)
    text = pc.utf8_lpad(pa.array(keys).cast(pa.string()), 8, "0")
    return pc.binary_join_element_wise("city", text, "_")


def day_of_rows(rng: np.random.Generator, view: View, day: int, rows: int) -> pa.Table:
    """One day of a table of so many rows, with corrections, shuffled."""
    per_day = rows // DAYS + (day < rows % DAYS)
    keys = rng.integers(0, keys_of(rows), per_day)
    times = START_US + day * DAY_US + rng.integers(0, DAY_US, per_day)
    created = times + rng.integers(0, 3_600_000_000, per_day)
    corrected = rng.choice(per_day, per_day // 50, replace=False)
    late = created[corrected] + rng.integers(1, DAY_US, len(corrected))
    columns = {
        view.key: key_column(view, np.concatenate([keys, keys[corrected]])),
        "event_timestamp": pa.array(np.concatenate([times, times[corrected]])).cast(INSTANT),
        "created": pa.array(np.concatenate([created, late])).cast(INSTANT),
    }
    n = per_day + len(corrected)
    return pa.table({**columns, **feature_columns(rng, view, n)}).take(rng.permutation(n))


def days_of_rows(view: View, rows: int, seed: int) -> Iterator[pa.Table]:
    """A view's table day by day; `rows` are those of the largest table."""
    for day in range(DAYS):
        stream = [view.number] if view.number else []
        yield day_of_rows(np.random.default_rng([seed, day, *stream]), view, day, rows // view.share)


def write_sample(directory: Path, rows: int, seed: int) -> None:
    """Keep some (key, time) rows of the first view, for entity rows exactly on a feature row."""
    view = VIEWS[0]
    # All samples are of the first day: what is measured and the checksums of older runs go by that.
    day = day_of_rows(np.random.default_rng([seed, 0]), view, 0, rows)
    pq.write_table(
        day.select([view.key, "event_timestamp"]).slice(0, EXACT_SAMPLES // DAYS), directory / "sample.parquet"
    )


def entity_frame(directory: Path, rows: int, entities: int, seed: int, *, offset: int = 0, views: int = 1) -> pa.Table:
    """A dataframe of `entities` rows with the mix that the module describes; another `offset` gives other rows."""
    rng = np.random.default_rng([seed, entities, *([offset] if offset else [])])
    keys = rng.integers(0, keys_of(rows), entities)
    times = START_US + rng.integers(0, DAYS * DAY_US, entities)
    kind = rng.random(entities)
    unknown, expired, exact = kind < 0.02, (kind >= 0.02) & (kind < 0.14), (kind >= 0.14) & (kind < 0.19)
    keys[unknown] += keys_of(rows)
    times[expired] += (DAYS + TTL_DAYS) * DAY_US
    sample = pq.read_table(directory / "sample.parquet")
    sample = sample.take(rng.integers(0, min(EXACT_SAMPLES // DAYS, len(sample)), exact.sum()))
    keys[exact] = sample["driver_id"].to_numpy()
    times[exact] = sample["event_timestamp"].cast(pa.int64()).to_numpy()
    copies = rng.choice(entities, entities // 100, replace=False)
    originals = rng.choice(entities, entities // 100, replace=False)
    keys[copies], times[copies] = keys[originals], times[originals]
    frame = pa.table({"driver_id": keys, "event_timestamp": pa.array(times).cast(INSTANT)})
    for view in VIEWS[1:views]:
        other = other_keys(np.random.default_rng([seed, entities, offset, view.number]), view, rows, entities)
        other[copies] = other[originals]
        frame = frame.append_column(view.key, key_column(view, other))
    return frame


def other_keys(rng: np.random.Generator, view: View, rows: int, entities: int) -> np.ndarray:
    """Keys of one of the smaller views, two in a hundred unknown."""
    known = keys_of(rows // view.share)
    return rng.integers(0, known, entities) + known * (rng.random(entities) < 0.02)
