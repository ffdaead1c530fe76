"""Arrow columns as Feast's `FeatureVector`s, in the bytes of protobuf.

Making a message of Python's for every value is what reading features would spend its time on. Here the bytes are put
together, of whole columns where there are many rows, and parsed at once.
"""

import struct
from collections.abc import Callable, Iterable, Sequence

import numpy as np
import pyarrow as pa
from feast.protos.feast.serving.ServingService_pb2 import FieldStatus, GetOnlineFeaturesResponse
from feast.protos.feast.types.Value_pb2 import Value

from feast_murre.online_values import Kind, decode

MANY_ROWS = 24
"""Rows from which numbers go through numpy."""

FeatureVector = GetOnlineFeaturesResponse.FeatureVector

_ITEM = b"\x0a"
"""Tag of `FeatureVector.values`."""
_STATUSES = b"\x12"
"""Tag of `FeatureVector.statuses`."""
_TIME = b"\x1a"
"""Tag of `FeatureVector.event_timestamps`."""
_SECONDS, _NANOS = b"\x08", b"\x10"
"""Tags of the fields of a timestamp."""
_RESULT = bytes([GetOnlineFeaturesResponse.DESCRIPTOR.fields_by_name["results"].number << 3 | 2])
"""Tag of `GetOnlineFeaturesResponse.results`."""
_NULL = b"\x0a\x00"
_NO_TIME = b"\x1a\x00"

_PRESENT, _NOT_FOUND, _OUTSIDE = FieldStatus.PRESENT, FieldStatus.NOT_FOUND, FieldStatus.OUTSIDE_MAX_AGE

_MICROSECONDS = 1_000_000
_64_BITS = 2**64 - 1
_SHIFTS = np.arange(0, 70, 7, dtype=np.uint64)
_LOW = np.uint64(0x7F)


def varint(number: int) -> bytes:
    """A number as protobuf writes it; negative ones as if they had 64 bits."""
    number &= _64_BITS
    if number < 0x80:
        return _SHORT_VARINTS[number]
    parts = bytearray()
    while number >= 0x80:
        parts.append(number & 0x7F | 0x80)
        number >>= 7
    parts.append(number)
    return bytes(parts)


_SHORT_VARINTS = [bytes([number]) for number in range(0x80)]


def _tag(attribute: str, wire_type: int) -> bytes:
    return varint(Value.DESCRIPTOR.fields_by_name[attribute].number << 3 | wire_type)


_FIXED = {"double_val": np.dtype("<f8"), "float_val": np.dtype("<f4"), "bool_val": np.dtype("u1")}
_TAGS = {
    **{"double_val": _tag("double_val", 1), "float_val": _tag("float_val", 5), "bool_val": _tag("bool_val", 0)},
    **{name: _tag(name, 0) for name in ("int32_val", "int64_val")},
}
_TEXTS = {
    name: _tag(name, 2) for name in ("string_val", "bytes_val", "json_val", "uuid_val", "time_uuid_val", "decimal_val")
}


class Shared:
    """Statuses and times, which all features of a view have in common."""

    def __init__(self, times: pa.Array, outside: Sequence[bool] | None) -> None:
        """Of event times in microseconds, null where there is no row, and of rows older than the ttl."""
        self.present = len(times) - times.null_count - sum(outside or ())
        plain = times.to_pylist()
        statuses = bytes([_NOT_FOUND if time is None else _PRESENT for time in plain])
        if outside is not None:
            pairs = zip(statuses, outside, strict=True)
            statuses = bytes([_OUTSIDE if is_outside else status for status, is_outside in pairs])
        self._bytes = _STATUSES + varint(len(statuses)) + statuses + _times(plain, times)

    def vector(self, kind: Kind, column: pa.Array) -> bytes:
        """The vector of a feature."""
        return _values(kind, column) + self._bytes


def append(response: GetOnlineFeaturesResponse, vectors: Iterable[bytes]) -> None:
    """Add vectors to a response."""
    parts: list[bytes] = []
    for vector in vectors:
        parts += (_RESULT, varint(len(vector)), vector)
    response.MergeFromString(b"".join(parts))


def _values(kind: Kind, column: pa.Array) -> bytes:
    attribute = kind.attribute
    if column.type != kind.arrow:
        return _whole(decode(kind, column))
    if attribute in _TAGS:
        if len(column) >= MANY_ROWS:
            return _numbers(attribute, column)
        one = _ONE[attribute]
        return b"".join([_NULL if item is None else one(item) for item in column.to_pylist()])
    if attribute in _TEXTS:
        return _texts(_TEXTS[attribute], _bytes_of(column))
    return _whole(decode(kind, column))


