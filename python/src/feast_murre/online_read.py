"""Reading: all views of a request in one round trip, and the answer as Feast's messages.

Views that take the same columns as keys share a channel; a view whose join keys are mapped to other columns has one of
its own. All are asked before the first answer is awaited.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
from feast.feature_view import DUMMY_ENTITY_ID
from feast.protos.feast.serving.ServingService_pb2 import GetOnlineFeaturesResponse
from feast.protos.feast.types.Value_pb2 import Value

from feast_murre import online_requests
from feast_murre.online_channels import Ask, Channels
from feast_murre.online_values import BY_ATTRIBUTE, KINDS, Kind, decode, encode, kind_of_column
from feast_murre.online_vectors import Shared, append

Keys = Mapping[str, Sequence[Value]]
"""Key columns by name."""

BATCH_ROWS = 10_000
"""Keys in one batch."""
REMEMBERED = 1000
"""Requests that are not put together again."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_OUTSIDE = "OUTSIDE_MAX_AGE"


@dataclass(frozen=True, eq=False)
class View:
    """What is read of one view; the same object for the same reads, where that can be had."""

    name: str
    """With its version, as it goes over the wire."""
    prefix: str
    """Of its columns in the answer, which do not tell versions apart."""
    features: tuple[str, ...]
    kinds: Mapping[str, Kind]
    """Of the declared features."""
    join_keys: frozenset[str]
    """Those that the view declares; none where keys of any name may be asked for."""

    @classmethod
    def of(cls, table: Any, features: Sequence[str], name: str) -> "View":
        """Read `features` of Feast's view `table`, which is called `name`."""
        declared = online_requests.declared_features(table)
        kinds = {feature: KINDS[declared[feature]] for feature in features if declared.get(feature) in KINDS}
        return cls(name, f"{table.name}__", tuple(features), kinds, frozenset(online_requests.declared_keys(table)))


@dataclass
class Group:
    """Views that share a channel."""

    keys: dict[str, Sequence[Value]]
    numbers: list[int]
    """Of the views among those of the request."""
    names: dict[str, str]
    """Of the views, by the prefix of their columns."""

    def takes(self, view: View, keys: Keys) -> bool:
        """Whether another view fits in; then it is in."""
        # The very same columns: equal ones of other lists are rare and harmless.
        same = all(self.keys.get(name, column) is column for name, column in keys.items())
        return same and self.names.setdefault(view.prefix, view.name) == view.name


@dataclass
class Rows:
    """What one view has for the keys, in their order."""

    columns: list[tuple[Kind, pa.Array]]
    """Of the features asked for."""
    times: pa.Array
    """Event times in microseconds; null where there is no row."""
    outside: list[bool] | None = None
    """Rows that are older than the view's ttl, where that counts."""


class Reader:
    """Asks for features."""

    def __init__(self, channels: Channels, enforce_ttl: bool) -> None:
        """Read over `channels`."""
        self._channels = channels
        self._enforce_ttl = enforce_ttl
        self._commands: dict[tuple[str, tuple[View, ...]], bytes] = {}
        self._places: dict[tuple[bytes, int], dict[str, int]] = {}
        self._unseen: dict[tuple[str, str], str] = {}

    def expect(self, project: str, view: str, token: str) -> None:
        """Have reads of a view see the write that answered `token`, and those before it."""
        if len(self._unseen) >= REMEMBERED:
            self._unseen.clear()
        self._unseen[project, view] = token

    def forget(self) -> None:
        """Expect nothing: the tables are others now."""
        self._unseen.clear()

    def read(self, project: str, views: Sequence[View], keys: Sequence[Keys], rows: int) -> list[Rows]:
        """The latest rows of each view for its own keys, all of which are `rows` long."""
        answers: list[Rows | None] = [None] * len(views)
        groups: list[Group] = []
        for number, (view, own) in enumerate(zip(views, keys, strict=True)):
            if view.join_keys and view.join_keys != own.keys():
                # Feast looks for the key that was given, which no row has.
                answers[number] = _nothing(view, rows)
                continue
            group = next((group for group in groups if group.takes(view, own)), None)
            if group is None:
                group = Group({}, [], {view.prefix: view.name})
                groups.append(group)
            group.keys.update(own)
            group.numbers.append(number)
        if groups and rows:
            self._fill(project, views, groups, rows, answers)
        return [
            found if found is not None else _nothing(view, rows) for view, found in zip(views, answers, strict=True)
        ]

    def _fill(
        self,
        project: str,
        views: Sequence[View],
        groups: Sequence[Group],
        rows: int,
        answers: list[Rows | None],
    ) -> None:
        if self._unseen:
            for group in groups:
                for number in group.numbers:
                    self._catch_up(project, views[number], group.keys)
        asked = [(self._command(project, tuple(views[n] for n in group.numbers)), group.keys) for group in groups]
        parts = []
        for start in range(0, rows, BATCH_ROWS):
            stop = min(rows, start + BATCH_ROWS)
            parts.append(self._channels.ask([_ask(command, keys, start, stop) for command, keys in asked]))
        for position, group in enumerate(groups):
            batch = _joined([part[position] for part in parts])
            places = self._places_of(asked[position][0], batch)
            for number in group.numbers:
                answers[number] = self._rows(views[number], batch, places)

    def _catch_up(self, project: str, view: View, keys: Keys) -> None:
        """Wait until the server sees what this process has written to a view."""
        token = self._unseen.get((project, view.name))
        if token is None or not view.features:
            return
        command = online_requests.read_command(project, [f"{view.name}:{view.features[0]}"], False, token)
        # Refused where the table that was written to has been replaced by another.
        with suppress(pa.ArrowInvalid):
            self._channels.ask([_ask(command, keys, 0, 1)], keep=False)
        if self._unseen.get((project, view.name)) == token:
            self._unseen.pop((project, view.name), None)

    def _command(self, project: str, views: tuple[View, ...]) -> bytes:
        known = self._commands.get((project, views))
        if known is None:
            if len(self._commands) >= REMEMBERED:
                self._commands.clear()
            refs = dict.fromkeys(f"{view.name}:{feature}" for view in views for feature in view.features)
            known = online_requests.read_command(project, tuple(refs), self._enforce_ttl)
            self._commands[project, views] = known
        return known

    def _places_of(self, command: bytes, batch: pa.RecordBatch) -> dict[str, int]:
        """Where columns are: the same in all answers to a command and so many keys."""
        key = (command, batch.num_columns)
        known = self._places.get(key)
        if known is None:
            if len(self._places) >= REMEMBERED:
                self._places.clear()
            known = {name: place for place, name in enumerate(batch.schema.names)}
            self._places[key] = known
        return known

    def _rows(self, view: View, batch: pa.RecordBatch, places: dict[str, int]) -> Rows:
        columns = []
        for feature in view.features:
            column = batch.column(places[view.prefix + feature])
            columns.append((view.kinds.get(feature) or kind_of_column(column.type), column))
        times = batch.column(places[f"{view.prefix}event_timestamp"]).view(pa.int64())
        outside = None
        if self._enforce_ttl and view.features:
            statuses = batch.column(places[f"{view.prefix}{view.features[0]}__status"])
            outside = [status == _OUTSIDE for status in statuses.to_pylist()]
        return Rows(columns, times, outside)


