"""PostgreSQL that does not answer: as with other catalogs, but for the connections that are kept open to it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from harness.fault_proxy import Drop
from harness.faulty import (
    WANTED,
    Faulty,
    check_catalog_outage,
    check_start_without_catalog,
    faulty_server,
    first,
    stats,
)
from harness.lab import Lab
from harness.warehouse import Warehouse

pytestmark = pytest.mark.slow

OUTAGES = ["refused", "dropped", "silent"]


@pytest.fixture(scope="module", params=["postgres"])
def kind(request: pytest.FixtureRequest) -> str:
    """PostgreSQL alone."""
    return str(request.param)


@pytest.fixture(scope="module")
def faulty(start_over: Callable[..., Lab], warehouse: Warehouse) -> Iterator[Faulty]:
    """A server with a view that it knows, and for each fault one that it never read."""
    with faulty_server(start_over, warehouse, ["known", *OUTAGES]) as faulty:
        faulty.write("live", stats())
        assert faulty.trips("known") == WANTED
        assert faulty.online("live", 0, 1, 2, 3) == WANTED
        yield faulty


@pytest.mark.parametrize("fault", OUTAGES)
def test_an_outage(faulty: Faulty, fault: str) -> None:
    check_catalog_outage(faulty, fault, fault)


def test_a_connection_that_breaks_is_not_felt(faulty: Faulty) -> None:
    with faulty.catalog.failing(first(1, Drop())):
        assert faulty.trips("known") == WANTED
    with faulty.catalog.failing(first(1, Drop())):
        faulty.write("live", stats())


def test_a_server_starts_without_its_catalog(faulty: Faulty) -> None:
    check_start_without_catalog(faulty)
