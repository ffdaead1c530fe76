"""Join keys of every Iceberg type match, in tables with and without buckets, and lossless types are coerced."""

from __future__ import annotations

import random
import uuid
from collections.abc import Callable
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
from harness.frames import INSTANT, at, table
from harness.lab import Lab
from harness.reference import naive_join, plain, rows_of
from pyiceberg.transforms import BucketTransform

INT_MAX, LONG_MAX = 2**31 - 1, 2**63 - 1

# Key type: Arrow type in table and dataframe, distinct values.
KEYS: dict[str, tuple[pa.DataType, list[Any]]] = {
    "int": (pa.int32(), [0, 1, -1, 34, INT_MAX, -INT_MAX - 1]),
    "long": (pa.int64(), [0, 1, -1, 34, 2**53 + 1, LONG_MAX, -LONG_MAX - 1]),
    "string": (pa.string(), ["", "a", "A", "aa", "iceberg", "Überraschung", "x" * 300, "x" * 299 + "y"]),
    "binary": (pa.binary(), [b"", b"\0", b"\0\0", b"\xff\xfe", b"y" * 200]),
    "fixed": (pa.binary(4), [b"\0\0\0\0", b"abcd", b"\xff\xff\xff\xff"]),
    "uuid": (pa.uuid(), [uuid.UUID(int=0), uuid.UUID(int=1), uuid.UUID(int=2**127), uuid.UUID(int=2**128 - 1)]),
    "date": (pa.date32(), [date(1970, 1, 1), date(1969, 12, 31), date(2026, 3, 1)]),
    "timestamp": (pa.timestamp("us"), [datetime(1970, 1, 1), datetime(1969, 12, 31, 23, 59, 59, 999_999)]),
    "timestamptz": (INSTANT, [at(), at(microseconds=1), at(days=-30_000)]),
    "decimal": (pa.decimal128(9, 2), [Decimal("0.00"), Decimal("0.01"), Decimal("-14.20"), Decimal("9999999.99")]),
    "decimal_38": (pa.decimal128(38, 4), [Decimal("0.0001"), Decimal("-9999999999999999999999999999999999.9999")]),
}
COMPOSITE = ["region", "on", "driver_id"]
COMPOSITE_TYPES = {"region": pa.string(), "on": pa.date32(), "driver_id": pa.int64()}
# Values that a careless concatenation of keys would confuse.
COMPOSITE_VALUES = [["1", "11", "", "a"], [date(2026, 1, 1), date(2026, 1, 11)], [1, 11, 111]]


def rows_with_keys(
    types: dict[str, pa.DataType], values: list[list[Any]], seed: int, rows: int, null: float
) -> pa.Table:
    """Random rows of key columns, event time and a number."""
    rng = random.Random(seed)

    def row(number: int) -> tuple[Any, ...]:
        keys = [None if rng.random() < null else rng.choice(choices) for choices in values]
        return (*keys, at(minutes=rng.randrange(500)), number)

    return table({**types, "event_timestamp": INSTANT, "number": pa.int64()}, *(row(i) for i in range(rows)))


def frame_with_keys(types: dict[str, pa.DataType], values: list[list[Any]], seed: int) -> pa.Table:
    """The same without the number, since the dataframe is not to have a feature's name."""
    return rows_with_keys(types, values, seed, 200, null=0.1).drop_columns("number")


@pytest.fixture(scope="module")
def lab(start_lab: Callable[..., Lab]) -> Lab:
    """One table per key type, partitioned by bucket and not."""

    def fill(lab: Lab) -> None:
        for kind, (arrow, values) in KEYS.items():
            rows = rows_with_keys({"k": arrow}, [values], 1, 150, null=0.1)
            lab.add(f"{kind}_plain", ["k"], rows.slice(0, 75), rows.slice(75))
            bucketed = {"partition_by": {"k": BucketTransform(4)}}
            lab.add(f"{kind}_bucketed", ["k"], rows.slice(0, 75), rows.slice(75), write=bucketed)
        rows = rows_with_keys(COMPOSITE_TYPES, COMPOSITE_VALUES, 2, 300, null=0.05)
        lab.add("composite", COMPOSITE, rows)
        bucketed = {"partition_by": {"driver_id": BucketTransform(4), "region": BucketTransform(2)}}
        lab.add("composite_bucketed", COMPOSITE, rows, write=bucketed)

    return start_lab(fill)


