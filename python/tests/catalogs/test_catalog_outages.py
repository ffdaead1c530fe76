"""A catalog that does not answer: said so in time, not felt where tables are known, and forgotten soon after."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from harness.fault_proxy import Answer, Drop, Fault, Lose, Request
from harness.faulty import (
    FAULTS,
    WANTED,
    Faulty,
    check_catalog_outage,
    check_start_without_catalog,
    faulty_server,
    first,
    stats,
    works,
)
from harness.lab import Lab
from harness.warehouse import Warehouse

pytestmark = pytest.mark.slow

HICCUPS: dict[str, Fault] = {"503": Answer(503), "429": Answer(429), "dropped": Drop()}
UNHEARD: dict[str, Fault] = {"lost": Lose(), "dropped": Drop()}
UNHEARD |= {str(code): Answer(code) for code in (500, 502, 503, 504)}


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
    check_catalog_outage(faulty, fault, fault)


@pytest.mark.parametrize("fault", HICCUPS)
def test_a_hiccup_is_not_felt(faulty: Faulty, fault: str) -> None:
    with faulty.catalog.failing(first(1, HICCUPS[fault])):
        assert faulty.trips("hiccup") == WANTED
    with faulty.catalog.failing(first(1, HICCUPS[fault])):
        faulty.write("live", stats())


def is_commit(request: Request) -> bool:
    """Whether a request changes a table."""
    glue = request.headers.get("x-amz-target", "").endswith("UpdateTable")
    rest = request.method == "POST" and "/tables/" in request.path and b'"updates"' in request.body
    return glue or rest


@pytest.mark.parametrize("fault", UNHEARD)
def test_a_commit_without_an_answer_is_there_once_or_not_at_all(faulty: Faulty, fault: str) -> None:
    view = f"unheard_{fault}"
    faulty.write(view, stats(0, 1))
    with faulty.catalog.failing(first(1, UNHEARD[fault], is_commit)):
        heard = works(lambda: faulty.write(view, stats(1, 2), idempotency_key="unheard"))
    if not heard:
        faulty.write(view, stats(1, 2), idempotency_key="unheard")
    assert faulty.written(view) == [0, 1]


def test_a_server_starts_without_its_catalog(faulty: Faulty) -> None:
    check_start_without_catalog(faulty)
