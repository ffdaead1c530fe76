"""Compressed answers, asked for by a header, through stock pyarrow."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing

import pyarrow as pa
import pyarrow.flight as flight
import pytest
from harness.client import Client, command, historical_request
from harness.frames import INSTANT, at
from harness.lab import Lab

ROWS = 100_000
FRAME = pa.table(
    {
        "driver_id": pa.array([row % 10 for row in range(ROWS)], pa.int64()),
        "event_timestamp": pa.array([at()] * ROWS, INSTANT),
    }
)
FEATURES = pa.table(
    {
        "driver_id": pa.array(range(10), pa.int64()),
        "event_timestamp": pa.array([at(hours=-1)] * 10, INSTANT),
        "city": [f"city number {driver}" for driver in range(10)],
    }
)
REFS = ["stats:city"]


class Meter:
    """A proxy that counts the bytes that the server sends."""

    def __init__(self, port: int) -> None:
        """Listen on a port of its own, for a server's port."""
        self.port, self.received = port, 0
        self.listener = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def location(self) -> str:
        """Where clients connect to."""
        return f"grpc://127.0.0.1:{self.listener.getsockname()[1]}"

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            server = socket.create_connection(("127.0.0.1", self.port))
            threading.Thread(target=self._pump, args=(client, server, False), daemon=True).start()
            threading.Thread(target=self._pump, args=(server, client, True), daemon=True).start()

    def _pump(self, source: socket.socket, target: socket.socket, counted: bool) -> None:
        with closing(target):
            try:
                while data := source.recv(1 << 16):
                    self.received += len(data) if counted else 0
                    target.sendall(data)
            except OSError:
                return


@pytest.fixture(scope="module")
def lab(start_lab: Callable[..., Lab]) -> Lab:
    """A server over one view, with online tables."""
    online = {"read_timeout_ms": 10_000}
    return start_lab(lambda lab: lab.add("stats", ["driver_id"], FEATURES), online=online)


@pytest.fixture
def meter(lab: Lab) -> Iterator[Meter]:
    """A counting proxy before the server."""
    meter = Meter(lab.server.port)
    yield meter
    meter.listener.close()


def asking_for(codec: str) -> flight.FlightCallOptions:
    """Call options with the header."""
    return flight.FlightCallOptions(headers=[(b"x-murre-compression", codec.encode())])


def historical(client: Client, options: flight.FlightCallOptions) -> pa.Table:
    """DoGet."""
    request = historical_request(REFS, {"upload": client.upload(FRAME)["upload"]})
    return client.flight.do_get(flight.Ticket(json.dumps(request).encode()), options).read_all()


def exchange(client: Client, options: flight.FlightCallOptions) -> pa.Table:
    """DoExchange."""
    writer, reader = client.flight.do_exchange(command(historical_request(REFS, None)), options)
    with writer:
        writer.begin(FRAME.schema)
        writer.write_table(FRAME)
        writer.done_writing()
        return reader.read_all()


def online(client: Client, options: flight.FlightCallOptions) -> pa.Table:
    """An online DoGet."""
    keys = FRAME["driver_id"].to_pylist()
    request = {"online": {"features": REFS, "entity_keys": {"driver_id": keys}, "ignore_ttl": True}}
    return client.flight.do_get(flight.Ticket(json.dumps(request).encode()), options).read_all()


def channel(client: Client, options: flight.FlightCallOptions) -> pa.Table:
    """An online channel."""
    request = {"online": {"features": REFS, "ignore_ttl": True}}
    writer, reader = client.flight.do_exchange(command(request), options)
    with writer:
        writer.begin(FRAME.select(["driver_id"]).schema)
        for batch in FRAME.select(["driver_id"]).to_batches(max_chunksize=ROWS // 4):
            writer.write_batch(batch)
        writer.done_writing()
        return reader.read_all()


@pytest.fixture(scope="module")
def written(lab: Lab) -> None:
    """The features in the online table."""
    request = {"write": {"feature_view": "stats", "to": "online"}}
    writer, reader = lab.client.flight.do_put(command(request), FEATURES.schema)
    with writer:
        writer.write_table(FEATURES)
        writer.done_writing()
        reader.read()


@pytest.mark.usefixtures("written")
@pytest.mark.parametrize("codec", ["lz4", "zstd"])
@pytest.mark.parametrize("ask", [historical, exchange, online, channel])
def test_compressed_answers_are_equal_and_smaller(
    meter: Meter, ask: Callable[[Client, flight.FlightCallOptions], pa.Table], codec: str
) -> None:
    client = Client(meter.location)
    plain = ask(client, flight.FlightCallOptions())
    plain_bytes = meter.received
    compressed = ask(client, asking_for(codec))
    compressed_bytes = meter.received - plain_bytes
    assert compressed == plain
    assert plain["city"].to_pylist() == [f"city number {row % 10}" for row in range(ROWS)]
    assert compressed_bytes * 5 < plain_bytes
    client.flight.close()


@pytest.mark.parametrize("codec", ["gzip", "ZSTD", ""])
def test_an_unknown_codec_is_refused(lab: Lab, codec: str) -> None:
    message = f"header x-murre-compression: expected `lz4` or `zstd`, found `{codec}`"
    for ask in (historical, exchange):
        with pytest.raises(pa.ArrowInvalid, match=message):
            ask(lab.client, asking_for(codec))


@pytest.mark.parametrize("codec", ["lz4", "zstd"])
def test_an_upload_counts_as_what_it_inflates_to(start_lab: Callable[..., Lab], codec: str) -> None:
    lab = start_lab(lambda lab: lab.add("stats", ["driver_id"], FEATURES), engine={"memory_limit": "32MiB"})
    options = flight.FlightCallOptions(write_options=pa.ipc.IpcWriteOptions(compression=codec))

    def upload(frame: pa.Table) -> int:
        writer, reader = lab.client.flight.do_put(command({"upload_entities": {}}), frame.schema, options=options)
        with writer:
            writer.write_table(frame)
            writer.done_writing()
            return json.loads(reader.read().to_pybytes())["rows"]

    assert upload(FRAME) == ROWS
    zeros = pa.table({"zeros": pa.nulls(6_000_000, pa.int64()).fill_null(0)})
    with pytest.raises(pa.ArrowInvalid, match="decoded arrow stream needs"):
        upload(zeros)
