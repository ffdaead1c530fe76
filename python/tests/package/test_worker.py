"""The evaluator process, spoken to as the server does."""

import json
import struct
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pytest
from feast.on_demand_feature_view import OnDemandFeatureView
from repository import failing, totals


class Worker:
    """A process and its frames."""

    def __init__(self) -> None:
        """Start a process and wait for its hello."""
        self.process = subprocess.Popen(
            [sys.executable, "-m", "feast_murre.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={"PYTHONPATH": ":".join(sys.path)},
        )
        assert self.receive() == (b"H", b'{"protocol": 1}')

    def send(self, kind: bytes, payload: bytes) -> None:
        """Write a frame."""
        self.process.stdin.write(struct.pack("<cI", kind, len(payload)) + payload)
        self.process.stdin.flush()

    def receive(self) -> tuple[bytes, bytes]:
        """Read a frame."""
        kind, length = struct.unpack("<cI", self.process.stdout.read(5))
        return kind, self.process.stdout.read(length)

    def request(
        self, view: OnDemandFeatureView, features: list[str], full: bool = False, alias: str | None = None
    ) -> tuple[bytes, bytes]:
        """Describe a request of one view."""
        described = {"name": view.name, "alias": alias or view.name, "features": features}
        self.send(b"R", json.dumps({"full_feature_names": full, "views": [described]}).encode())
        self.send(b"D", view.to_proto().SerializeToString())
        return self.receive()

    def evaluate(self, table: pa.Table) -> tuple[bytes, Any]:
        """Send rows and return what came back, decoded."""
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table)
        self.send(b"B", sink.getvalue().to_pybytes())
        kind, payload = self.receive()
        return kind, pa.ipc.open_stream(payload).read_all() if kind == b"B" else json.loads(payload)


@pytest.fixture(scope="module")
def worker() -> Iterator[Worker]:
    worker = Worker()
    yield worker
    worker.process.kill()
    worker.process.communicate()


def rows(prefix: str = "") -> pa.Table:
    return pa.table({"bonus": [0.5, 1.0], f"{prefix}fare": [1.0, 2.0]})


@pytest.mark.parametrize(("prefix", "full", "alias"), [("", False, None), ("trips__", True, None), ("", True, "mine")])
def test_requested_features_come_back(worker: Worker, prefix: str, full: bool, alias: str | None) -> None:
    assert worker.request(totals(), ["doubled", "total"], full, alias) == (b"O", b"")
    for _ in range(2):
        kind, table = worker.evaluate(rows(prefix))
        assert kind == b"B"
        assert table.to_pydict() == {"doubled": [3.0, 6.0], "total": [1.5, 3.0]}


def test_only_what_was_requested(worker: Worker) -> None:
    worker.request(totals(), ["total"])
    assert worker.evaluate(rows())[1].column_names == ["total"]


def test_errors_are_short_and_survived(worker: Worker) -> None:
    worker.request(failing(), ["never"])
    kind, error = worker.evaluate(rows())
    assert kind == b"E"
    assert (error["view"], error["type"]) == ("failing", "ValueError")
    assert error["message"].startswith("no xxx")
    assert len(error["message"]) == 500
    worker.request(totals(), ["total"])
    assert worker.evaluate(rows())[0] == b"B"


def test_missing_columns_are_named(worker: Worker) -> None:
    worker.request(totals(), ["total"])
    kind, error = worker.evaluate(rows().drop_columns("bonus"))
    assert (kind, error["type"]) == (b"E", "KeyError")
    assert "bonus" in error["message"]


def test_definitions_that_cannot_be_loaded(worker: Worker) -> None:
    described = {"name": "v", "alias": "v", "features": ["f"]}
    worker.send(b"R", json.dumps({"full_feature_names": False, "views": [described]}).encode())
    worker.send(b"D", b"\xff\xff")
    kind, payload = worker.receive()
    assert (kind, json.loads(payload)["view"]) == (b"E", "v")
    kind, error = worker.evaluate(rows())
    assert (kind, error["type"]) == (b"E", "RuntimeError")


def test_it_ends_with_its_input() -> None:
    worker = Worker()
    worker.process.stdin.close()
    assert worker.process.wait(timeout=60) == 0
