"""Maintenance at any moment changes no answer: not of online reads, not of the past, not of a plan made before it."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

import pyarrow as pa
import pytest
from harness.client import historical_request, ipc
from harness.components import needs
from harness.frames import at, drivers
from harness.lab import Lab
from harness.maintainer import offered, shorten_history
from harness.reference import Row, naive_join, rows_of
from harness.tiers import by_tier, seeded

KEY = ["driver_id"]
KEYS = 12
STEPS = by_tier(30, 300, 3_000)
# The naive join grows with the rows that there are.
STEPS_PER_TABLE = 100
MOST_ROWS, MOST_MINUTES = 8, 600
FORCED = "expire --force-younger"
VERBS = ["compact", "expire", FORCED, "gc"]
TYPES = {"trips": pa.int64(), "rate": pa.float64()}
DEFINITION = {
    "join_keys": [{"name": "driver_id", "type": "INT64"}],
    "features": [{"name": "trips", "type": "INT64"}, {"name": "rate", "type": "DOUBLE"}],
}
FRAME = drivers(*((key, at(minutes=minute)) for key in range(KEYS + 1) for minute in range(-30, MOST_MINUTES, 90)))
ROUNDS = -(-STEPS // STEPS_PER_TABLE)

pytestmark = pytest.mark.timeout(by_tier(300, 1_800, 18_000))


@pytest.fixture(scope="module")
def lab(start_lab: Callable[..., Lab]) -> Lab:
    """A server with a view of the past for each round; a small cache has online reads go to the files, too."""

    def fill(lab: Lab) -> None:
        for number in range(ROUNDS):
            lab.definitions.view(f"batch_{number}", f"tests.batch_{number}", KEY)

    return start_lab(fill, online={"partition_count": 4, "read_timeout_ms": 60_000})


def rows(chance: Random) -> pa.Table:
    """A few rows, some of them older than others of their key, and some equal in key and time."""
    count = chance.randint(1, MOST_ROWS)
    return drivers(*(row(chance) for _ in range(count)), extra=TYPES)


def row(chance: Random) -> tuple[Any, ...]:
    """One row; a null now and then."""
    minute = chance.randrange(0, MOST_MINUTES, 30)
    trips = None if chance.random() < 0.1 else chance.randrange(1_000)
    return chance.randrange(KEYS), at(minutes=minute), trips, chance.random()


class Round:
    """Tables of their own, what was written to them, and the questions that are asked before and after maintenance."""

    def __init__(self, lab: Lab, number: int, chance: Random) -> None:
        """Write the first rows."""
        self.lab, self.chance = lab, chance
        self.live, self.batch = f"live_{number}", f"batch_{number}"
        self.past: list[pa.Table] = []
        self.token = ""
        for to in ("online", "offline"):
            self.write(to)
        for table in (f"online.tests_{self.live}", f"tests.{self.batch}"):
            shorten_history(lab, table)

    def write(self, to: str) -> None:
        """Write some rows."""
        written, view = rows(self.chance), self.live if to == "online" else self.batch
        answer = self.lab.client.write(view, written, to=to, definition=DEFINITION)
        if to == "online":
            self.token = answer["token"]
        else:
            self.past.append(written)

    def online(self) -> list[Row]:
        """The latest features of every key."""
        request = {
            "features": [f"{self.live}:{name}" for name in TYPES],
            "entity_keys": {"driver_id": list(range(KEYS + 1))},
            "ignore_ttl": True,
            "include_status": True,
            "include_timestamps": True,
            "token": self.token,
        }
        return rows_of(self.lab.client.get({"online": request}))

    def history(self) -> dict[str, Any]:
        """A request for features of the past."""
        features = [f"{self.batch}:{name}" for name in TYPES]
        return historical_request(features, {"ipc": ipc(FRAME)})

    def check_past(self) -> list[Row]:
        """Features of the past, which are those of the rows that were written."""
        found = rows_of(self.lab.client.get(self.history()))
        ties = {"ties": ["trips", "rate"]}
        assert found == naive_join(FRAME, pa.concat_tables(self.past), KEY, list(TYPES), **ties)
        return found

    def maintain(self, verb: str) -> None:
        """Run maintenance between the same questions; a plan that was made before is carried out after it."""
        planned, online, past = self.lab.client.info(self.history()), self.online(), self.check_past()
        self.lab.run("maintain", *verb.split())
        assert self.online() == online, f"{verb} changed online answers"
        assert self.check_past() == past, f"{verb} changed answers about the past"
        if verb != FORCED:
            assert rows_of(self.lab.client.get_info(planned)) == past, f"{verb} changed what was planned"

    def step(self) -> None:
        """Something, as it comes."""
        verb = self.chance.choice(["online", "offline", *VERBS])
        if verb in VERBS:
            self.maintain(verb)
        else:
            self.write(verb)
        if self.chance.random() < 0.05:
            self.lab.restart()


def test_maintenance_changes_no_answer(lab: Lab) -> None:
    missing = [verb for verb in VERBS if not offered(lab, verb)]
    needs("murre maintain", f"the binary does not have {missing}" if missing else None)
    chance = seeded("same answers")
    for number in range(ROUNDS):
        tables = Round(lab, number, chance)
        for _ in range(min(STEPS_PER_TABLE, STEPS)):
            tables.step()