def _whole(values: Sequence[Value]) -> bytes:
    parts: list[bytes] = []
    for value in values:
        body = value.SerializeToString()
        parts += (_ITEM, varint(len(body)), body)
    return b"".join(parts)


def _bytes_of(column: pa.Array) -> list[bytes | None]:
    if pa.types.is_binary(column.type):
        return column.to_pylist()
    if len(column) >= MANY_ROWS:
        return column.cast(pa.binary()).to_pylist()
    return [None if text is None else text.encode() for text in column.to_pylist()]


def _texts(tag: bytes, items: Sequence[bytes | None]) -> bytes:
    parts: list[bytes] = []
    for item in items:
        if item is None:
            parts.append(_NULL)
        else:
            head = tag + varint(len(item))
            parts += (_ITEM, varint(len(head) + len(item)), head, item)
    return b"".join(parts)


def _one_fixed(attribute: str, layout: str) -> Callable[[float], bytes]:
    pack = struct.Struct(layout).pack
    tag = _TAGS[attribute]
    head = _ITEM + varint(len(tag) + struct.calcsize(layout)) + tag
    return lambda item: head + pack(item)


def _one_varint(attribute: str) -> Callable[[int], bytes]:
    tag = _TAGS[attribute]

    def one(item: int) -> bytes:
        body = tag + varint(item)
        return _ITEM + varint(len(body)) + body

    return one


_ONE: dict[str, Callable[..., bytes]] = {
    "double_val": _one_fixed("double_val", "<d"),
    "float_val": _one_fixed("float_val", "<f"),
    "bool_val": _one_varint("bool_val"),
    "int32_val": _one_varint("int32_val"),
    "int64_val": _one_varint("int64_val"),
}
"""A value by itself."""


def _numbers(attribute: str, column: pa.Array) -> bytes:
    is_null = None
    if column.null_count:
        is_null = column.is_null().to_numpy(zero_copy_only=False)
        column = column.fill_null(False if pa.types.is_boolean(column.type) else 0)
    items = column.to_numpy(zero_copy_only=False)
    if attribute in _FIXED:
        body = np.ascontiguousarray(items, dtype=_FIXED[attribute]).view(np.uint8).reshape(len(items), -1)
    else:
        body = _varints(items)
    return _messages(_ITEM, is_null, (_TAGS[attribute], body))


def _times(plain: Sequence[int | None], times: pa.Array) -> bytes:
    if len(plain) < MANY_ROWS:
        return b"".join([_NO_TIME if time is None else _one_time(time) for time in plain])
    is_null = times.is_null().to_numpy(zero_copy_only=False) if times.null_count else None
    micros = times.fill_null(0).to_numpy()
    seconds = micros // _MICROSECONDS
    nanos = (micros - seconds * _MICROSECONDS) * 1000
    return _messages(_TIME, is_null, (_SECONDS, _varints(seconds)), (_NANOS, _varints(nanos)))


def _one_time(time: int) -> bytes:
    seconds, micros = divmod(time, _MICROSECONDS)
    body = _SECONDS + varint(seconds) + _NANOS + varint(micros * 1000)
    return _TIME + varint(len(body)) + body


def _varints(items: np.ndarray) -> np.ndarray:
    """Each item as a varint, all as long as the longest; a row for each."""
    items = items.astype(np.int64, copy=False)
    longest = int(items.max()).bit_length() if items.min() >= 0 else 64
    size = max(1, -(-longest // 7))
    rows = ((items.view(np.uint64)[:, None] >> _SHIFTS[:size]) & _LOW).astype(np.uint8)
    rows[:, :-1] |= 0x80
    return rows


def _messages(tag: bytes, is_null: np.ndarray | None, *fields: tuple[bytes, np.ndarray]) -> bytes:
    """Messages with these fields, each of a tag and its bytes by row; empty messages where there is null."""
    size = sum(len(field_tag) + body.shape[1] for field_tag, body in fields)
    rows = np.empty((len(fields[0][1]), 2 + size), dtype=np.uint8)
    rows[:, 0] = tag[0]
    rows[:, 1] = size
    place = 2
    for field_tag, body in fields:
        end = place + len(field_tag)
        rows[:, place:end] = np.frombuffer(field_tag, dtype=np.uint8)
        place = end + body.shape[1]
        rows[:, end:place] = body
    if is_null is None:
        return rows.tobytes()
    kept = np.ones(rows.shape, dtype=bool)
    kept[is_null, 2:] = False
    rows[is_null, 1] = 0
    return rows[kept].tobytes()
