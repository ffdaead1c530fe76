"""The online side of a Murre server in memory: writes, reads, tables. It speaks the wire and keeps what it was sent."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pyarrow as pa
import pyarrow.flight as fl

INSTANT = pa.timestamp("us", tz="UTC")


class Table:
    """Latest rows of one view."""

    def __init__(self) -> None:
        """Start without rows."""
        self.types: dict[str, pa.DataType] = {}
        self.rows: dict[tuple[Any, ...], dict[str, Any]] = {}

    def add(self, keys: list[str], batch: pa.RecordBatch) -> None:
        """Keep a row that is not older than what is known."""
        self.types.update({field.name: field.type for field in batch.schema})
        times = batch.column("event_timestamp").cast(pa.int64()).to_pylist()
        # Instants as numbers: Python's cannot hold all of them.
        columns = {name: _plain(batch.column(name)) for name in batch.schema.names}
        for row in range(batch.num_rows):
            values = {name: column[row] for name, column in columns.items()}
            values["event_timestamp"] = times[row]
            key = tuple(values[name] for name in keys)
            if key not in self.rows or self.rows[key]["event_timestamp"] <= times[row]:
                self.rows[key] = values


class FakeOnline(fl.FlightServerBase):
    """`failures` are raised by the next calls, one each."""

    def __init__(self) -> None:
        """Listen on a free port."""
        super().__init__("grpc://127.0.0.1:0")
        self.tables: dict[tuple[str, str], Table] = {}
        self.keys: dict[tuple[str, str], list[str]] = {}
        self.writes: list[dict[str, Any]] = []
        self.actions: list[dict[str, Any]] = []
        self.channels: list[dict[str, Any]] = []
        self.asked = 0
        self.failures: list[Exception] = []
        self.done: set[str] = set()
        self.lock = threading.Lock()
        self.awake = threading.Event()
        self.awake.set()

    @contextmanager
    def stalled(self) -> Iterator[None]:
        """Have calls wait, for ever as far as they know."""
        self.awake.clear()
        yield
        self.awake.set()

    def do_put(self, context: Any, descriptor: Any, reader: Any, writer: Any) -> None:
        """Write rows."""
        command = json.loads(descriptor.command)
        write = command["write"]
        batches = list(_batches(reader))
        self._fail()
        rows = sum(batch.num_rows for batch in batches)
        with self.lock:
            self.writes.append(command)
            replayed = write["idempotency_key"] in self.done
            self.done.add(write["idempotency_key"])
            name = (command["project"], write["feature_view"])
            keys = [key["name"] for key in write["definition"]["join_keys"]]
            self.keys[name] = keys
            for batch in batches if not replayed else []:
                self.tables.setdefault(name, Table()).add(keys, batch)
        writer.write(json.dumps({"rows": rows, "replayed": replayed}).encode())

    def do_exchange(self, context: Any, descriptor: Any, reader: Any, writer: Any) -> None:
        """Answer batches of keys."""
        command = json.loads(descriptor.command)
        self.channels.append(command)
        begun = False
        for batch in _batches(reader):
            self.asked += 1
            self.awake.wait()
            self._fail()
            answer = self._answer(command["project"], command["online"], batch)
            if not begun:
                writer.begin(answer.schema)
                begun = True
            writer.write_batch(answer)

    def do_action(self, context: Any, action: Any) -> list[Any]:
        """Keep and drop tables."""
        command = json.loads(action.body.to_pybytes())
        self.actions.append(command)
        project = command["project"]
        gone = command.get("update", {}).get("delete", []) + command.get("teardown", {}).get("feature_views", [])
        for known in list(self.tables):
            if known[0] == project and known[1].split("@")[0] in gone:
                del self.tables[known]
        return [fl.Result(b"{}")]

    def _fail(self) -> None:
        if self.failures:
            raise self.failures.pop(0)

    def _answer(self, project: str, online: dict[str, Any], batch: pa.RecordBatch) -> pa.RecordBatch:
        names, columns = list(batch.schema.names), list(batch.columns)
        asked = {name: _plain(column) for name, column in zip(names, columns, strict=True)}
        views: dict[str, list[str]] = {}
        for ref in online["features"]:
            view, feature = ref.split(":")
            views.setdefault(view, []).append(feature)
        for view, features in views.items():
            table = self.tables.get((project, view))
            if table is None:
                raise KeyError(f"no online table of view {view}")
            own = [asked[name] for name in self.keys[project, view]]
            keys = zip(*own, strict=True) if own else [()] * batch.num_rows
            found = [table.rows.get(key) for key in keys]
            for feature in features:
                column_type = table.types.get(feature, pa.null())
                values = [None if row is None else row.get(feature) for row in found]
                names.append(f"{view}__{feature}")
                columns.append(_array(values, column_type))
                if online["include_status"]:
                    names.append(f"{view}__{feature}__status")
                    columns.append(pa.array(["PRESENT" if row else "NOT_FOUND" for row in found]))
            times = [None if row is None else row["event_timestamp"] for row in found]
            names.append(f"{view}__event_timestamp")
            columns.append(pa.array(times, INSTANT))
        return pa.RecordBatch.from_arrays(columns, names=names)


def _batches(reader: Any) -> Any:
    while True:
        try:
            chunk = reader.read_chunk()
        except StopIteration:
            return
        if chunk.data is not None:
            yield chunk.data


def _plain(column: pa.Array) -> list[Any]:
    if pa.types.is_timestamp(column.type):
        return column.cast(pa.int64()).to_pylist()
    if pa.types.is_list(column.type) and pa.types.is_timestamp(column.type.value_type):
        return column.cast(pa.list_(pa.int64())).to_pylist()
    return column.to_pylist()


def _array(values: list[Any], column_type: pa.DataType) -> pa.Array:
    if pa.types.is_list(column_type):
        return (
            pa.array(values, column_type)
            if not pa.types.is_timestamp(column_type.value_type)
            else pa.array(values, pa.list_(pa.int64())).cast(column_type)
        )
    return pa.array(values, column_type)
