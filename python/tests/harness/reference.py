"""The point-in-time join, twice more: obvious in Python for small data, in DuckDB for large.

Both follow the documented contract: the greatest (event time, created time) not after the row's time and not older
than the ttl, both ends included; rows that are still equal are decided by all their columns in the table's order, the
largest winning and nulls smallest; every row comes back, in input order.
"""

from __future__ import annotations

import math
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

Row = dict[str, Any]


def plain(value: Any) -> Any:
    """A value that compares by content: uuids as bytes, instants in UTC, NaN equal to itself."""
    if isinstance(value, uuid.UUID):
        return value.bytes
    if isinstance(value, datetime):
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
    if isinstance(value, float) and math.isnan(value):
        return "NaN"
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value


def rows_of(table: pa.Table) -> list[Row]:
    """The table's rows with plain values."""
    return [plain(row) for row in table.to_pylist()]


def null_first(value: Any) -> tuple[bool, Any]:
    """A sort key in which a null is smaller than every value."""
    return (value is not None, 0 if value is None else value)


def naive_match(row: Row, candidates: list[Row], keys: dict[str, str], **options: Any) -> Row | None:
    """The feature row that belongs to one entity row; `keys` maps view keys to entity columns."""
    time, created, ttl = options.get("time", "event_timestamp"), options.get("created"), options.get("ttl")
    at = row[options.get("entity_time", "event_timestamp")]
    matching = [
        c
        for c in candidates
        if c[time] is not None
        and all(row[column] is not None and c[key] == row[column] for key, column in keys.items())
        and c[time] <= at
        and (not ttl or c[time] >= at - ttl)
    ]
    order = [time] + ([created] if created else []) + options.get("ties", [])
    return max(matching, key=lambda c: [null_first(c[column]) for column in order], default=None)


def naive_join(
    frame: pa.Table, table: pa.Table, keys: list[str] | dict[str, str], features: list[str], **options: Any
) -> list[Row]:
    """The rows that a historical retrieval must return for one view."""
    mapping = keys if isinstance(keys, dict) else {key: key for key in keys}
    candidates = rows_of(table)
    result = []
    for row in rows_of(frame):
        match = naive_match(row, candidates, mapping, **options) or {}
        result.append({**row, **{name: match.get(name) for name in features}})
    return result


@dataclass
class ReferenceView:
    """A feature view as the DuckDB reference sees it."""

    name: str
    files: list[Path]
    keys: list[str]
    features: list[str]
    columns: list[str]
    created: str | None = None
    ttl: timedelta | None = None
    outputs: list[str] = field(default_factory=list)

    def newest_per_time(self) -> str:
        """SQL for one row per key and time, chosen by the tie rule."""
        order = ([self.created] if self.created else []) + self.columns
        ranks = ", ".join(f'"{column}" DESC NULLS LAST' for column in order)
        groups = ", ".join([*(f'"{key}"' for key in self.keys), "us"])
        files = [str(path) for path in self.files]
        return (
            f"SELECT * FROM (SELECT *, epoch_us(event_timestamp) AS us FROM read_parquet({files}))"
            f" WHERE us IS NOT NULL QUALIFY row_number() OVER (PARTITION BY {groups} ORDER BY {ranks}) = 1"
        )

    def matched(self) -> str:
        """SQL for the features of every spine row, by row id."""
        condition = " AND ".join([*(f's."{key}" = f."{key}"' for key in self.keys), "s.us >= f.us"])
        limit = "true" if not self.ttl else f"f.us >= s.us - {self.ttl // timedelta(microseconds=1)}"
        names = self.outputs or self.features
        values = ", ".join(
            f'CASE WHEN {limit} THEN f."{feature}" END AS "{name}"'
            for feature, name in zip(self.features, names, strict=True)
        )
        return f"SELECT s.rid, {values} FROM spine s ASOF LEFT JOIN ({self.newest_per_time()}) f ON {condition}"


def duckdb_join(frame: pa.Table, views: list[ReferenceView]) -> pa.Table:
    """The features that a historical retrieval must return, one row per row of the frame and in its order."""
    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'")
    connection.register("frame", frame)
    connection.execute(
        "CREATE TEMP TABLE spine AS SELECT row_number() OVER () AS rid, epoch_us(event_timestamp) AS us, * FROM frame"
    )
    parts = [connection.sql(f"FROM ({view.matched()}) ORDER BY rid").to_arrow_table() for view in views]
    columns = {name: part[name] for part in parts for name in part.column_names if name != "rid"}
    return pa.table(columns)


def assert_same_columns(actual: pa.Table, expected: pa.Table) -> None:
    """Compare by value, and on a difference show the first rows that differ."""
    assert len(actual) == len(expected)
    for name in expected.column_names:
        left, right = actual[name], expected[name].cast(actual[name].type)
        if left.combine_chunks() == right.combine_chunks():
            continue
        pairs = enumerate(zip(left.to_pylist(), right.to_pylist(), strict=True))
        wrong = [(row, found, wanted) for row, (found, wanted) in pairs if plain(found) != plain(wanted)]
        assert not wrong, f"column {name}: {len(wrong)} rows differ; (row, found, expected): {wrong[:5]}"
