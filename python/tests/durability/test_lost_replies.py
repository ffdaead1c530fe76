"""Commits whose answers are lost, late, cut or replaced: the rows of each key are there exactly once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import repeat

import pytest
from harness.engines import check_readable
from harness.faulty import Faulty, faulty_server
from harness.lab import Lab
from harness.lost_replies import REFUSALS, AfterCommits, OfHttp, OfPostgres
from harness.streams import Stream, connect
from harness.tiers import by_tier, seeded
from harness.warehouse import Warehouse

RUNS = by_tier(8, 25, 500)
WRITERS, WRITES = 4, 3

pytestmark = pytest.mark.timeout(by_tier(300, 1_800, 18_000))


@pytest.fixture(
    scope="module",
    params=["rest", pytest.param("postgres", marks=pytest.mark.slow), pytest.param("glue", marks=pytest.mark.slow)],
)
def kind(request: pytest.FixtureRequest) -> str:
    """Catalogs behind a network."""
    return str(request.param)


@pytest.fixture(scope="module")
def faulty(start_over: Callable[..., Lab], warehouse: Warehouse) -> Iterator[Faulty]:
    """A server whose catalog is behind a proxy."""
    with faulty_server(start_over, warehouse, []) as faulty:
        yield faulty


def write(faulty: Faulty, stream: Stream) -> None:
    """A few writes, each until it is acknowledged."""
    client = connect(faulty.lab.server.location)
    for _ in range(WRITES):
        stream.send_new(client, repeat(None))


def test_every_write_is_there_once(faulty: Faulty, kind: str, project: str) -> None:
    chance = seeded(f"lost replies of {kind}")
    faults = (OfPostgres if kind == "postgres" else OfHttp)(chance)
    unclear = 0
    for run in range(RUNS):
        view = f"lost_{run}"
        stream = Stream(view, "online", f"online.{project}_{view}")
        stream.send_new(connect(faulty.lab.server.location), repeat(None))
        with faulty.catalog.failing(faults), ThreadPoolExecutor(WRITERS) as threads:
            writers = [threads.submit(write, faulty, stream) for _ in range(WRITERS)]
            for writer in writers:
                writer.result()
        table = faulty.lab.warehouse.catalog.load_table(stream.table)
        stream.check(lambda table=table: check_readable(table)["driver_id"].to_pylist())
        assert len(stream.known()) == WRITERS * WRITES + 1
        unclear += stream.unclear
    print(f"{RUNS} runs, faults of {faults.met} commits, {unclear} answers that writers did not get")
    assert faults.met > RUNS


def test_a_refusal_of_what_was_done_deletes_nothing(faulty: Faulty, kind: str, project: str) -> None:
    stream = Stream("refused", "online", f"online.{project}_refused")
    client = connect(faulty.lab.server.location)
    stream.send_new(client, repeat(None))
    with faulty.catalog.failing(AfterCommits(REFUSALS[kind], 1)):
        stream.send_new(client, repeat(None))
    table = faulty.lab.warehouse.catalog.load_table(stream.table)
    stream.check(lambda: check_readable(table)["driver_id"].to_pylist())
