"""Every type of Iceberg V2 survives the way from table to client, nulls and extreme values included."""

from __future__ import annotations

import math
import random
import uuid
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from harness.frames import INSTANT, at, drivers
from harness.lab import Lab
from harness.reference import naive_join, rows_of
from pyiceberg.io.pyarrow import schema_to_pyarrow
from pyiceberg.schema import Schema
from pyiceberg.types import (
    BinaryType,
    BooleanType,
    DateType,
    DecimalType,
    DoubleType,
    FixedType,
    FloatType,
    IcebergType,
    IntegerType,
    ListType,
    LongType,
    MapType,
    NestedField,
    StringType,
    StructType,
    TimestampType,
    TimestamptzType,
    TimeType,
    UUIDType,
)

EPOCH = datetime(1970, 1, 1)
INT_MAX, LONG_MAX = 2**31 - 1, 2**63 - 1


def list_of(field_id: int, element: IcebergType) -> ListType:
    """A list type with optional elements."""
    return ListType(field_id, element, element_required=False)


def map_of(key_id: int, key: IcebergType, value_id: int, value: IcebergType) -> MapType:
    """A map type with optional values."""
    return MapType(key_id, key, value_id, value, value_required=False)


def optional(first_id: int, **types: IcebergType) -> StructType:
    """A struct type with numbered optional fields."""
    return StructType(*(NestedField(first_id + i, name, kind) for i, (name, kind) in enumerate(types.items())))


POINT = optional(101, x=DoubleType(), tags=list_of(103, StringType()))

# Column: Iceberg type, Arrow type that clients get (None: nested, compared by structure), values to draw from.
COLUMNS: dict[str, tuple[IcebergType, pa.DataType | None, list[Any]]] = {
    "boolean": (BooleanType(), pa.bool_(), [True, False]),
    "int": (IntegerType(), pa.int32(), [0, -1, INT_MAX, -INT_MAX - 1]),
    "long": (LongType(), pa.int64(), [0, -1, LONG_MAX, -LONG_MAX - 1, 2**53 + 1]),
    "float": (FloatType(), pa.float32(), [0.0, 1.5, math.inf, -math.inf, math.nan, 3.4028234663852886e38]),
    "double": (DoubleType(), pa.float64(), [0.0, 0.1, math.inf, -math.inf, math.nan, 5e-324, 1.7976931348623157e308]),
    "decimal_9_2": (DecimalType(9, 2), pa.decimal128(9, 2), [Decimal("0.00"), Decimal("-1.25"), Decimal("9999999.99")]),
    "decimal_18_4": (DecimalType(18, 4), pa.decimal128(18, 4), [Decimal("-99999999999999.9999"), Decimal("0.0001")]),
    "decimal_38_10": (
        DecimalType(38, 10),
        pa.decimal128(38, 10),
        [Decimal("-9999999999999999999999999999.9999999999"), Decimal("0.0000000001")],
    ),
    "date": (DateType(), pa.date32(), [date(1970, 1, 1), date(1, 1, 1), date(9999, 12, 31), date(1969, 12, 31)]),
    "time": (TimeType(), pa.time64("us"), [time(0, 0), time(23, 59, 59, 999_999), time(12, 30, 0, 1)]),
    "timestamp": (
        TimestampType(),
        pa.timestamp("us"),
        [EPOCH, EPOCH - timedelta(microseconds=1), datetime(9999, 1, 1)],
    ),
    "timestamptz": (TimestamptzType(), INSTANT, [EPOCH.replace(tzinfo=UTC), datetime(1900, 1, 1, tzinfo=UTC)]),
    "string": (StringType(), pa.string(), ["", "plain", "Überraschung 🎉", "nul\0inside", "x" * 10_000]),
    "uuid": (UUIDType(), pa.binary(16), [uuid.UUID(int=0), uuid.UUID(int=2**128 - 1), uuid.UUID(int=12345 << 64)]),
    "fixed": (FixedType(16), pa.binary(16), [b"\0" * 16, b"0123456789abcdef"]),
    "binary": (BinaryType(), pa.binary(), [b"", b"\xff\x00\xfe", b"b" * 5000]),
    "list": (list_of(201, LongType()), None, [[], [1], [None, 2, None]]),
    "list_of_list": (list_of(202, list_of(203, StringType())), None, [[], [[]], [["a", None], None, ["b"]]]),
    "map": (map_of(204, StringType(), 205, IntegerType()), None, [[], [("a", 1), ("b", None)]]),
    "struct": (
        optional(206, number=IntegerType(), word=StringType()),
        None,
        [{"number": 1, "word": "a"}, {"number": None, "word": None}],
    ),
    "list_of_struct": (
        list_of(210, POINT),
        None,
        [[], [{"x": 1.5, "tags": ["a", None]}, None, {"x": None, "tags": None}]],
    ),
    "map_of_struct": (
        map_of(211, LongType(), 212, optional(213, amount=DecimalType(9, 2), on=DateType())),
        None,
        [[(7, {"amount": Decimal("1.50"), "on": date(2026, 1, 1)}), (8, None)], []],
    ),
    "struct_of_struct": (
        optional(220, inner=optional(222, at=TimestamptzType(), id=UUIDType()), flag=BooleanType()),
        None,
        [{"inner": {"at": at(), "id": uuid.UUID(int=5)}, "flag": True}, {"inner": None, "flag": None}],
    ),
}


