"""Arrow columns as Feast's `FeatureVector`s.

Of a few rows, value by value. Of many, as protobuf's bytes made of whole columns, which the parser then takes: ten
times faster than making every message in Python.
"""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from feast.protos.feast.serving.ServingService_pb2 import FieldStatus, GetOnlineFeaturesResponse
from feast.protos.feast.types.Value_pb2 import Value
from google.protobuf.timestamp_pb2 import Timestamp

from feast_murre.online_values import Kind, decode

MANY_ROWS = 16
"""Rows from which bytes are made of columns."""

FeatureVector = GetOnlineFeaturesResponse.FeatureVector

_MICROSECONDS = 1_000_000
_SHIFTS = np.arange(0, 70, 7, dtype=np.uint64)
_LOW = np.uint64(0x7F)
_FIRST_OF_ITEM = 0x0A
"""Tag of `FeatureVector.values`: field 1, with a length."""
_SECOND_OF_TIMES = 0x1A
"""Tag of `FeatureVector.event_timestamps`: field 3, with a length."""
_STATUSES = b"\x12"
_NULL = b"\x0a\x00"
_NO_TIME = Timestamp()
_SHORT = 120
"""Texts that are shorter have lengths of one byte."""

_FIXED = {"double_val": np.dtype("<f8"), "float_val": np.dtype("<f4"), "bool_val": np.dtype("u1")}
_VARINTS = {"int32_val", "int64_val"}
_BINARY = {"string_val", "bytes_val", "json_val", "uuid_val", "time_uuid_val", "decimal_val"}


def _tag(attribute: str) -> bytes:
    field = Value.DESCRIPTOR.fields_by_name[attribute].number
    wire_type = {"double_val": 1, "float_val": 5}.get(attribute, 2 if attribute in _BINARY else 0)
    tag = field << 3 | wire_type
    return bytes([tag]) if tag < 0x80 else bytes([tag & 0x7F | 0x80, tag >> 7])


_TAGS = {attribute: _tag(attribute) for attribute in (*_FIXED, *_VARINTS, *_BINARY)}


_SHORT_HEADS = {
    _TAGS[attribute]: [
        b"\x0a" + bytes([len(_TAGS[attribute]) + 1 + size]) + _TAGS[attribute] + bytes([size]) for size in range(_SHORT)
    ]
    for attribute in _BINARY
}
"""What precedes a text, by its length."""


class Shared:
    """Statuses and times, which all features of a view have in common."""

    def __init__(self, times: pa.Array, outside: Sequence[bool] | None) -> None:
        """Of event times in microseconds, null where there is no row, and of rows older than the ttl."""
        self._rows = len(times)
        self._times = times
        self._is_missing = times.is_null().to_numpy(zero_copy_only=False) if times.null_count else None
        self._outside = outside
        self.present = self._rows - times.null_count - sum(outside or ())
        self._bytes = self._serialized() if self._rows >= MANY_ROWS else b""
        self._lists = None if self._bytes else (self._statuses(), self._timestamps())

    def vector(self, kind: Kind, column: pa.Array) -> FeatureVector:
        """The vector of a feature."""
        if self._lists is not None:
            statuses, times = self._lists
            return FeatureVector(values=decode(kind, column), statuses=statuses, event_timestamps=times)
        values = value_bytes(kind, column)
        if values is not None:
            return FeatureVector.FromString(values + self._bytes)
        vector = FeatureVector(values=decode(kind, column))
        vector.MergeFromString(self._bytes)
        return vector

    def _statuses(self) -> list[int]:
        statuses = [FieldStatus.PRESENT] * self._rows
        if self._is_missing is not None:
            statuses = [FieldStatus.NOT_FOUND if missing else FieldStatus.PRESENT for missing in self._is_missing]
        for row, is_outside in enumerate(self._outside or ()):
            if is_outside:
                statuses[row] = FieldStatus.OUTSIDE_MAX_AGE
        return statuses

    def _timestamps(self) -> list[Timestamp]:
        return [_NO_TIME if time is None else _timestamp(time) for time in self._times.to_pylist()]

    def _serialized(self) -> bytes:
        statuses = np.array(self._statuses(), dtype=np.uint8).tobytes()
        times = self._times.fill_null(0).to_numpy()
        seconds = times // _MICROSECONDS
        parts = (_varints(seconds), _varints((times - seconds * _MICROSECONDS) * 1000))
        rows = _items(_SECOND_OF_TIMES, (b"\x08", parts[0]), (b"\x10", parts[1]))
        return _STATUSES + _length(len(statuses)) + statuses + _joined(rows, self._is_missing)


