"""Writes that are sent again under the same key until they are acknowledged, and what then must be in their table."""

from __future__ import annotations

import itertools
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from random import Random
from typing import Any

import pyarrow as pa
import pyarrow.flight as flight

from harness.client import EAGER, Client
from harness.frames import at, drivers

DEFINITION = {"join_keys": [{"name": "driver_id", "type": "INT64"}]}
TYPES = {"rate": pa.float64()}
# Rows of one write; a row belongs to the write of its driver's number.
ROWS = 3
PAUSE_SECONDS = 0.02
# What tells a client that a write may have been carried out and is to be sent again.
UNCLEAR = (flight.FlightUnavailableError, flight.FlightTimedOutError)


def connect(location: str) -> Client:
    """A client that finds a server which was started again."""
    return Client(location, generic_options=EAGER)


def drivers_of(write: int) -> range:
    """The keys of a write's rows, which no other write has."""
    return range(write * ROWS, (write + 1) * ROWS)


def rows_of_write(write: int) -> pa.Table:
    """The rows of a write."""
    return drivers(*((driver, at(), driver / 2) for driver in drivers_of(write)), extra=TYPES)


class Stream:
    """The writes of one view: which were sent, and which the server acknowledged, with its answers."""

    def __init__(self, view: str, to: str, table: str) -> None:
        """Begin with none; `table` is where the rows of the view go."""
        self.view, self.to, self.table = view, to, table
        self.numbers = itertools.count()
        self.sent: set[int] = set()
        self.acknowledged: dict[int, dict[str, Any]] = {}
        # Tries without an answer, and writes of theirs that turned out to be committed.
        self.unclear, self.found = 0, 0
        self.changing = threading.Lock()

    def send(self, client: Client, write: int) -> dict[str, Any]:
        """Send a write once."""
        options = {"to": self.to, "definition": DEFINITION, "idempotency_key": f"{self.view}-{write}"}
        return client.write(self.view, rows_of_write(write), **options)

    def send_new(self, client: Client, tries: Iterable[Any]) -> None:
        """Send a new write until it is acknowledged or the tries are used up."""
        with self.changing:
            write = next(self.numbers)
            self.sent.add(write)
        for _ in tries:
            try:
                answer = self.send(client, write)
            except UNCLEAR:
                with self.changing:
                    self.unclear += 1
                time.sleep(PAUSE_SECONDS)
                continue
            assert answer["rows"] == ROWS
            with self.changing:
                self.acknowledged[write] = answer
                self.found += answer["replayed"]
            return

    def send_old(self, client: Client, chance: Random) -> None:
        """Send an acknowledged write once more: it is known."""
        old = self.known()
        if not old:
            return
        write = chance.choice(sorted(old))
        try:
            again = self.send(client, write)
        except UNCLEAR:
            return
        assert again["replayed"], f"write {write} of {self.view} was carried out again: {old[write]}, {again}"

    def known(self) -> dict[int, dict[str, Any]]:
        """What is acknowledged at this moment."""
        with self.changing:
            return dict(self.acknowledged)

    def check(self, read: Callable[[], list[int]]) -> None:
        """Read drivers: all of writes acknowledged before, no row twice, and of other writes all rows or none."""
        acknowledged = self.known()
        found = Counter(read())
        writes = Counter(driver // ROWS for driver in found)
        assert not {driver: count for driver, count in found.items() if count > 1}, f"rows of {self.view} are double"
        assert not acknowledged.keys() - writes.keys(), f"acknowledged writes of {self.view} are lost"
        assert not writes.keys() - self.sent, f"{self.view} has rows that nobody wrote"
        assert set(writes.values()) <= {ROWS}, f"parts of writes are in {self.view}: {writes}"

    def __str__(self) -> str:
        """What happened."""
        known, lost = len(self.known()), f"{self.unclear} answers were lost, {self.found} of them of commits"
        return f"{self.view}: {known} of {len(self.sent)} writes acknowledged, {lost}"