def add_to_response(response: GetOnlineFeaturesResponse, names: Sequence[str], rows: Rows) -> tuple[int, int]:
    """Append a view's features; returns how many values are present and how many are not."""
    shared = Shared(rows.times, rows.outside)
    response.metadata.feature_names.val.extend(names)
    append(response, [shared.vector(kind, column) for kind, column in rows.columns])
    return shared.present * len(names), (len(rows.times) - shared.present) * len(names)


def as_feasts_rows(view: View, rows: Rows) -> list[tuple[datetime | None, dict[str, Value] | None]]:
    """The rows as `online_read` returns them."""
    found: list[tuple[datetime | None, dict[str, Value] | None]] = []
    columns = [decode(kind, column) for kind, column in rows.columns]
    for row, time in enumerate(rows.times.to_pylist()):
        if time is None or (rows.outside is not None and rows.outside[row]):
            found.append((None, None))
        else:
            values = {feature: column[row] for feature, column in zip(view.features, columns, strict=True)}
            found.append((_EPOCH + timedelta(microseconds=time), values))
    return found


def keys_of(entity_keys: Sequence[Any]) -> dict[str, list[Value]]:
    """Columns of Feast's entity keys, which all have the same join keys; none for an entity-less view."""
    names = list(entity_keys[0].join_keys)
    columns: list[list[Value]] = [[] for _ in names]
    for key in entity_keys:
        if key.join_keys != names:
            raise ValueError(f"entity keys: expected join keys {names} in all rows, found {list(key.join_keys)}")
        for column, value in zip(columns, key.entity_values, strict=True):
            column.append(value)
    return {name: column for name, column in zip(names, columns, strict=True) if name != DUMMY_ENTITY_ID}


def key_kind(values: Sequence[Value]) -> Kind:
    """The type of a key column: that of its values."""
    for value in values:
        attribute = value.WhichOneof("val")
        if attribute is not None:
            return BY_ATTRIBUTE[attribute]
    return BY_ATTRIBUTE["string_val"]


def _joined(parts: Sequence[pa.RecordBatch]) -> pa.RecordBatch:
    if len(parts) == 1:
        return parts[0]
    return pa.Table.from_batches(parts).combine_chunks().to_batches()[0]


def _ask(command: bytes, keys: Keys, start: int, stop: int) -> Ask:
    names = list(keys)
    kinds = [key_kind(values) for values in keys.values()]
    if not names:
        # A batch of rows without columns.
        rows = pa.record_batch([pa.nulls(stop - start)], names=["rows"]).select([])
        return Ask(command, rows, ())
    whole = start == 0
    columns = [
        encode(name, kind, values if whole and len(values) == stop else values[start:stop])
        for (name, values), kind in zip(keys.items(), kinds, strict=True)
    ]
    shape = tuple((name, kind.attribute) for name, kind in zip(names, kinds, strict=True))
    return Ask(command, pa.RecordBatch.from_arrays(columns, names=names), shape)


def _nothing(view: View, rows: int) -> Rows:
    nulls = pa.nulls(rows)
    columns = [(view.kinds.get(feature) or kind_of_column(nulls.type), nulls) for feature in view.features]
    return Rows(columns, pa.nulls(rows, pa.int64()))
