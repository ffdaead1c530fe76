"""A catalog that does not answer: said so in time, not felt where tables are known, and forgotten soon after."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from harness.client import ipc
from harness.fault_proxy import Answer, Drop, Fault, Lose, Request
from harness.faulty import (
    FAULTS,
    FRAME,
    RECOVERY_SECONDS,
    WANTED,
    Faulty,
    faulty_server,
    first,
    stats,
    unavailable,
    works,
)
from harness.lab import Lab
from harness.polling import eventually
from harness.warehouse import Warehouse


@pytest.fixture(scope="module", params=["rest", "glue"])
def kind(request: pytest.FixtureRequest) -> str:
    """The catalogs behind HTTP."""
    return str(request.param)


@pytest.fixture(scope="module")
def faulty(start_over: Callable[..., Lab], warehouse: Warehouse) -> Iterator[Faulty]:
    """A server with a view that it knows, and for each fault one that it never read."""
    with faulty_server(start_over, warehouse, ["known", "hiccup", *FAULTS]) as faulty:
        faulty.write("live", stats())
        assert faulty.trips("known") == WANTED
        assert faulty.online("live", 0, 1, 2, 3) == WANTED
        yield faulty


@pytest.mark.parametrize("fault", FAULTS)
def test_an_outage(faulty: Faulty, fault: str) -> None:
    planned = faulty.lab.client.info({"historical": {"features": ["known:trips"], "entity": {"ipc": ipc(FRAME)}}})
    with FAULTS[fault](faulty.catalog):
        refused = unavailable(lambda: faulty.trips(fault), "catalog `default`")
        unavailable(lambda: faulty.write("live", stats(9, 10)), "catalog `default`")
        assert faulty.online("live", 0, 1, 2, 3) == WANTED
        assert faulty.lab.client.get_info(planned)["trips"].to_pylist() == WANTED
    recovered = eventually(lambda: works(lambda: faulty.trips(fault)), RECOVERY_SECONDS)
    print(f"{fault}: refused after {refused:.1f} s, back after {recovered:.2f} s")
    assert faulty.trips(fault) == WANTED
    eventually(lambda: works(lambda: faulty.write("live", stats())), RECOVERY_SECONDS)


@pytest.mark.parametrize("fault", [Answer(503), Answer(429), Drop()], ids=["503", "429", "dropped"])
def test_a_hiccup_is_not_felt(faulty: Faulty, fault: Fault) -> None:
    with faulty.catalog.failing(first(1, fault)):
        assert faulty.trips("hiccup") == WANTED
    with faulty.catalog.failing(first(1, fault)):
        assert works(lambda: faulty.write("live", stats()))


def is_commit(request: Request) -> bool:
    """Whether a request changes a table."""
    glue = request.headers.get("x-amz-target", "").endswith("UpdateTable")
    rest = request.method == "POST" and "/tables/" in request.path and b'"updates"' in request.body
    return glue or rest


@pytest.mark.parametrize("fault", [Lose(), Drop(), Answer(500), Answer(502), Answer(503), Answer(504)], ids=str)
def test_a_commit_without_an_answer_is_there_once_or_not_at_all(faulty: Faulty, fault: Fault) -> None:
    view = f"unheard_{type(fault).__name__.lower()}_{getattr(fault, 'status', 0)}"
    faulty.write(view, stats(0, 1))
    with faulty.catalog.failing(first(1, fault, is_commit)):
        heard = works(lambda: faulty.write(view, stats(1, 2), idempotency_key="unheard"))
    if not heard:
        faulty.write(view, stats(1, 2), idempotency_key="unheard")
    assert faulty.written(view) == [0, 1]


def test_a_server_starts_without_its_catalog(faulty: Faulty) -> None:
    with faulty.catalog.refusing():
        faulty.lab.restart()
        unavailable(lambda: faulty.trips("known"), "catalog `default`")
    eventually(lambda: works(lambda: faulty.trips("known")), RECOVERY_SECONDS)
    assert faulty.online("live", 0, 1, 2, 3) == WANTED