def iceberg_schema() -> Schema:
    """Key, event time, created time and one optional column per type."""
    fixed = [
        NestedField(1, "driver_id", LongType()),
        NestedField(2, "event_timestamp", TimestamptzType()),
        NestedField(3, "created", TimestamptzType()),
    ]
    return Schema(*fixed, *(NestedField(10 + i, name, kind[0]) for i, (name, kind) in enumerate(COLUMNS.items())))


def feature_rows(schema: pa.Schema, seed: int, rows: int) -> pa.Table:
    """Random rows over 20 keys, a quarter of all values null."""
    rng = random.Random(seed)
    values = {
        name: [None if rng.random() < 0.25 else rng.choice(kind[2]) for _ in range(rows)]
        for name, kind in COLUMNS.items()
    }
    values["driver_id"] = [rng.randrange(20) for _ in range(rows)]
    values["event_timestamp"] = [at(minutes=rng.randrange(600)) for _ in range(rows)]
    values["created"] = [at(minutes=rng.randrange(600)) for _ in range(rows)]
    return pa.table([array_of(values[field.name], field.type) for field in schema], schema=schema)


def storage(kind: pa.DataType) -> pa.DataType:
    """The type with uuids as the bytes they are stored as, since pyarrow builds no nested uuids from Python."""
    if isinstance(kind, pa.BaseExtensionType):
        return kind.storage_type
    if pa.types.is_struct(kind):
        return pa.struct([field.with_type(storage(field.type)) for field in kind])
    return kind


def array_of(values: list[Any], kind: pa.DataType) -> pa.Array:
    """An array of a type from Python values."""
    return pa.array([bytes_of_uuids(value) for value in values], storage(kind)).cast(kind)


def bytes_of_uuids(value: Any) -> Any:
    """The value with uuids as bytes."""
    if isinstance(value, uuid.UUID):
        return value.bytes
    return {key: bytes_of_uuids(item) for key, item in value.items()} if isinstance(value, dict) else value


def structure(kind: pa.DataType) -> Any:
    """A nested type without the names that Arrow libraries give to list elements and map entries."""
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return ["list", structure(kind.value_type)]
    if pa.types.is_map(kind):
        return ["map", structure(kind.key_type), structure(kind.item_type)]
    if pa.types.is_struct(kind):
        return ["struct", *((field.name, structure(field.type)) for field in kind)]
    if isinstance(kind, pa.BaseExtensionType):
        return str(kind.storage_type)
    return str(kind).removeprefix("large_")


@pytest.fixture(scope="module")
def lab(start_lab: Callable[..., Lab]) -> Lab:
    """A table with every type in three files."""

    def fill(lab: Lab) -> None:
        table = lab.warehouse.create("lab.types", iceberg_schema())
        for seed in range(3):
            table.append(feature_rows(schema_to_pyarrow(table.schema()), seed, 100))
        lab.definitions.view("types", "lab.types", ["driver_id"], created_timestamp_column="created")

    return start_lab(fill)


@pytest.fixture(scope="module")
def frame() -> pa.Table:
    """Rows that match and rows that do not, out of order."""
    rng = random.Random(99)
    return drivers(*((rng.randrange(25), at(minutes=rng.randrange(-60, 700))) for _ in range(300)))


@pytest.mark.parametrize("column", COLUMNS)
def test_type_survives(lab: Lab, frame: pa.Table, column: str) -> None:
    source = lab.warehouse.catalog.load_table("lab.types").scan().to_arrow()
    result = lab.client.historical(frame, [f"types:{column}"])
    wanted = COLUMNS[column][1]
    if wanted is None:
        assert structure(result.schema.field(column).type) == structure(source.schema.field(column).type)
    else:
        assert result.schema.field(column).type == wanted
    assert rows_of(result) == naive_join(frame, source, ["driver_id"], [column], created="created")


def test_all_types_at_once(lab: Lab, frame: pa.Table) -> None:
    result = lab.client.historical(frame, [f"types:{column}" for column in COLUMNS])
    assert result.column_names == ["driver_id", "event_timestamp", *COLUMNS]
    for column in COLUMNS:
        alone = lab.client.historical(frame, [f"types:{column}"])
        assert rows_of(result.select([column])) == rows_of(alone.select([column]))


def test_no_field_metadata_reaches_the_client(lab: Lab, frame: pa.Table) -> None:
    result = lab.client.historical(frame, ["types:string", "types:list_of_struct"])
    assert all(not field.metadata for field in result.schema)
    assert not result.schema.metadata