def value_bytes(kind: Kind, column: pa.Array) -> bytes | None:
    """`FeatureVector.values` in protobuf, if the column is of a kind that this is worth it for."""
    attribute = kind.attribute
    if column.type != kind.arrow or attribute not in _TAGS:
        return None
    if attribute in _BINARY:
        return _binary(_TAGS[attribute], column.cast(pa.binary()).to_pylist())
    is_null = column.is_null().to_numpy(zero_copy_only=False) if column.null_count else None
    if is_null is not None:
        column = column.fill_null(False if pa.types.is_boolean(column.type) else 0)
    items = column.to_numpy(zero_copy_only=False)
    if attribute in _VARINTS:
        body = _varints(items)
    else:
        body = np.ascontiguousarray(items, dtype=_FIXED[attribute]).view(np.uint8).reshape(len(items), -1)
    return _joined(_items(_FIRST_OF_ITEM, (_TAGS[attribute], body)), is_null)


def _items(tag: int, *fields: tuple[bytes, np.ndarray]) -> np.ndarray:
    """Messages of equal length with these fields, each of a tag and its bytes; a row for each."""
    size = sum(len(field_tag) + body.shape[1] for field_tag, body in fields)
    rows = np.empty((len(fields[0][1]), 2 + size), dtype=np.uint8)
    rows[:, 0] = tag
    rows[:, 1] = size
    place = 2
    for field_tag, body in fields:
        for byte in field_tag:
            rows[:, place] = byte
            place += 1
        rows[:, place : place + body.shape[1]] = body
        place += body.shape[1]
    return rows


def _binary(tag: bytes, items: Sequence[bytes | None]) -> bytes:
    short = _SHORT_HEADS[tag]
    parts: list[bytes] = []
    for item in items:
        if item is None:
            parts.append(_NULL)
        elif len(item) < _SHORT:
            parts.append(short[len(item)])
            parts.append(item)
        else:
            body = tag + _length(len(item)) + item
            parts += (b"\x0a", _length(len(body)), body)
    return b"".join(parts)


def _varints(items: np.ndarray) -> np.ndarray:
    """Each item as a varint, all as long as the longest; a row for each."""
    items = items.astype(np.int64, copy=False)
    longest = int(items.max()).bit_length() if items.min() >= 0 else 64
    size = max(1, -(-longest // 7))
    rows = ((items.view(np.uint64)[:, None] >> _SHIFTS[:size]) & _LOW).astype(np.uint8)
    rows[:, :-1] |= 0x80
    return rows


def _joined(rows: np.ndarray, is_null: np.ndarray | None) -> bytes:
    """The bytes of all rows; a null one is only a tag and an empty length."""
    if is_null is None:
        return rows.tobytes()
    kept = np.ones(rows.shape, dtype=bool)
    kept[is_null, 2:] = False
    rows[is_null, 1] = 0
    return rows[kept].tobytes()


def _length(size: int) -> bytes:
    """A varint as short as it can be."""
    parts = bytearray()
    while size >= 0x80:
        parts.append(size & 0x7F | 0x80)
        size >>= 7
    parts.append(size)
    return bytes(parts)


def _timestamp(time: int) -> Timestamp:
    seconds, micros = divmod(time, _MICROSECONDS)
    return Timestamp(seconds=seconds, nanos=micros * 1000)
