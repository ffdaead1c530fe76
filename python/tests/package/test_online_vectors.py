"""Vectors made of whole columns are those that are made value by value."""

import pyarrow as pa
import pytest
from feast.protos.feast.serving.ServingService_pb2 import FieldStatus
from feast.protos.feast.types.Value_pb2 import Value
from feast.value_type import ValueType
from google.protobuf.timestamp_pb2 import Timestamp
from test_online_values import samples

from feast_murre.online_values import KINDS, NOTHING, encode
from feast_murre.online_vectors import MANY_ROWS, FeatureVector, Shared


def vector_of(values: list[Value], times: list[int | None], value_type: ValueType) -> FeatureVector:
    kind = KINDS[value_type]
    return FeatureVector.FromString(Shared(pa.array(times, pa.int64()), None).vector(kind, encode("f", kind, values)))


@pytest.mark.parametrize("with_nulls", [True, False])
@pytest.mark.parametrize("value_type", KINDS, ids=lambda value_type: value_type.name)
def test_many_rows_are_as_few(value_type: ValueType, with_nulls: bool) -> None:
    values = [*samples(value_type), *([NOTHING] if with_nulls else [])]
    rows = values * MANY_ROWS
    vector = vector_of(rows, [0] * len(rows), value_type)
    assert list(vector.values) == rows
    assert list(vector.statuses) == [FieldStatus.PRESENT] * len(rows)
    few = vector_of(values, [0] * len(values), value_type)
    assert list(few.values) == values


@pytest.mark.parametrize("times", [1, MANY_ROWS])
def test_times_and_statuses(times: int) -> None:
    instants = [1_500_000, None, -1, 0, 253_402_300_799_999_999]
    values = [Value(string_val="x" * size) for size in (0, 119, 120, 130, 70_000)]
    vector = vector_of(values * times, instants * times, ValueType.STRING)
    assert list(vector.values) == values * times
    found, missing = FieldStatus.PRESENT, FieldStatus.NOT_FOUND
    assert list(vector.statuses) == [found, missing, found, found, found] * times
    expected = [
        Timestamp(seconds=1, nanos=500_000_000),
        Timestamp(),
        Timestamp(seconds=-1, nanos=999_999_000),
        Timestamp(),
        Timestamp(seconds=253_402_300_799, nanos=999_999_000),
    ]
    assert list(vector.event_timestamps) == expected * times


def test_rows_outside_of_their_ttl() -> None:
    for rows in (2, MANY_ROWS):
        shared = Shared(pa.array([1] * rows, pa.int64()), [True] + [False] * (rows - 1))
        kind = KINDS[ValueType.INT64]
        vector = FeatureVector.FromString(shared.vector(kind, pa.array([None] + [1] * (rows - 1), pa.int64())))
        assert list(vector.statuses) == [FieldStatus.OUTSIDE_MAX_AGE] + [FieldStatus.PRESENT] * (rows - 1)
        assert shared.present == rows - 1