def source(lab: Lab, view: str) -> pa.Table:
    """A view's rows as pyiceberg reads them."""
    return lab.warehouse.catalog.load_table(f"lab.{view}").scan().to_arrow()


@pytest.mark.parametrize("layout", ["plain", "bucketed"])
@pytest.mark.parametrize("kind", KEYS)
def test_key_type_matches(lab: Lab, kind: str, layout: str) -> None:
    arrow, values = KEYS[kind]
    frame = frame_with_keys({"k": arrow}, [values], 3)
    view = f"{kind}_{layout}"
    expected = naive_join(frame, source(lab, view), ["k"], ["number"], ties=["number"])
    assert any(row["number"] is not None for row in expected)
    assert rows_of(lab.client.historical(frame, [f"{view}:number"])) == expected


@pytest.mark.parametrize("view", ["composite", "composite_bucketed"])
def test_composite_key_matches_as_a_whole(lab: Lab, view: str) -> None:
    frame = frame_with_keys(COMPOSITE_TYPES, COMPOSITE_VALUES, 4)
    expected = naive_join(frame, source(lab, view), COMPOSITE, ["number"], ties=["number"])
    assert rows_of(lab.client.historical(frame, [f"{view}:number"])) == expected


def times(count: int) -> pa.Array:
    """Event times after all features."""
    return pa.array([at(days=1)] * count, INSTANT)


def numbers(lab: Lab, view: str, keys: pa.Array) -> list[int | None]:
    """What a dataframe with these keys gets."""
    frame = pa.table({"k": keys, "event_timestamp": times(len(keys))})
    result = lab.client.historical(frame, [f"{view}:number"])
    assert len(result) == len(keys)
    assert plain(result["k"].to_pylist()) == plain(keys.to_pylist())
    return result["number"].to_pylist()


INTEGERS = [0, 1, 34, 99, None]
LOSSLESS: dict[str, tuple[str, list[Any], pa.DataType]] = {
    "int8 for long": ("long", INTEGERS, pa.int8()),
    "int16 for long": ("long", INTEGERS, pa.int16()),
    "int32 for long": ("long", INTEGERS, pa.int32()),
    "uint8 for long": ("long", INTEGERS, pa.uint8()),
    "uint16 for long": ("long", INTEGERS, pa.uint16()),
    "uint32 for long": ("long", INTEGERS, pa.uint32()),
    "uint64 for long": ("long", INTEGERS, pa.uint64()),
    "float32 for long": ("long", INTEGERS, pa.float32()),
    "double for long": ("long", INTEGERS, pa.float64()),
    "int64 for int": ("int", INTEGERS, pa.int64()),
    "double for int": ("int", INTEGERS, pa.float64()),
    "large_string": ("string", ["a", "A", "iceberg", "none", None], pa.large_string()),
    "string_view": ("string", ["a", "A", "iceberg", "none", None], pa.string_view()),
    "dictionary of string": ("string", ["a", "A", "a", "none", None], pa.dictionary(pa.int32(), pa.string())),
    "dictionary of large_string": ("string", ["a", "A", "a", None], pa.dictionary(pa.int8(), pa.large_string())),
    "large_binary": ("binary", [b"", b"\0", b"none", None], pa.large_binary()),
    "binary_view": ("binary", [b"", b"\0", b"none", None], pa.binary_view()),
}


@pytest.mark.parametrize("case", LOSSLESS)
def test_lossless_key_is_coerced(lab: Lab, case: str) -> None:
    kind, values, arrow = LOSSLESS[case]
    same = numbers(lab, f"{kind}_plain", pa.array(values, KEYS[kind][0]))
    assert any(number is not None for number in same)
    assert numbers(lab, f"{kind}_plain", pa.array(values, arrow)) == same
    assert numbers(lab, f"{kind}_bucketed", pa.array(values, arrow)) == same


