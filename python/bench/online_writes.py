"""Writes: a hundred thousand rows until they are visible, and a writer that never rests while others read."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable

import numpy as np
import pyarrow as pa
from online_data import KEY, PROJECT, feast_rows, refs, rows
from online_places import FeastStore, Murre
from online_readers import values

Generations = itertools.count(1)


def feast_prepared(store: FeastStore, table: pa.Table) -> float:
    """Seconds that the store itself takes for rows that are Feast's already."""
    ready = feast_rows(table)
    start = time.perf_counter()
    store.write(ready)
    return time.perf_counter() - start


def feast_frame(store: FeastStore, table: pa.Table) -> float:
    """Seconds of Feast's own call for a dataframe."""
    frame = table.to_pandas()
    start = time.perf_counter()
    store.store.write_to_online_store(store.view.name, df=frame)
    return time.perf_counter() - start


def murre_put(murre: Murre, table: pa.Table) -> float:
    """Seconds of a DoPut and a read that has to see it."""
    import json

    from pyarrow import flight

    key = table[KEY][0].as_py()
    start = time.perf_counter()
    token = murre.write(table)["token"]
    request = {"features": refs(), "entity_keys": {KEY: [key]}, "token": token}
    ticket = flight.Ticket(json.dumps({"project": PROJECT, "online": request}))
    with flight.connect(murre.server.location) as client:
        answer = client.do_get(ticket).read_all()
    took = time.perf_counter() - start
    expected = values("table", table.slice(0, 1))
    assert values("murre", answer) == expected, f"read {values('murre', answer)} after writing {expected}"
    return took


class Writer:
    """Writes so many rows of random keys every so often, on a thread, until it is stopped."""

    def __init__(self, write: Callable[[pa.Table], object], entities: int, count: int, pause: float) -> None:
        """Start."""
        self.writes = 0
        self.failure: Exception | None = None
        self._stop = threading.Event()
        self._arguments = (write, entities, count, pause)
        self._thread = threading.Thread(target=self._work)
        self._thread.start()

    def _work(self) -> None:
        write, entities, count, pause = self._arguments
        picked = np.random.default_rng(7)
        while not self._stop.is_set():
            start = time.monotonic()
            keys = np.unique(picked.integers(0, entities, count))
            try:
                write(rows(keys, next(Generations)))
            except Exception as error:
                self.failure = error
                return
            self.writes += 1
            self._stop.wait(max(0.0, pause - (time.monotonic() - start)))

    def stop(self) -> int:
        """End it; the number of writes that it did."""
        self._stop.set()
        self._thread.join()
        if self.failure is not None:
            raise self.failure
        return self.writes


def write_feast(store: FeastStore) -> Callable[[pa.Table], object]:
    """A small write through Feast's interface."""
    return lambda table: store.write(feast_rows(table))
