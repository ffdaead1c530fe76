"""Clients that write and read while a server comes and goes, and what they must find."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from functools import partial
from itertools import islice, repeat
from random import Random
from typing import Any

from harness.client import Client
from harness.engines import check_readable
from harness.frames import at, drivers
from harness.lab import Lab
from harness.maintainer import Maintainer, shorten_history
from harness.streams import UNCLEAR, Stream, connect, drivers_of

WRITERS = 4
PACE_SECONDS = 0.02
READ_PACE_SECONDS = 0.1
GIVEN_UP_SHARE, REPEATED_SHARE = 0.1, 0.2
# Of a read, so that it takes about as long with many writes as with few.
MOST_READ = 200


class Traffic:
    """Threads that write to streams in turn, one that reads them, and one that runs maintenance."""

    def __init__(self, lab: Lab, streams: list[Stream], maintainer: Maintainer, chance: Random) -> None:
        """Nothing runs until `running`."""
        self.lab, self.streams, self.maintainer = lab, streams, maintainer
        self.chances = [Random(chance.random()) for _ in range(WRITERS + 1)]
        self.stopped = threading.Event()
        self.tasks: list[Future[None]] = []
        self.reads = 0

    @contextmanager
    def running(self) -> Iterator[None]:
        """Run until the block ends; then every write that was not given up is acknowledged."""
        with ThreadPoolExecutor(WRITERS + 2) as threads:
            writers = [threads.submit(self.write, chance) for chance in self.chances[1:]]
            reader = threads.submit(self.read, self.chances[0])
            self.tasks = [*writers, reader, threads.submit(self.maintain)]
            try:
                yield
            finally:
                self.stopped.set()
                wait(self.tasks)
        self.raise_failure()

    def raise_failure(self) -> None:
        """Fail if a thread has."""
        for task in self.tasks:
            if task.done():
                task.result()

    def tries(self, chance: Random) -> Iterable[Any]:
        """How often a write is sent: nearly always until it is acknowledged."""
        return islice(repeat(None), 1 if chance.random() < GIVEN_UP_SHARE else None)

    def write(self, chance: Random) -> None:
        """Write until it is enough."""
        client = connect(self.lab.server.location)
        while not self.stopped.wait(PACE_SECONDS):
            stream = chance.choice(self.streams)
            if chance.random() < REPEATED_SHARE:
                stream.send_old(client, chance)
            stream.send_new(client, self.tries(chance))

    def maintain(self) -> None:
        """Maintain tables as soon as there are some."""
        while not self.stopped.wait(PACE_SECONDS) and not all(stream.known() for stream in self.streams):
            pass
        for stream in self.streams if not self.stopped.is_set() else []:
            shorten_history(self.lab, stream.table)
        self.maintainer.run_until(self.stopped)

    def read(self, chance: Random) -> None:
        """Read what is acknowledged, and fail if any of it is not there."""
        client = connect(self.lab.server.location)
        while not self.stopped.wait(READ_PACE_SECONDS):
            for stream in self.streams:
                known = stream.known()
                writes = chance.sample(sorted(known), min(MOST_READ, len(known)))
                try:
                    self.check_served(client, stream, writes)
                except UNCLEAR:
                    continue

    def check_served(self, client: Client, stream: Stream, writes: list[int]) -> None:
        """The server answers with acknowledged writes: at the latest when it is asked by what it said of each."""
        known = stream.known()
        tokens = {write: known[write].get("token") for write in writes}
        missing = set(writes) - served(client, stream, writes, None)
        missing = {write for write in missing if not served(client, stream, [write], tokens[write])}
        assert not missing, f"acknowledged writes of {stream.view} are not served: {sorted(missing)}"
        self.reads += 1

    def check(self) -> None:
        """Every table is readable, by pyiceberg and through the server, and holds what it must."""
        self.check_stored()
        client = connect(self.lab.server.location)
        for stream in self.streams:
            self.check_served(client, stream, sorted(stream.known()))

    def check_stored(self) -> None:
        """The tables hold what they must, while more may be written."""
        for stream in self.streams:
            stream.check(partial(self.stored, stream))

    def stored(self, stream: Stream) -> list[int]:
        """The drivers in a stream's table, by pyiceberg and past the server."""
        if not self.lab.warehouse.catalog.table_exists(stream.table):
            return []
        return check_readable(self.lab.warehouse.catalog.load_table(stream.table))["driver_id"].to_pylist()

    def written(self) -> int:
        """How many writes are acknowledged."""
        return sum(len(stream.known()) for stream in self.streams)

    def __str__(self) -> str:
        """What happened."""
        runs = f"{self.maintainer.finished} runs of maintenance, {self.maintainer.killed} killed"
        return "; ".join([*map(str, self.streams), f"{self.reads} reads", runs])


def served(client: Client, stream: Stream, writes: list[int], token: str | None) -> set[int]:
    """Those writes whose rows a server returns, all and with their values."""
    asked = [driver for write in writes for driver in drivers_of(write)]
    if not asked:
        return set()
    feature = f"{stream.view}:rate"
    if stream.to == "online":
        request = {"features": [feature], "entity_keys": {"driver_id": asked}, "ignore_ttl": True}
        read = client.get({"online": request | ({"token": token} if token else {})})
    else:
        read = client.historical(drivers(*((driver, at()) for driver in asked)), [feature])
    found = {driver for driver, rate in zip(asked, read["rate"].to_pylist(), strict=True) if rate == driver / 2}
    return {write for write in writes if found.issuperset(drivers_of(write))}
