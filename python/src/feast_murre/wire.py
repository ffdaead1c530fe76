"""Feast's offline store wire, streamed: one DoExchange for a read, one DoPut for everything else.

A command is JSON in the call's descriptor; rows travel in batches, so that no message grows with the table.
"""

import json
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.flight as fl
from feast.arrow_error_handler import arrow_client_error_handling_decorator
from feast.infra.offline_stores.remote import FeastFlightClient

from feast_murre.logical_write import LogicalWrite

Progress = Callable[[int], Any]
"""Called with the number of rows that have just gone over the wire."""

UPLOAD_ROWS = 64 * 1024
"""Rows in a batch that is sent."""

_NO_TABLE = pa.table({"key": pa.array(["no table"])})


@dataclass
class Upload:
    """Rows to send: their schema, and their batches, iterated once per call."""

    schema: pa.Schema
    batches: Callable[[], Iterator[pa.RecordBatch]]

    @classmethod
    def of(cls, rows: "pa.Table | pd.DataFrame | None") -> "Upload":
        """Rows of a table or a dataframe; without any, the table by which Feast's wire says that there is none."""
        if isinstance(rows, pd.DataFrame):
            rows = pa.Table.from_pandas(rows)
        table = _NO_TABLE if rows is None else rows
        return cls(table.schema, lambda: iter(table.to_batches(max_chunksize=UPLOAD_ROWS)))


@dataclass
class Reply:
    """Rows that arrive while they are read."""

    schema: pa.Schema
    batches: Iterator[pa.RecordBatch]


def read(
    client: FeastFlightClient,
    api: str,
    parameters: dict[str, Any],
    upload: Upload,
    progress: Progress | None = None,
) -> Reply:
    """Ask for rows; `progress` hears about those received."""
    writer, reader = _open_exchange(client, _descriptor(api, parameters))
    _begin(writer, upload.schema)
    for batch in upload.batches():
        _send(writer, batch)
    _end_input(writer)
    schema = _schema(reader)
    return Reply(schema, _received(client, writer, reader, progress))


def put(
    client: FeastFlightClient,
    api: str,
    parameters: dict[str, Any],
    upload: Upload,
    progress: Progress | None = None,
) -> None:
    """Have something done with rows; returns when it is done. `progress` hears about those sent."""
    writer, _ = client.do_put(_descriptor(api, parameters), upload.schema)
    for batch in upload.batches():
        _send(writer, batch)
        if progress is not None:
            progress(batch.num_rows)
    _close(writer)


def append(
    client: FeastFlightClient,
    api: str,
    parameters: dict[str, Any],
    upload: Upload,
    progress: Progress | None,
    retries: int,
) -> None:
    """Add rows to a table, once however often it is tried; `progress` hears about those sent, also once."""
    write = LogicalWrite(progress, retries)
    named = parameters | {"idempotency_key": write.idempotency_key}
    write.run(lambda: put(client, api, named, upload, write.sent))


def _descriptor(api: str, parameters: dict[str, Any]) -> fl.FlightDescriptor:
    command = {"command_id": str(uuid.uuid4()), "api": api, **parameters}
    return fl.FlightDescriptor.for_command(json.dumps(command))


def _received(
    client: FeastFlightClient,
    writer: fl.FlightStreamWriter,
    reader: fl.FlightStreamReader,
    progress: Progress | None,
) -> Iterator[pa.RecordBatch]:
    """Batches until the end; a consumer who stops early cancels the call. Holds on to all that the call needs."""
    try:
        while (batch := _next_batch(reader)) is not None:
            if progress is not None:
                progress(batch.num_rows)
            yield batch
        _close(writer)
    finally:
        reader.cancel()
        client.close()


# The functions below each wrap one call, since Feast's decorator turns the server's errors into Feast's classes for a
# whole function. It retries only where the first argument is a client: opening a call may be repeated, a stream not.


@arrow_client_error_handling_decorator
def _open_exchange(
    client: FeastFlightClient, descriptor: fl.FlightDescriptor
) -> tuple[fl.FlightStreamWriter, fl.FlightStreamReader]:
    # Feast 0.66's client has no do_exchange of its own, 0.67's retries too: this one is pyarrow's.
    return fl.FlightClient.do_exchange(client, descriptor)


@arrow_client_error_handling_decorator
def _begin(writer: fl.FlightStreamWriter, schema: pa.Schema) -> None:
    writer.begin(schema)


@arrow_client_error_handling_decorator
def _send(writer: fl.FlightStreamWriter, batch: pa.RecordBatch) -> None:
    writer.write_batch(batch)


@arrow_client_error_handling_decorator
def _end_input(writer: fl.FlightStreamWriter) -> None:
    writer.done_writing()


@arrow_client_error_handling_decorator
def _close(writer: fl.FlightStreamWriter) -> None:
    writer.close()


@arrow_client_error_handling_decorator
def _schema(reader: fl.FlightStreamReader) -> pa.Schema:
    return reader.schema


@arrow_client_error_handling_decorator
def _next_batch(reader: fl.FlightStreamReader) -> pa.RecordBatch | None:
    while True:
        try:
            chunk = reader.read_chunk()
        except StopIteration:
            return None
        if chunk.data is not None:
            return chunk.data
