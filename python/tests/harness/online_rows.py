"""Rows of every type that Feast has, as clients send them to online tables, and as engines give them back."""

from __future__ import annotations

import struct
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pyarrow as pa

START = datetime(2026, 1, 1, tzinfo=UTC)
DEFINITION = {"join_keys": [{"name": "id", "type": "INT64"}, {"name": "city", "type": "STRING"}]}


def rows(count: int) -> pa.Table:
    """Rows of every kind of type, nulls among them."""
    even = [i % 2 == 0 for i in range(count)]
    pick = [i if keep else None for i, keep in enumerate(even)]
    return pa.table(
        {
            "id": pa.array(range(count), pa.int64()),
            "city": [f"city {i % 7}" for i in range(count)],
            "event_timestamp": pa.array(
                [START + timedelta(seconds=i) for i in range(count)], pa.timestamp("ns", "UTC")
            ),
            "created_timestamp": pa.array([START if keep else None for keep in even], pa.timestamp("us")),
            "b": pa.array([i % 3 == 0 if keep else None for i, keep in enumerate(even)]),
            "i32": pa.array(pick, pa.int32()),
            "f32": pa.array(pick, pa.float32()),
            "f64": pa.array(pick, pa.float64()),
            "text": pa.array([None if i is None else "ä" * (i % 90) for i in pick], pa.large_string()),
            "raw": pa.array([None if i is None else bytes([i % 256]) for i in pick], pa.binary()),
            "money": pa.array([None if i is None else Decimal(i) / 4 for i in pick], pa.decimal128(12, 2)),
            "day": pa.array([None if i is None else START.date() for i in pick], pa.date32()),
            "floats": pa.array([None if i is None else [0.5, None, float(i)] for i in pick], pa.list_(pa.float32())),
            "pair": pa.array([None if i is None else {"x": i} for i in pick], pa.struct([("x", pa.int64())])),
            "counts": pa.array([None if i is None else [("a", i)] for i in pick], pa.map_(pa.string(), pa.int64())),
        }
    )


def entity_key(key: int, city: str) -> bytes:
    """Feast's entity key, version 3, written out by hand."""
    text = city.encode()
    names = b"".join(struct.pack("<II", 2, len(name)) + name for name in (b"city", b"id"))
    values = struct.pack("<II", 2, len(text)) + text + struct.pack("<IIq", 4, 8, key)
    return struct.pack("<I", 2) + names + values


def plain(table: pa.Table, columns: list[str]) -> list[dict[str, Any]]:
    """Rows as Python values in the order of their key, without what engines call types by."""
    ordered = table.select(columns).sort_by("id").to_pylist()
    return [{name: utc(value) for name, value in row.items()} for row in ordered]


def utc(value: Any) -> Any:
    """Times in UTC, lists of pairs as dictionaries."""
    if isinstance(value, datetime):
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
    if isinstance(value, list) and value and isinstance(value[0], tuple):
        return dict(value)
    return value
