"""Writing: rows of Feast as Arrow batches, one DoPut for each logical write, tried again under the same name."""

import json
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.flight as fl
from feast.protos.feast.types.Value_pb2 import Value

from feast_murre import online_requests
from feast_murre.logical_write import LogicalWrite
from feast_murre.online_read import key_kind, keys_of
from feast_murre.online_values import KINDS, NOTHING, TIMESTAMP, Kind, encode, kind_of_values

Row = tuple[Any, dict[str, Value], datetime, datetime | None]
"""Entity key, features, event time, created time."""

BATCH_ROWS = 64 * 1024
"""Rows in a batch that is sent."""


class Batches:
    """Rows of one view, converted batch by batch."""

    def __init__(self, table: Any, data: Sequence[Row]) -> None:
        """Look at the first rows for what the view does not declare."""
        self._data = data
        first = keys_of([data[0][0]])
        self.keys = {name: self._key_kind(name, values) for name, values in first.items()}
        declared = online_requests.declared_features(table)
        self._features: dict[str, Kind] = {}
        for name in dict.fromkeys(name for _, values, _, _ in data for name in values):
            if name in self.keys:
                # On-demand views bring their join keys along.
                continue
            values = (row_values.get(name, NOTHING) for _, row_values, _, _ in data)
            kind = KINDS.get(declared.get(name)) or kind_of_values(values)
            if kind is not None:
                self._features[name] = kind
        self.schema = self._schema()

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        """Convert."""
        for start in range(0, len(self._data), BATCH_ROWS):
            yield self._batch(self._data[start : start + BATCH_ROWS])

    def _key_kind(self, name: str, first: Sequence[Value]) -> Kind:
        if first[0].WhichOneof("val") is None:
            raise ValueError(f"join key {name}: expected a value in every row, found null")
        return key_kind(first)

    def _schema(self) -> pa.Schema:
        own = [pa.field("event_timestamp", TIMESTAMP), pa.field("created_timestamp", TIMESTAMP)]
        columns = [pa.field(name, kind.arrow) for name, kind in (self.keys | self._features).items()]
        keys = len(self.keys)
        return pa.schema(columns[:keys] + own + columns[keys:])

    def _batch(self, rows: Sequence[Row]) -> pa.RecordBatch:
        keys, features, events, created = zip(*rows, strict=True)
        key_values = keys_of(keys)
        columns = [encode(name, kind, key_values[name]) for name, kind in self.keys.items()]
        columns += [_instants(events), _instants(created)]
        for name, kind in self._features.items():
            columns.append(encode(name, kind, [values.get(name, NOTHING) for values in features]))
        return pa.RecordBatch.from_arrays(columns, schema=self.schema)


def put(
    client: Callable[[], fl.FlightClient],
    project: str,
    view: str,
    described: dict[str, Any],
    batches: Batches,
    progress: Callable[[int], Any] | None,
    retries: int,
) -> dict[str, Any]:
    """Write rows, once however often it is tried; `progress` hears about those sent, also once."""
    write = LogicalWrite(progress, retries)
    command = online_requests.write_command(project, view, described, write.idempotency_key)
    # Before the first is sent: the end of a stream commits it, whatever ended it.
    converted = list(batches)
    return write.run(lambda: _put(client(), command, batches.schema, converted, write.sent))


def _put(
    client: fl.FlightClient,
    command: bytes,
    schema: pa.Schema,
    batches: Sequence[pa.RecordBatch],
    sent: Callable[[int], None],
) -> dict[str, Any]:
    writer, answers = client.do_put(fl.FlightDescriptor.for_command(command), schema)
    try:
        for batch in batches:
            writer.write_batch(batch)
            sent(batch.num_rows)
        writer.done_writing()
        answer = answers.read()
    finally:
        # Says what went wrong, if something did.
        writer.close()
    return {} if answer is None else json.loads(answer.to_pybytes())


def _instants(times: Sequence[datetime | None]) -> pa.Array:
    return pa.array([_instant(time) for time in times], TIMESTAMP)


def _instant(time: datetime | None) -> datetime | None:
    if time is None or time is pd.NaT:
        return None
    if isinstance(time, pd.Timestamp):
        time = time.to_pydatetime(warn=False)
    return time if time.tzinfo is not None else time.replace(tzinfo=UTC)
