"""The JSON texts of the wire contract, sent through stock pyarrow.flight."""

from __future__ import annotations

import base64
import json
from typing import Any

import pyarrow as pa
import pyarrow.flight as flight


def command(request: dict[str, Any]) -> flight.FlightDescriptor:
    """A command descriptor that carries a request as JSON."""
    return flight.FlightDescriptor.for_command(json.dumps(request).encode())


def historical_request(features: list[str] | str, entity: dict[str, Any] | None, **options: Any) -> dict[str, Any]:
    """A historical request; a string names a feature service, a list features."""
    chosen = {"feature_service": features} if isinstance(features, str) else {"features": features}
    source = {} if entity is None else {"entity": entity}
    return {"historical": {**chosen, **options, **source}}


def ipc(frame: pa.Table) -> str:
    """A dataframe as a request carries it in itself."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, frame.schema) as writer:
        writer.write_table(frame)
    return base64.b64encode(sink.getvalue()).decode()


# A connection of its own, that looks often for a server that was away.
EAGER = [
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.min_reconnect_backoff_ms", 50),
    ("grpc.max_reconnect_backoff_ms", 100),
]


class Client:
    """One Flight connection, and the calls a user makes on it."""

    def __init__(self, location: str, **options: Any) -> None:
        """Connect to a server; `options` go to pyarrow."""
        self.flight = flight.connect(location, **options)

    def upload(self, frame: pa.Table, max_chunksize: int | None = None) -> dict[str, Any]:
        """Stage an entity dataframe; return what the server says about it."""
        writer, reader = self.flight.do_put(command({"upload_entities": {}}), frame.schema)
        with writer:
            writer.write_table(frame, max_chunksize)
            writer.done_writing()
            reply = reader.read()
        return json.loads(reply.to_pybytes())

    def get(self, request: dict[str, Any]) -> pa.Table:
        """DoGet with the request itself as the ticket."""
        return self.flight.do_get(flight.Ticket(json.dumps(request).encode())).read_all()

    def historical(self, frame: pa.Table, features: list[str] | str, **options: Any) -> pa.Table:
        """Join features to a dataframe: upload, then DoGet."""
        upload = self.upload(frame)
        return self.get(historical_request(features, {"upload": upload["upload"]}, **options))

    def range(self, start: str, end: str, features: list[str] | str, **options: Any) -> pa.Table:
        """Features of every key and time within a range."""
        return self.get(historical_request(features, {"range": {"start": start, "end": end}}, **options))

    def exchange(self, frame: pa.Table, features: list[str] | str, **options: Any) -> pa.Table:
        """Join features to a dataframe on one DoExchange call."""
        writer, reader = self.flight.do_exchange(command(historical_request(features, None, **options)))
        with writer:
            writer.begin(frame.schema)
            writer.write_table(frame)
            writer.done_writing()
            return reader.read_all()

    def write(self, view: str, rows: pa.Table, to: str = "online", **options: Any) -> dict[str, Any]:
        """Store rows of a view; return the server's answer."""
        request = {"write": {"feature_view": view, "to": to, **options}}
        writer, reader = self.flight.do_put(command(request), rows.schema)
        with writer:
            writer.write_table(rows)
            writer.done_writing()
            answer = reader.read()
        return json.loads(answer.to_pybytes())

    def act(self, action: str, body: dict[str, Any]) -> dict[str, Any]:
        """Run an action; return its answer."""
        (result,) = self.flight.do_action(flight.Action(action, json.dumps({action: body}).encode()))
        return json.loads(result.body.to_pybytes())

    def info(self, request: dict[str, Any]) -> flight.FlightInfo:
        """Plan a request."""
        return self.flight.get_flight_info(command(request))

    def get_info(self, info: flight.FlightInfo) -> pa.Table:
        """Fetch every endpoint of a planned request."""
        parts = [self.flight.do_get(endpoint.ticket).read_all() for endpoint in info.endpoints]
        return pa.concat_tables(parts)

    def explain(self, request: dict[str, Any]) -> str:
        """The plan text of a request, which runs it."""
        results = self.flight.do_action(flight.Action("explain", json.dumps(request).encode()))
        return b"".join(result.body.to_pybytes() for result in results).decode()
