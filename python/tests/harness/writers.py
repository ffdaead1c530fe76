"""A client process that appends rows one by one, as jobs do that write what they have as soon as they have it."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.flight as flight

from harness.client import Client
from harness.frames import at, drivers

DEFINITION = {"join_keys": [{"name": "driver_id", "type": "INT64"}]}
ATTEMPTS = 5


@dataclass(frozen=True)
class Appends:
    """What one process is to write: `count` rows of its own, in turn through each of the servers."""

    locations: list[str]
    view: str
    to: str
    writer: int
    count: int


def row(driver: int) -> pa.Table:
    """One row."""
    return drivers((driver, at(), driver / 2), extra={"rate": pa.float64()})


def append(client: Client, job: Appends, driver: int) -> dict[str, Any]:
    """Write one row; when it is not known whether that worked, again under the same name."""
    options = {"to": job.to, "definition": DEFINITION, "idempotency_key": f"{job.view}-{driver}"}
    for attempt in range(ATTEMPTS):
        try:
            return client.write(job.view, row(driver), **options)
        except (flight.FlightUnavailableError, flight.FlightTimedOutError):
            if attempt + 1 == ATTEMPTS:
                raise
    raise AssertionError("unreachable")


def append_all(job: Appends) -> list[int]:
    """Write all rows of a job; return those that the server acknowledged. Every tenth is sent to all servers."""
    clients = [Client(location) for location in job.locations]
    acknowledged = []
    for i in range(job.count):
        driver = job.writer * 1_000 + i
        first, *others = clients[i % len(clients) :] + clients[: i % len(clients)]
        answer = append(first, job, driver)
        acknowledged.append(driver)
        for other in others if i % 10 == 0 else []:
            again = append(other, job, driver)
            assert (again["replayed"], again["snapshot_id"]) == (True, answer["snapshot_id"]), (driver, answer, again)
    return acknowledged


@contextmanager
def processes(count: int) -> Iterator[ProcessPoolExecutor]:
    """New Python processes, which have nothing of this one's threads and connections."""
    with ProcessPoolExecutor(count, mp_context=multiprocessing.get_context("spawn")) as pool:
        yield pool
