"""Feast's `Value`s as Arrow columns and back, so that what was written is what is read.

Scalars, lists and sets are columns of the type that other engines expect. What Arrow has no exact type for (maps,
structs, nested lists, zoned timestamps) is a binary column of serialized `Value`s. A `Value` with nothing set is null.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

import pyarrow as pa
from feast.protos.feast.types.Value_pb2 import Value
from feast.type_map import python_values_to_proto_values
from feast.value_type import ValueType

TIMESTAMP = pa.timestamp("us", tz="UTC")
"""Type of all timestamps on the wire."""

NOTHING = Value()
"""The null of Feast."""

_MICROSECONDS = 1_000_000
_NULL_SECONDS = -(2**63)
"""Feast's second spelling of a null timestamp."""
_MAX_SECONDS = (2**63 - 1) // _MICROSECONDS
_NUMPY_ROWS = 16
"""Rows from which a detour over numpy is faster."""

_SCALARS = {
    "bytes": pa.binary(),
    "string": pa.string(),
    "int32": pa.int32(),
    "int64": pa.int64(),
    "double": pa.float64(),
    "float": pa.float32(),
    "bool": pa.bool_(),
    "unix_timestamp": TIMESTAMP,
    "json": pa.string(),
    "uuid": pa.string(),
    "time_uuid": pa.string(),
    "decimal": pa.string(),
}
_OTHER_NAMES = {"VALUE_LIST": "list", "VALUE_SET": "set", "PDF_BYTES": "bytes", "IMAGE_BYTES": "bytes"}


@dataclass(frozen=True)
class Kind:
    """How the values of one type are stored."""

    type: ValueType
    """Feast's type."""
    attribute: str
    """Which of `Value`'s alternatives it is."""
    arrow: pa.DataType
    """The column's type."""
    message: Any = None
    """Class of a list's or a set's message; None for scalars."""
    whole: bool = False
    """Whether the column holds serialized `Value`s."""

    @property
    def is_time(self) -> bool:
        """Whether the column holds instants, or lists of them."""
        return self.attribute.startswith("unix_timestamp")


def _kind(value_type: ValueType) -> Kind | None:
    name = _OTHER_NAMES.get(value_type.name, value_type.name.lower())
    field = Value.DESCRIPTOR.fields_by_name.get(f"{name}_val")
    if field is None or name == "null":
        return None
    if name in _SCALARS:
        return Kind(value_type, field.name, _SCALARS[name])
    for suffix in ("_list", "_set"):
        if name.endswith(suffix) and name.removesuffix(suffix) in _SCALARS:
            item = _SCALARS[name.removesuffix(suffix)]
            return Kind(value_type, field.name, pa.list_(item), field.message_type._concrete_class)
    return Kind(value_type, field.name, pa.binary(), whole=True)


KINDS = {value_type: kind for value_type in ValueType if (kind := _kind(value_type)) is not None}
"""Every type that a feature can have."""

BY_ATTRIBUTE = {kind.attribute: kind for kind in reversed(KINDS.values())}
"""The same, by `Value`'s alternatives."""

_BY_ARROW = {kind.arrow: kind for kind in reversed(KINDS.values()) if not kind.whole}


def kind_of_values(values: Iterable[Value]) -> Kind | None:
    """The kind of the first value that is one."""
    for value in values:
        attribute = value.WhichOneof("val")
        if attribute is not None and attribute != "null_val":
            return BY_ATTRIBUTE[attribute]
    return None


def kind_of_column(column_type: pa.DataType) -> Kind:
    """The kind of a column that nothing is declared about."""
    return _BY_ARROW.get(column_type) or KINDS[ValueType.BYTES]


