"""The same joins in Murre and in DuckDB's ASOF JOIN, on the same files, with every edge that data has.

Feature times and created times lie on coarse grids so that ties are common, and entity times lie on feature times, on
their ttl and a microsecond beside both.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from harness.frames import INSTANT, at
from harness.lab import Lab
from harness.reference import ReferenceView, assert_same_columns, duckdb_join
from harness.warehouse import data_files
from pyiceberg.transforms import BucketTransform, DayTransform

MINUTE = 60_000_000
START = int(at().timestamp()) * 1_000_000
SPAN_MINUTES = 30 * 24 * 60
DRIVERS, CUSTOMERS = 1500, 400
REGIONS = pa.array(["north", "south", "", "no", "rth"])
FEATURES = ["count", "rate", "word", "flag"]
ENTITY_ROWS = 20_000


@dataclass(frozen=True)
class Source:
    """One feature view: its keys, size and options."""

    keys: tuple[str, ...]
    rows: int
    ttl: timedelta | None
    created: bool


SOURCES = {
    "driver": Source(("driver_id",), 200_000, timedelta(hours=6), True),
    "customer": Source(("customer_id",), 40_000, None, False),
    "trip": Source(("driver_id", "region"), 60_000, timedelta(days=2), True),
}
LAYOUTS: dict[str, dict[str, Any]] = {
    "day": {"partition_by": {"event_timestamp": DayTransform()}},
    "bucket": {"partition_by": {"KEY": BucketTransform(16)}},
    "none": {"partition_by": None},
}


def with_nulls(rng: np.random.Generator, values: pa.Array, share: float) -> pa.Array:
    """The values with a share of them missing."""
    mask = pa.array(rng.random(len(values)) < share)
    return pc.if_else(mask, pa.scalar(None, values.type), values)


def key_column(rng: np.random.Generator, name: str, count: int) -> pa.Array:
    """Random keys of one column, one in a hundred null."""
    if name == "driver_id":
        values = pa.array(rng.integers(0, DRIVERS, count))
    elif name == "customer_id":
        values = pc.binary_join_element_wise(
            "customer", pa.array(rng.integers(0, CUSTOMERS, count)).cast("string"), "-"
        )
    else:
        values = REGIONS.take(pa.array(rng.integers(0, len(REGIONS), count)))
    return with_nulls(rng, values, 0.01)


def instants(us: np.ndarray) -> pa.Array:
    """Microseconds since the epoch as instants."""
    return pa.array(us).cast(INSTANT)


def feature_rows(source: Source, seed: int) -> pa.Table:
    """Rows on a grid of 20 minutes, created on a grid of three values, a few exact copies included."""
    rng = np.random.default_rng(seed)
    n = source.rows
    times = START + rng.integers(0, SPAN_MINUTES // 20, n) * 20 * MINUTE
    created = with_nulls(rng, instants(times + rng.integers(0, 3, n) * MINUTE), 0.05)
    columns = {key: key_column(rng, key, n) for key in source.keys}
    columns |= {"event_timestamp": with_nulls(rng, instants(times), 0.005), "created": created}
    columns["count"] = with_nulls(rng, pa.array(rng.integers(0, 4, n)), 0.1)
    columns["rate"] = with_nulls(rng, pa.array(rng.integers(-3, 3, n) / 4), 0.1)
    columns["word"] = with_nulls(rng, REGIONS.take(pa.array(rng.integers(0, len(REGIONS), n))), 0.1)
    columns["flag"] = with_nulls(rng, pa.array(rng.random(n) < 0.5), 0.1)
    table = pa.table(columns)
    return pa.concat_tables([table, table.slice(0, n // 100)])


def entity_frame(seed: int, rows: int = ENTITY_ROWS) -> pa.Table:
    """Rows whose times hit features, ttl ends and their neighbours; unknown keys, nulls and duplicates."""
    rng = np.random.default_rng(seed)
    grid = START + rng.integers(-200, SPAN_MINUTES // 20 + 400, rows) * 20 * MINUTE
    offset = rng.choice([0, 0, 1, -1, 6 * 60 * MINUTE, 6 * 60 * MINUTE + 1, 7 * MINUTE, 48 * 60 * MINUTE], rows)
    drivers = rng.integers(-50, DRIVERS + 50, rows)
    customers = pa.array(rng.integers(-5, CUSTOMERS + 5, rows)).cast("string")
    frame = pa.table(
        {
            "label": pa.array(rng.random(rows)),
            "driver_id": with_nulls(rng, pa.array(drivers), 0.02),
            "event_timestamp": instants(grid + offset),
            "region": key_column(rng, "region", rows),
            "customer_id": with_nulls(rng, pc.binary_join_element_wise("customer", customers, "-"), 0.02),
        }
    )
    return pa.concat_tables([frame, frame.slice(rows // 2, rows // 50)]).combine_chunks()


def build(lab: Lab) -> None:
    """Every source in every layout, in three commits each."""
    for number, (name, source) in enumerate(SOURCES.items()):
        rows = feature_rows(source, 10 + number)
        third = len(rows) // 3 + 1
        batches = [rows.slice(i * third, third) for i in range(3)]
        for layout, write in LAYOUTS.items():
            spec = {source.keys[0] if k == "KEY" else k: t for k, t in (write["partition_by"] or {}).items()}
            lab.warehouse.write(f"lab.{name}_{layout}", *batches, partition_by=spec)
            define(lab, f"{name}_{layout}", source)


def define(lab: Lab, view: str, source: Source) -> None:
    """The view of a source's table."""
    options: dict[str, Any] = {"features": FEATURES}
    if source.ttl:
        options["ttl"] = f"{source.ttl // timedelta(seconds=1)}s"
    if source.created:
        options["created_timestamp_column"] = "created"
    lab.definitions.view(view, f"lab.{view}", list(source.keys), **options)


