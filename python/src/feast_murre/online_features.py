"""What `get_online_features` needs to know of a request, found out once for as long as Feast's registry stays the same.

Feast's generic path works most of it out for every call. It still does so for requests that are more than reading:
those with on-demand views, request data or vectors computed ahead.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from feast import utils
from feast.feature_service import FeatureService
from feast.feature_view import DUMMY_ENTITY_ID
from feast.protos.feast.types.Value_pb2 import Value
from feast.type_map import python_values_to_proto_values
from feast.value_type import ValueType

from feast_murre.online_read import REMEMBERED, View

Columns = Mapping[str, Any]
"""Values by column: join keys and whatever else the caller has."""


@dataclass
class Prepared:
    """A request that is nothing but reading."""

    context: Any
    """Feast's own findings, whose identity says that they still hold."""
    tables: list[tuple[Any, list[str]]]
    """Views with their features."""
    views: list[View]
    types: dict[str, ValueType]
    """Of the features, by all names that they have."""
    key_names: frozenset[str]
    """Columns that are join keys."""
    key_types: Mapping[str, ValueType]
    join_keys: Mapping[str, str]
    """By the entities' names."""
    is_entity_less: bool

    def keys(self, entity_rows: "list[dict[str, Any]] | Columns") -> tuple[dict[str, list[Value]], int] | None:
        """The join keys and the number of rows; None where Feast has to have a look."""
        columns = _columnar(entity_rows)
        if columns is None:
            return None
        found: dict[str, list[Value]] = {}
        lengths = set()
        for name, values in columns.items():
            values = list(values) if isinstance(values, Sequence) else list(values.val)
            lengths.add(len(values))
            if name in self.key_names:
                found[name] = _values(values, self.key_types.get(name, ValueType.UNKNOWN))
            elif name in self.join_keys:
                return None
        if len(lengths) != 1:
            return None
        return found, lengths.pop()


class Requests:
    """Requests that were made before."""

    def __init__(self) -> None:
        """Know none."""
        self._known: dict[int, tuple[Any, Prepared | None]] = {}

    def prepare(
        self,
        registry: Any,
        project: str,
        features: "list[str] | FeatureService",
        full_feature_names: bool,
        view_of: Callable[[Any, Sequence[str]], View],
    ) -> Prepared | None:
        """A request that is nothing but reading, or None if it is more."""
        if getattr(features, "precompute_online", False):
            return None
        context = utils._get_cached_request_context(registry, project, features, full_feature_names)
        known = self._known.get(id(context))
        if known is None or known[0] is not context:
            if len(self._known) >= REMEMBERED:
                self._known.clear()
            known = (context, _prepared(context, full_feature_names, view_of))
            self._known[id(context)] = known
        return known[1]


def _columnar(entity_rows: "list[dict[str, Any]] | Columns") -> Columns | None:
    """Rows as columns; None where Feast has to say what is wrong with them."""
    if not isinstance(entity_rows, list):
        return entity_rows
    if len(entity_rows) == 1:
        return {name: [value] for name, value in entity_rows[0].items()}
    if not entity_rows:
        return None
    names = entity_rows[0].keys()
    if any(row.keys() != names for row in entity_rows):
        return None
    return {name: [row[name] for row in entity_rows] for name in names}


def _prepared(
    context: tuple[Any, ...], full_feature_names: bool, view_of: Callable[[Any, Sequence[str]], View]
) -> Prepared | None:
    (_, on_demand, join_keys, key_types, key_names, tables, requested, request_data, is_entity_less) = context
    if on_demand or request_data:
        return None
    types: dict[str, ValueType] = {}
    for table, features in tables:
        name = table.projection.name_to_use()
        for feature in features:
            if (f"{name}__{feature}" if full_feature_names else feature) not in requested:
                return None
        for field in table.features:
            if field.name in features:
                types[field.name] = types[f"{name}__{field.name}"] = field.dtype.to_value_type()
    views = [view_of(table, features) for table, features in tables]
    return Prepared(context, tables, views, types, frozenset(key_names), key_types, join_keys, is_entity_less)


def _values(values: list[Any], value_type: ValueType) -> list[Value]:
    """The same as Feast's, which looks at every value from all sides."""
    if value_type is ValueType.INT64 and all(type(value) is int for value in values):
        return [Value(int64_val=value) for value in values]
    if value_type is ValueType.STRING and all(type(value) is str and value for value in values):
        return [Value(string_val=value) for value in values]
    return python_values_to_proto_values(values, value_type)


def with_dummy(keys: dict[str, list[Value]], rows: int) -> dict[str, list[Value]]:
    """The keys with that of entity-less views."""
    return {**keys, DUMMY_ENTITY_ID: [Value(string_val="")] * rows}