def encode(name: str, kind: Kind, values: Sequence[Value]) -> pa.Array:
    """A column of values of one kind.

    Raises:
        TypeError: A value is of another kind.
        ValueError: A timestamp is out of range.
    """
    if kind.whole:
        return pa.array([_serialized(value) for value in values], kind.arrow)
    if kind.message is not None:
        return pa.array(_lists(name, kind, values), kind.arrow)
    items = list(map(attrgetter(kind.attribute), values))
    for row, item in enumerate(items):
        # Only a value that looks like the default can be none, or another alternative.
        if not item and _is_unset(name, kind, values[row]):
            items[row] = None
    if kind.is_time:
        items = [_microseconds(name, item) for item in items]
    return pa.array(items, kind.arrow)


def decode(kind: Kind, column: pa.Array) -> list[Value]:
    """The values of a column, which another engine may have written in a type of its own."""
    if column.type != kind.arrow:
        converted = _converted(kind, column)
        if converted is None:
            return python_values_to_proto_values(column.to_pylist(maps_as_pydicts="strict"), kind.type)
        column = converted
    items = _plain(kind, column)
    if kind.whole:
        return [NOTHING if item is None else Value.FromString(item) for item in items]
    attribute, message = kind.attribute, kind.message
    if message is not None:
        return [NOTHING if item is None else Value(**{attribute: message(val=item)}) for item in items]
    if column.null_count == 0:
        return [Value(**{attribute: item}) for item in items]
    return [NOTHING if item is None else Value(**{attribute: item}) for item in items]


def _converted(kind: Kind, column: pa.Array) -> pa.Array | None:
    """The column in the type of its kind, if that is a matter of width."""
    if kind.whole and not (pa.types.is_null(column.type) or pa.types.is_large_binary(column.type)):
        return None
    try:
        return column.cast(kind.arrow)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return None


def _plain(kind: Kind, column: pa.Array) -> list[Any]:
    """What `Value` takes, None for null."""
    if kind.is_time:
        return _seconds(kind, column)
    if len(column) >= _NUMPY_ROWS and column.null_count == 0 and _is_number(column.type):
        return column.to_numpy().tolist()
    return column.to_pylist()


def _is_number(column_type: pa.DataType) -> bool:
    return pa.types.is_integer(column_type) or pa.types.is_floating(column_type)


def _seconds(kind: Kind, column: pa.Array) -> list[Any]:
    if kind.message is None:
        return [None if item is None else item // _MICROSECONDS for item in column.view(pa.int64()).to_pylist()]
    lists = column.cast(pa.list_(pa.int64())).to_pylist()
    return [
        None if items is None else [_NULL_SECONDS if item is None else item // _MICROSECONDS for item in items]
        for items in lists
    ]


def _lists(name: str, kind: Kind, values: Sequence[Value]) -> list[list[Any] | None]:
    get: Callable[[Value], Any] = attrgetter(kind.attribute)
    rows: list[list[Any] | None] = [list(get(value).val) for value in values]
    for row, items in enumerate(rows):
        if not items and _is_unset(name, kind, values[row]):
            rows[row] = None
        elif items and kind.is_time:
            rows[row] = [_microseconds(name, item) for item in items]
    return rows


def _serialized(value: Value) -> bytes | None:
    return value.SerializeToString(deterministic=True) if _is_set(value) else None


def _is_set(value: Value) -> bool:
    return value.WhichOneof("val") not in (None, "null_val")


def _is_unset(name: str, kind: Kind, value: Value) -> bool:
    found = value.WhichOneof("val")
    if found == kind.attribute:
        return False
    if not _is_set(value):
        return True
    raise TypeError(f"column {name}: expected {kind.attribute} for type {kind.type.name}, found {found}")


def _microseconds(name: str, seconds: int | None) -> int | None:
    if seconds is None or seconds == _NULL_SECONDS:
        return None
    if not -_MAX_SECONDS <= seconds <= _MAX_SECONDS:
        raise ValueError(f"column {name}: {seconds} seconds are out of the range of timestamps in microseconds")
    return seconds * _MICROSECONDS
