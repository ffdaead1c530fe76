"""A store that does not answer: said so in time, not felt where data is in memory, and forgotten soon after."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import pytest
from harness.fault_proxy import Answer, Cut, Drop, Fault
from harness.faulty import FAULTS, RECOVERY_SECONDS, WANTED, Faulty, faulty_server, first, stats, unavailable, works
from harness.lab import Lab
from harness.polling import eventually
from harness.warehouse import Warehouse

pytestmark = pytest.mark.slow

HICCUPS = {"503": Answer(503), "500": Answer(500), "dropped": Drop(), "cut": Cut()}


@pytest.fixture(scope="module", params=["postgres", "rest", "glue"])
def kind(request: pytest.FixtureRequest) -> str:
    """The catalogs whose tables are on S3."""
    return str(request.param)


@pytest.fixture(scope="module")
def faulty(start_over: Callable[..., Lab], warehouse: Warehouse) -> Iterator[Faulty]:
    """A server with a view that it has read, and for each fault one that it never read."""
    unread = [f"unread_{fault}" for fault in FAULTS] + [f"shaken_{fault}" for fault in HICCUPS]
    with faulty_server(start_over, warehouse, ["known", *unread]) as faulty:
        faulty.write("live", stats())
        assert faulty.online("live", 0, 1, 2, 3) == WANTED
        yield faulty


@pytest.mark.parametrize("fault", FAULTS)
def test_an_outage(faulty: Faulty, fault: str) -> None:
    view = f"unread_{fault}"
    with FAULTS[fault](faulty.store):
        write = partial(faulty.write, "live", stats(9, 10))
        refused = unavailable(fault, f"storage.*(live|{view})", lambda: faulty.trips(view), write)
        assert faulty.online("live", 0, 1, 2, 3) == WANTED
    recovered = eventually(lambda: works(lambda: faulty.trips(view)), RECOVERY_SECONDS)
    print(f"{fault}: refused after {refused:.1f} s, back after {recovered:.2f} s")
    assert faulty.trips(view) == WANTED
    eventually(lambda: works(lambda: faulty.write("live", stats())), RECOVERY_SECONDS)
    assert 9 not in faulty.written("live")


@pytest.mark.parametrize("name", HICCUPS)
def test_hiccups_are_not_felt(faulty: Faulty, name: str) -> None:
    fault: Fault = HICCUPS[name]
    with faulty.store.failing(first(2, fault)):
        assert faulty.trips(f"shaken_{name}") == WANTED
    with faulty.store.failing(first(2, fault)):
        faulty.write(f"written_{name}", stats())
    assert faulty.written(f"written_{name}") == [0, 1, 2]
