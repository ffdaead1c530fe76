"""A server that is killed again and again while clients write, read and maintain: nothing is lost, nothing is double.

Each round has tables of its own, which the first of its writes make, so that crashes meet new tables, too.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from random import Random

import pytest
from harness.lab import Lab
from harness.maintainer import Maintainer, offered
from harness.streams import Stream
from harness.tiers import by_tier, seeded
from harness.traffic import Traffic

# On each of two catalogs: 20, 200 and 1,000 in all.
KILLS = by_tier(10, 100, 500)
KILLS_PER_ROUND, KILLS_PER_CHECK = 10, 5
ROUNDS = KILLS // KILLS_PER_ROUND
# The longest life of a server after it has begun to listen.
LIFE_SECONDS = 1.0
VERBS = ["compact", "expire --force-younger", "gc"]

pytestmark = pytest.mark.timeout(by_tier(300, 3_600, 36_000))


@pytest.fixture(scope="module", params=["sqlite", "rest"])
def kind(request: pytest.FixtureRequest) -> str:
    """SQLite with the local disk; REST with S3."""
    return str(request.param)


@pytest.fixture(scope="module")
def lab(start_over: Callable[..., Lab], project: str) -> Lab:
    """A server with a batch view for each round."""

    def fill(lab: Lab) -> None:
        for number in range(ROUNDS):
            lab.definitions.view(f"batch_{number}", f"{project}.batch_{number}", ["driver_id"])

    return start_over(fill, online={"partition_count": 4, "read_timeout_ms": 60_000})


def streams(project: str, number: int) -> list[Stream]:
    """A round's tables: one that is read online, one of the past."""
    live, batch = f"live_{number}", f"batch_{number}"
    return [
        Stream(live, "online", f"online.{project}_{live}"),
        Stream(batch, "offline", f"{project}.{batch}"),
    ]


def commands(lab: Lab, tables: list[Stream]) -> list[str]:
    """Maintenance of a round's tables."""
    verbs = [verb for verb in VERBS[1:] if offered(lab, verb)]
    compact = f"compact --feature-view {tables[0].view}"
    return [compact, *(f"{verb} --table {stream.table}" for verb in verbs for stream in tables)]


def kill(lab: Lab, traffic: Traffic, chance: Random) -> None:
    """Kill the server, and now and then look whether all is there."""
    for number in range(KILLS_PER_ROUND):
        time.sleep(chance.uniform(0, LIFE_SECONDS))
        lab.crash()
        traffic.raise_failure()
        if (number + 1) % KILLS_PER_CHECK == 0:
            traffic.check_stored()


def test_acknowledged_writes_are_there_once(lab: Lab, project: str) -> None:
    chance = seeded("crashes")
    rounds = []
    for number in range(ROUNDS):
        tables = streams(project, number)
        maintainer = Maintainer(lab, commands(lab, tables), chance)
        traffic = Traffic(lab, tables, maintainer, chance)
        with traffic.running():
            kill(lab, traffic, chance)
        traffic.check()
        rounds.append(traffic)
        print(f"round {number}: {traffic}")
    written = sum(traffic.written() for traffic in rounds)
    print(f"{KILLS} kills, {written} acknowledged writes")
    assert written > KILLS
    assert sum(traffic.reads for traffic in rounds) > KILLS
    assert sum(traffic.maintainer.finished for traffic in rounds) > 0
    assert sum(traffic.maintainer.killed for traffic in rounds) > 0