def reference(lab: Lab, name: str, layout: str) -> ReferenceView:
    """The reference's form of a view."""
    source, view = SOURCES[name], f"{name}_{layout}"
    table = lab.warehouse.catalog.load_table(f"lab.{view}")
    columns = table.schema().as_arrow().names
    created = "created" if source.created else None
    outputs = [f"{view}__{feature}" for feature in FEATURES]
    return ReferenceView(view, data_files(table), list(source.keys), FEATURES, columns, created, source.ttl, outputs)


def check(lab: Lab, frame: pa.Table, parts: list[tuple[str, str]]) -> pa.Table:
    """Join in both and compare; return Murre's result."""
    refs = [f"{name}_{layout}:{feature}" for name, layout in parts for feature in FEATURES]
    result = lab.client.historical(frame, refs, full_feature_names=True)
    expected = duckdb_join(frame, [reference(lab, name, layout) for name, layout in parts])
    assert result.column_names == frame.column_names + expected.column_names
    assert_same_columns(result, frame)
    assert_same_columns(result, expected)
    return result


@pytest.fixture(scope="module")
def lab(start_lab: Callable[..., Lab]) -> Lab:
    """All sources in all layouts."""
    return start_lab(build)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_three_views_with_different_keys(lab: Lab, layout: str) -> None:
    result = check(lab, entity_frame(1), [(name, layout) for name in SOURCES])
    matched = [result[f"{name}_{layout}__count"].null_count for name in SOURCES]
    assert all(0 < nulls < len(result) for nulls in matched)


def test_three_views_with_different_layouts(lab: Lab) -> None:
    check(lab, entity_frame(2), list(zip(SOURCES, LAYOUTS, strict=True)))


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", SOURCES)
def test_one_view_and_few_rows(lab: Lab, name: str, layout: str) -> None:
    check(lab, entity_frame(3, rows=50), [(name, layout)])


@pytest.mark.parametrize("layout", LAYOUTS)
def test_rows_before_all_features_and_long_after(lab: Lab, layout: str) -> None:
    frame = entity_frame(4, rows=500)
    early = frame.set_column(2, "event_timestamp", instants(np.full(len(frame), START - 1)))
    late = frame.set_column(2, "event_timestamp", instants(np.full(len(frame), START + 3 * SPAN_MINUTES * MINUTE)))
    result = check(lab, early, [(name, layout) for name in SOURCES])
    assert all(result[name].null_count == len(result) for name in result.column_names[5:])
    check(lab, late, [(name, layout) for name in SOURCES])


def test_layout_does_not_change_the_answer(lab: Lab) -> None:
    frame = entity_frame(5)
    answers = [
        lab.client.historical(frame, [f"{name}_{layout}:{f}" for f in FEATURES])
        for name in ("driver",)
        for layout in LAYOUTS
    ]
    assert all(answer.equals(answers[0]) for answer in answers)


def test_the_fixture_has_the_edges(lab: Lab) -> None:
    rows = feature_rows(SOURCES["driver"], 10)
    keys = ["driver_id", "event_timestamp", "created"]
    assert len(rows.group_by(keys).aggregate([])) < len(rows) * 0.99
    frame = entity_frame(1)
    assert len(frame.group_by(frame.column_names).aggregate([])) < len(frame)
    assert all(frame[key].null_count > 0 for key in ("driver_id", "customer_id", "region"))
