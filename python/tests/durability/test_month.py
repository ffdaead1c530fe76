"""A month of small online writes, one each minute, with maintenance: reads and plans stay as fast as they were.

A run is as long as its tier says, since each minute is a commit and takes as long as that takes. Where times are
compared, they are medians of several windows, and the bound is loose: the ratios are printed, for people to judge.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from statistics import median, quantiles
from typing import Any

import pyarrow as pa
import pytest
from harness.client import historical_request, ipc
from harness.components import needs
from harness.engines import Size, check_readable, size_of
from harness.frames import at, drivers
from harness.lab import Lab
from harness.maintainer import offered, shorten_history
from harness.tiers import by_tier, seeded

MINUTES = by_tier(200, 1_000, 43_200)
# How often tables are maintained, and how long the beginning and the end are.
EVERY = 100
PART = max(100, MINUTES // 20)
WINDOWS = 5
DRIVERS, ROWS, READ = 1_000, 5, 20
VERBS = ["compact", "expire --force-younger", "gc"]
TABLE = "online.tests_minutes"
DEFINITION = {"join_keys": [{"name": "driver_id", "type": "INT64"}]}
TYPES = {"trips": pa.int64()}
# Appends merge them when there are a hundred.
MOST_MANIFESTS = 110
# The goal is 1.5; a busy machine is no reason to fail.
SLOWER = 4

pytestmark = [pytest.mark.slow, pytest.mark.timeout(by_tier(300, 1_800, 36_000))]


@dataclass
class Times:
    """Seconds of a part's calls."""

    reads: list[float] = field(default_factory=list)
    plans: list[float] = field(default_factory=list)

    def p99(self) -> float:
        """Of online reads: the median of several windows."""
        length = len(self.reads) // WINDOWS
        windows = [self.reads[start : start + length] for start in range(0, length * WINDOWS, length)]
        return median(quantiles(window, n=100, method="inclusive")[-1] for window in windows)

    def plan(self) -> float:
        """The median of plans."""
        return median(self.plans)

    def __str__(self) -> str:
        """Milliseconds."""
        return f"read p99 {self.p99() * 1e3:.1f} ms, plan {self.plan() * 1e3:.1f} ms"


@pytest.fixture(scope="module")
def lab(start_lab: Callable[..., Lab]) -> Lab:
    """A table of online features that is also the source of a view of the past."""

    def fill(lab: Lab) -> None:
        lab.definitions.view("past", TABLE, ["driver_id"])

    lab = start_lab(fill, online={"partition_count": 16, "read_timeout_ms": 60_000})
    lab.client.write("minutes", rows(0, range(DRIVERS)), definition=DEFINITION)
    shorten_history(lab, TABLE)
    return lab


def rows(minute: int, keys: range | list[int]) -> pa.Table:
    """What some drivers have done by a minute."""
    return drivers(*((key, at(minutes=minute), minute) for key in keys), extra=TYPES)


def timed(call: Callable[[], Any]) -> tuple[float, Any]:
    """The seconds that a call takes, and its answer."""
    start = time.perf_counter()
    answer = call()
    return time.perf_counter() - start, answer


class Month:
    """Writes minute by minute, and knows what then has to be read."""

    def __init__(self, lab: Lab, chance: Random) -> None:
        """Begin after the first rows."""
        self.lab, self.chance = lab, chance
        self.latest = dict.fromkeys(range(DRIVERS), 0)
        self.times: list[Times] = []

    def minute(self, minute: int) -> None:
        """Write, read what was written, and plan a join over it."""
        keys = self.chance.sample(range(DRIVERS), ROWS)
        answer = self.lab.client.write("minutes", rows(minute, keys))
        self.latest |= dict.fromkeys(keys, minute)
        asked = keys + self.chance.sample(range(DRIVERS), READ - ROWS)
        request = {"features": ["minutes:trips"], "entity_keys": {"driver_id": asked}, "token": answer["token"]}
        seconds, read = timed(lambda: self.lab.client.get({"online": request}))
        assert read["trips"].to_pylist() == [self.latest[key] for key in asked]
        self.times[-1].reads.append(seconds)
        frame = drivers(*((key, at(minutes=minute)) for key in asked))
        plan = historical_request(["past:trips"], {"ipc": ipc(frame)})
        self.times[-1].plans.append(timed(lambda: self.lab.client.info(plan))[0])

    def run(self, sizes: list[Size], verbs: list[str]) -> None:
        """All minutes; what is noted after each maintenance is the table's size before it."""
        for minute in range(1, MINUTES + 1):
            if (minute - 1) % PART == 0:
                self.times.append(Times())
            self.minute(minute)
            if minute % EVERY == 0:
                sizes.append(size_of(self.lab.warehouse.catalog.load_table(TABLE)))
                for verb in verbs:
                    self.lab.run("maintain", *verb.split())


def test_a_month_later_reads_are_as_fast(lab: Lab) -> None:
    missing = [verb for verb in VERBS if not offered(lab, verb)]
    needs("murre maintain", f"the binary does not have {missing}" if missing else None)
    month, sizes = Month(lab, seeded("month")), []
    month.run(sizes, VERBS)
    first, last = month.times[0], month.times[-1]
    reads, plans = last.p99() / first.p99(), last.plan() / first.plan()
    print(f"{MINUTES} minutes: {first}; then {last}: {reads:.2f} and {plans:.2f} times; {sizes[0]}, then {sizes[-1]}")
    found = check_readable(lab.warehouse.catalog.load_table(TABLE))
    assert set(found["driver_id"].to_pylist()) == set(range(DRIVERS))
    assert reads < SLOWER
    assert plans < SLOWER
    check_bounded(sizes)


def check_bounded(sizes: list[Size]) -> None:
    """No size grows with the number of writes."""
    first, most = sizes[0], sizes[1:]
    assert max(size.metadata_bytes for size in most) <= 2 * first.metadata_bytes
    assert max(size.snapshots for size in most) <= 2 * first.snapshots
    assert max(size.manifests for size in most) <= MOST_MANIFESTS
    assert max(size.files for size in most) <= 2 * first.files
