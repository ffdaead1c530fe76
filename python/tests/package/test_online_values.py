"""Every type that a feature can have, through a column and back."""

from typing import Any

import pyarrow as pa
import pytest
from feast.protos.feast.types.Value_pb2 import Value
from feast.type_map import python_values_to_proto_values
from feast.value_type import ValueType

from feast_murre.online_values import KINDS, NOTHING, decode, encode, kind_of_column, kind_of_values

TEXTS = {"string", "json", "uuid", "time_uuid", "decimal"}
SCALARS: dict[str, Any] = {
    "bytes": [b"", b"\x00\xff"],
    "int32": [0, -(2**31), 2**31 - 1],
    "int64": [0, -(2**63), 2**63 - 1],
    "double": [0.0, 0.1, float("inf"), 5e-324],
    "float": [0.0, 0.5, float("-inf")],
    "bool": [False, True],
    "unix_timestamp": [0, -1, 253_402_300_799, -9_000_000_000_000],
    **{name: ["", "ø", '{"a": 1}'] for name in TEXTS},
}


def samples(value_type: ValueType) -> list[Value]:
    """Values of one type, with the empty and the extreme."""
    kind = KINDS[value_type]
    name = kind.attribute.removesuffix("_val")
    if name in SCALARS:
        return [Value(**{kind.attribute: item}) for item in SCALARS[name]]
    if kind.message is not None:
        items = SCALARS[name.removesuffix("_list").removesuffix("_set")]
        return [Value(**{kind.attribute: kind.message(val=some)}) for some in ([], items, items[:1])]
    found = []
    for inner in ({"int64_val": 7}, {"string_val": "x"}, {}):
        value = Value()
        getattr(value, kind.attribute).SetInParent()
        if kind.attribute in ("list_val", "set_val"):
            value.list_val.val.add(**inner) if kind.attribute == "list_val" else value.set_val.val.add(**inner)
        elif kind.attribute in ("map_val", "struct_val"):
            getattr(value, kind.attribute).val["k"].CopyFrom(Value(**inner))
        elif kind.attribute == "zoned_timestamp_val":
            value.zoned_timestamp_val.unix_timestamp = 12
            value.zoned_timestamp_val.zone = "Europe/Oslo"
        found.append(value)
    return found


@pytest.mark.parametrize("value_type", KINDS, ids=lambda value_type: value_type.name)
def test_every_type_comes_back_as_it_was(value_type: ValueType) -> None:
    kind = KINDS[value_type]
    values = [NOTHING, *samples(value_type), NOTHING]
    column = encode("f", kind, values)
    assert column.type == kind.arrow
    assert column.null_count == 2
    assert decode(kind, column) == values
    # Without nulls, and with more rows, other code runs.
    assert decode(kind, encode("f", kind, values[1:-1] * 10)) == values[1:-1] * 10


def test_all_types_of_feast_are_known() -> None:
    unknown = {value_type.name for value_type in ValueType} - {value_type.name for value_type in KINDS}
    assert unknown == {"UNKNOWN", "NULL"}


def test_columns_of_nothing_are_nulls() -> None:
    for kind in KINDS.values():
        assert decode(kind, pa.nulls(2)) == [NOTHING, NOTHING]
        assert decode(kind, encode("f", kind, [NOTHING])) == [NOTHING]


def test_a_null_timestamp_of_feast_is_null() -> None:
    kind = KINDS[ValueType.UNIX_TIMESTAMP]
    null = Value(unix_timestamp_val=-(2**63))
    assert decode(kind, encode("f", kind, [null])) == [NOTHING]
    lists = KINDS[ValueType.UNIX_TIMESTAMP_LIST]
    value = Value()
    value.unix_timestamp_list_val.val.extend([5, -(2**63)])
    assert decode(lists, encode("f", lists, [value])) == [value]


def test_a_timestamp_out_of_range_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="column f: 9300000000000 seconds"):
        encode("f", KINDS[ValueType.UNIX_TIMESTAMP], [Value(unix_timestamp_val=9_300_000_000_000)])


@pytest.mark.parametrize("other", [Value(int32_val=0), Value(int32_val=1)])
def test_a_value_of_another_type_is_refused_by_name(other: Value) -> None:
    with pytest.raises(TypeError, match="column f: expected int64_val for type INT64, found int32_val"):
        encode("f", KINDS[ValueType.INT64], [Value(int64_val=1), other])


def test_columns_of_other_engines_are_read_as_what_is_declared() -> None:
    assert decode(KINDS[ValueType.INT64], pa.array([1, None], pa.int32())) == [Value(int64_val=1), NOTHING]
    assert decode(KINDS[ValueType.STRING], pa.array(["a"], pa.large_string())) == [Value(string_val="a")]
    instants = pa.array([1_500], pa.timestamp("ms"))
    assert decode(KINDS[ValueType.UNIX_TIMESTAMP], instants) == [Value(unix_timestamp_val=1)]
    items = pa.array([[1]], pa.large_list(pa.int32()))
    assert decode(KINDS[ValueType.INT64_LIST], items)[0].int64_list_val.val == [1]
    maps = pa.array([[("a", "b")]], pa.map_(pa.string(), pa.string()))
    assert decode(KINDS[ValueType.MAP], maps) == python_values_to_proto_values([{"a": "b"}], ValueType.MAP)


def test_what_nothing_is_declared_about_goes_by_its_values_and_columns() -> None:
    assert kind_of_values([NOTHING, Value(string_val="")]) == KINDS[ValueType.STRING]
    assert kind_of_values([NOTHING]) is None
    assert kind_of_column(pa.float64()) == KINDS[ValueType.DOUBLE]
    assert kind_of_column(pa.string()) == KINDS[ValueType.STRING]
