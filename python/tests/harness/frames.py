"""Small tables, written the way people think of them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa

INSTANT = pa.timestamp("us", tz="UTC")
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def at(**offset: float) -> datetime:
    """An instant by its distance from noon of 1 March 2026; `at(hours=-1)` is an hour before."""
    return NOON + timedelta(**offset)


def table(types: dict[str, pa.DataType], *rows: tuple[Any, ...]) -> pa.Table:
    """A table from column types and rows."""
    columns = [list(values) for values in zip(*rows, strict=True)] if rows else [[] for _ in types]
    arrays = [pa.array(values, kind) for values, kind in zip(columns, types.values(), strict=True)]
    return pa.table(dict(zip(types, arrays, strict=True)))


def drivers(*rows: tuple[Any, ...], extra: dict[str, pa.DataType] | None = None) -> pa.Table:
    """Entity or feature rows of (driver_id, event_timestamp, ...)."""
    return table({"driver_id": pa.int64(), "event_timestamp": INSTANT, **(extra or {})}, *rows)
