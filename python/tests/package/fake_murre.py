"""A Flight server that keeps what it was sent and answers as it is told."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.flight as fl

Answer = Callable[[dict[str, Any], pa.Table], pa.Table]


@dataclass
class Call:
    """One call as it came."""

    rpc: str
    command: dict[str, Any]
    batches: list[int]
    table: pa.Table


class FakeMurre(fl.FlightServerBase):
    """Feast's wire by DoExchange and DoPut."""

    def __init__(self) -> None:
        """Listen on a free port."""
        super().__init__("grpc://127.0.0.1:0")
        self.calls: list[Call] = []
        self.answer: Answer = lambda command, table: table
        self.failures: list[Exception] = []
        self.batch_rows = 1000

    def of_api(self, api: str) -> list[Call]:
        """Return the calls of one API."""
        return [call for call in self.calls if call.command["api"] == api]

    def do_exchange(self, context: Any, descriptor: Any, reader: Any, writer: Any) -> None:
        """Read all, then answer."""
        call = self._receive("exchange", descriptor, reader)
        answer = self.answer(call.command, call.table)
        writer.begin(answer.schema)
        for batch in answer.to_batches(max_chunksize=self.batch_rows):
            writer.write_batch(batch)

    def do_put(self, context: Any, descriptor: Any, reader: Any, writer: Any) -> None:
        """Read all, and fail as often as asked to."""
        call = self._receive("put", descriptor, reader)
        if self.failures:
            raise self.failures.pop(0)
        self.answer(call.command, call.table)

    def _receive(self, rpc: str, descriptor: Any, reader: Any) -> Call:
        chunks = []
        while True:
            try:
                chunks.append(reader.read_chunk().data)
            except StopIteration:
                break
        table = pa.Table.from_batches(chunks, reader.schema)
        call = Call(rpc, json.loads(descriptor.command), [chunk.num_rows for chunk in chunks], table)
        self.calls.append(call)
        return call
