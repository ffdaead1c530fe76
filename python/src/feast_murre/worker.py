"""The process in which a Murre server evaluates on-demand feature views: `python -m feast_murre.worker`.

The server starts it when `on_demand.python` is configured and speaks to it over standard input and output, by the
protocol that its `src/on_demand/protocol.rs` writes down: frames of one byte of kind, a length as an unsigned 32-bit
little-endian integer, and a payload. `H` says hello; `R` and then `D`, one per view, tell of a request and are answered
by `O`; `B` carries rows and is answered by `B` with the requested features; `E` says what went wrong instead.

The code of the views comes from the registry and may do anything, so it gets neither the protocol's pipes nor a server
that waits for ever: what it prints goes to standard error, and the server kills the process at a time limit.
"""

import json
import os
import struct
import sys
import threading
import time
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.ipc
from feast.on_demand_feature_view import OnDemandFeatureView
from feast.protos.feast.core.OnDemandFeatureView_pb2 import OnDemandFeatureView as OnDemandFeatureViewProto

from feast_murre.on_demand import computed

PROTOCOL = 1
MESSAGE_CHARACTERS = 500
"""Longest message of an exception that is passed on: errors travel in gRPC's metadata."""

_HEAD = struct.Struct("<cI")


class Refusal(Exception):  # noqa: N818 - not an error of ours
    """What a view's code raised."""

    def __init__(self, view: str, error: BaseException) -> None:
        """Keep the view's name and what it raised."""
        super().__init__(str(error))
        self.view = view
        self.error = error

    def to_json(self) -> bytes:
        """Return the payload of an `E` frame."""
        message = str(self.error)
        if len(message) > MESSAGE_CHARACTERS:
            message = message[: MESSAGE_CHARACTERS - 1] + "…"
        return json.dumps({"view": self.view, "type": type(self.error).__name__, "message": message}).encode()


class Request:
    """The views of one request, loaded from their definitions."""

    def __init__(self, header: dict[str, Any], definitions: list[bytes]) -> None:
        """Unpickle the code of all views."""
        self.full_feature_names = bool(header["full_feature_names"])
        self.views = [
            (_load(view, definition), list(view["features"]))
            for view, definition in zip(header["views"], definitions, strict=True)
        ]

    def evaluate(self, rows: pa.Table) -> pa.RecordBatch:
        """Return the requested features of all views, by their plain names."""
        names: list[str] = []
        columns: list[pa.Array] = []
        for view, features in self.views:
            try:
                found = computed(view, rows, features, self.full_feature_names)
            except Exception as error:
                raise Refusal(view.name, error) from error
            names.extend(features)
            columns.extend(column.combine_chunks() for column in found)
        return pa.RecordBatch.from_arrays([_one_array(column) for column in columns], names=names)


def serve(source: BinaryIO, sink: BinaryIO) -> None:
    """Answer frames until the input ends."""
    _send(sink, b"H", json.dumps({"protocol": PROTOCOL}).encode())
    request: Request | None = None
    while (frame := _receive(source)) is not None:
        kind, payload = frame
        try:
            if kind == b"R":
                request = None
                header = json.loads(payload)
                request = Request(header, [_definition(source) for _ in header["views"]])
                _send(sink, b"O", b"")
            elif kind == b"B" and request is not None:
                _send(sink, b"B", _encode(request.evaluate(_decode(payload))))
            else:
                raise RuntimeError(f"unexpected frame {kind!r}")
        except Refusal as refusal:
            _send(sink, b"E", refusal.to_json())
        except Exception as error:
            _send(sink, b"E", Refusal("", error).to_json())


def main() -> None:
    """Keep the pipes to the server for the protocol, and serve."""
    source = os.fdopen(os.dup(0), "rb")
    sink = os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(2, 1)
    threading.Thread(target=_leave_with, args=(os.getppid(),), daemon=True).start()
    serve(source, sink)


def _load(view: dict[str, Any], definition: bytes) -> OnDemandFeatureView:
    try:
        loaded = OnDemandFeatureView.from_proto(OnDemandFeatureViewProto.FromString(definition))
    except Exception as error:
        raise Refusal(view["name"], error) from error
    if view.get("alias", view["name"]) != view["name"]:
        loaded.projection.name_alias = view["alias"]
    return loaded


def _definition(source: BinaryIO) -> bytes:
    frame = _receive(source)
    if frame is None or frame[0] != b"D":
        raise RuntimeError("expected a definition")
    return frame[1]


def _one_array(column: "pa.Array | pa.ChunkedArray") -> pa.Array:
    if isinstance(column, pa.ChunkedArray):
        return pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)
    return column


def _decode(payload: bytes) -> pa.Table:
    with pa.ipc.open_stream(pa.py_buffer(payload)) as reader:
        return reader.read_all()


def _encode(batch: pa.RecordBatch) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    return sink.getvalue()


def _receive(source: BinaryIO) -> tuple[bytes, bytes] | None:
    head = source.read(_HEAD.size)
    if len(head) < _HEAD.size:
        return None
    kind, length = _HEAD.unpack(head)
    payload = source.read(length)
    return (kind, payload) if len(payload) == length else None


def _send(sink: BinaryIO, kind: bytes, payload: "bytes | pa.Buffer") -> None:
    sink.write(_HEAD.pack(kind, len(payload)))
    sink.write(payload)
    sink.flush()


def _leave_with(server: int) -> None:
    """End the process when the server has gone, even while a view's code runs and nobody reads the input."""
    while os.getppid() == server:
        time.sleep(1)
    os._exit(1)


if __name__ == "__main__":
    sys.exit(main())
