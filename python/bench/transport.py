"""Measures what Flight itself costs: Murre's DoPut and DoGet beside a server of pyarrow's that does nothing else.

    MURRE_BIN=../target/release/murre uv run python bench/transport.py

Murre's DoPut is the upload of an entity dataframe. Its DoGet joins that dataframe with a view that has no keys and one
row, so that the answer is the dataframe and one more column: most of the time is transport. Both servers run in
processes of their own over loopback; both keep every table they are sent; runs alternate, and figures are medians.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

import numpy as np
import pyarrow as pa
import pyarrow.flight as flight
from harness.client import Client, historical_request
from harness.definitions import Definitions
from harness.frames import INSTANT, at
from harness.server import Server, accepts_connections, free_port
from harness.warehouse import Warehouse

TABLE = "bench.one_row"
CHUNK_ROWS = 64 * 1024


class Echo(flight.FlightServerBase):
    """Takes tables, keeps them as Murre does, and gives the last one back."""

    def __init__(self, location: str) -> None:
        """Listen at the location, without tables yet."""
        super().__init__(location)
        self.tables: list[pa.Table] = []

    def do_put(
        self,
        context: flight.ServerCallContext,
        descriptor: flight.FlightDescriptor,
        reader: flight.MetadataRecordBatchReader,
        writer: flight.FlightMetadataWriter,
    ) -> None:
        """Keep the table."""
        self.tables.append(reader.read_all())

    def do_get(self, context: flight.ServerCallContext, ticket: flight.Ticket) -> flight.RecordBatchStream:
        """Return the last one."""
        return flight.RecordBatchStream(self.tables[-1])


def dataframe(rows: int) -> pa.Table:
    """Eighty bytes a row: a key, a time and eight doubles."""
    rng = np.random.default_rng(1)
    columns = {
        "driver_id": pa.array(rng.integers(0, 1 << 40, rows)),
        "event_timestamp": pa.array(np.full(rows, int(at().timestamp()) * 1_000_000)).cast(INSTANT),
    }
    return pa.table({**columns, **{f"x{i}": pa.array(rng.random(rows)) for i in range(8)}})


def prepare(directory: Path) -> Server:
    """A Murre server with one view of one row."""
    warehouse = Warehouse(directory)
    row = {"event_timestamp": pa.array([at()], INSTANT), "f": pa.array([0.5])}
    warehouse.create(TABLE, pa.table(row).schema).append(pa.table(row))
    definitions = Definitions("bench")
    definitions.view("one_row", TABLE, [], features=["f"])
    (directory / "features.toml").write_text(definitions.render())
    registry = {"type": "toml", "path": str(directory / "features.toml")}
    return Server.serve(directory, {"catalogs.default": warehouse.config(), "registry": registry})


def timed(run: Callable[[], object]) -> float:
    """Seconds of a call."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def put(client: flight.FlightClient, table: pa.Table) -> None:
    """Send a table to the echo server."""
    writer, _ = client.do_put(flight.FlightDescriptor.for_path("t"), table.schema)
    with writer:
        writer.write_table(table, CHUNK_ROWS)


def measure(murre: Client, echo: flight.FlightClient, table: pa.Table, repeat: int) -> dict[str, list[float]]:
    """Seconds of each run, the first of each kind left out."""
    seconds: dict[str, list[float]] = {name: [] for name in ("murre put", "echo put", "murre get", "echo get")}
    for _ in range(repeat + 1):
        seconds["echo put"].append(timed(lambda: put(echo, table)))
        seconds["murre put"].append(timed(lambda: murre.upload(table, CHUNK_ROWS)))
        request = historical_request(["one_row:f"], {"upload": murre.upload(table, CHUNK_ROWS)["upload"]})
        seconds["echo get"].append(timed(lambda: echo.do_get(flight.Ticket(b"t")).read_all()))
        seconds["murre get"].append(timed(lambda request=request: murre.get(request)))
    return {name: runs[1:] for name, runs in seconds.items()}


def show(seconds: dict[str, list[float]], table: pa.Table) -> None:
    """Print throughputs and ratios."""
    medians = {name: statistics.median(runs) for name, runs in seconds.items()}
    for kind in ("put", "get"):
        murre, echo = medians[f"murre {kind}"], medians[f"echo {kind}"]
        rates = f"Murre {table.nbytes / murre / 1e9:.2f} GB/s, pyarrow {table.nbytes / echo / 1e9:.2f} GB/s"
        print(f"Do{kind.title()}: {rates}, time {murre / echo:.2f} x pyarrow's")
    print(json.dumps(medians))


def main() -> None:
    """Start both servers, measure, show."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=3_000_000)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--echo", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.echo:
        Echo(f"grpc://127.0.0.1:{arguments.echo}").serve()
        return
    port = free_port()
    with tempfile.TemporaryDirectory() as name:
        server = prepare(Path(name))
        process = subprocess.Popen([sys.executable, __file__, "--echo", str(port)])
        try:
            while not accepts_connections(port):
                time.sleep(0.05)
            table = dataframe(arguments.rows)
            echo = flight.connect(f"grpc://127.0.0.1:{port}")
            show(measure(Client(server.location), echo, table, arguments.repeat), table)
        finally:
            process.kill()
            server.stop()


if __name__ == "__main__":
    main()