@pytest.mark.parametrize("kind", KEYS)
def test_all_null_key_column_matches_nothing(lab: Lab, kind: str) -> None:
    assert numbers(lab, f"{kind}_plain", pa.nulls(3)) == [None] * 3


def test_integers_that_pandas_made_doubles(lab: Lab) -> None:
    pandas = pd.DataFrame({"k": [1, None, 34], "event_timestamp": [at(days=1)] * 3})
    assert pandas["k"].dtype == "float64"
    frame = pa.Table.from_pandas(pandas)
    result = lab.client.historical(frame, ["long_plain:number"])
    wanted = numbers(lab, "long_plain", pa.array([1, None, 34], pa.int64()))
    assert result["number"].to_pylist() == wanted


NOON_NS = int(at().timestamp()) * 10**9
BEYOND: dict[str, tuple[str, pa.Array]] = {
    "unsigned for long": ("long", pa.array([1, 2**63], pa.uint64())),
    "long for int": ("int", pa.array([1, 5_000_000_000])),
    "double for int": ("int", pa.array([1.0, 5e9])),
    "finer decimal": ("decimal", pa.array([Decimal("0.0100"), Decimal("0.0101")], pa.decimal128(12, 4))),
    "finer instant": ("timestamptz", pa.array([NOON_NS, NOON_NS + 1]).cast(pa.timestamp("ns", tz="UTC"))),
}


@pytest.mark.parametrize("case", BEYOND)
def test_value_that_the_table_cannot_hold_matches_nothing(lab: Lab, case: str) -> None:
    kind, keys = BEYOND[case]
    first, second = numbers(lab, f"{kind}_plain", keys)
    assert first is not None
    assert second is None


TEXT_UUIDS = pa.array(["00000000-0000-0000-0000-000000000001", None, "ffffffff-ffff-ffff-ffff-ffffffffffff"])


def test_uuids_as_text(lab: Lab) -> None:
    keys = pa.array([uuid.UUID(int=1).bytes, None, uuid.UUID(int=2**128 - 1).bytes], pa.binary(16))
    assert numbers(lab, "uuid_plain", TEXT_UUIDS) == numbers(lab, "uuid_plain", keys)
    with pytest.raises(pa.ArrowInvalid, match=r"`k`.*uuid.*`no uuid`"):
        numbers(lab, "uuid_plain", pa.array(["no uuid"]))


def test_instants_as_dates(lab: Lab) -> None:
    midnight = pa.array([datetime(2026, 3, 1), None], pa.timestamp("ns"))
    assert numbers(lab, "date_plain", midnight) == numbers(lab, "date_plain", pa.array([date(2026, 3, 1), None]))
    with pytest.raises(pa.ArrowInvalid, match="`k`"):
        numbers(lab, "date_plain", pa.array([datetime(2026, 3, 1, 1)], pa.timestamp("us")))


LOSSY: dict[str, tuple[str, pa.Array]] = {
    "a fraction": ("long", pa.array([1.0, 1.5])),
    "a double beyond 2^53": ("long", pa.array([1.0, 2.0**63])),
    "a string": ("long", pa.array(["1", "2"])),
    "a boolean": ("long", pa.array([True, False])),
    "an instant": ("long", times(2)),
    "a number for a string": ("string", pa.array([1, 2])),
    "bytes for a number": ("long", pa.array([b"1", b"2"])),
    "a list": ("long", pa.array([[1], [2]])),
    "a number for a date": ("date", pa.array([1, 2])),
}


@pytest.mark.parametrize("case", LOSSY)
def test_lossy_key_is_refused_by_name(lab: Lab, case: str) -> None:
    kind, keys = LOSSY[case]
    with pytest.raises(pa.ArrowInvalid, match=r"`k`"):
        numbers(lab, f"{kind}_plain", keys)
