"""Starts one server per test module and shows its log beside a failure."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib.util import find_spec
from typing import Any

import pytest
from harness.lab import Lab
from harness.server import Server, binary
from harness.warehouse import Warehouse

# The tests of Feast's clients run in environments with Feast: ../feast066 and ../feast067.
collect_ignore = [] if find_spec("feast") else ["feast_clients"]

RUNNING: list[Server] = []


@pytest.fixture(scope="session")
def murre_binary() -> str:
    """The binary under test; its absence fails every test that needs it, since a skip would look like success."""
    try:
        return str(binary())
    except RuntimeError as error:
        pytest.fail(str(error), pytrace=False)


@pytest.fixture(scope="module")
def start_lab(
    murre_binary: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[Callable[[Lab], None]], Lab]]:
    """A function that fills a lab by the given function, starts it, and stops it when the module is done."""
    labs: list[Lab] = []

    def start(fill: Callable[[Lab], None], warehouse: Warehouse | None = None, **sections: dict[str, Any]) -> Lab:
        lab = Lab(tmp_path_factory.mktemp("lab"), warehouse)
        fill(lab)
        labs.append(lab)
        lab.start(**sections)
        RUNNING.append(lab.server)
        return lab

    yield start
    for lab in labs:
        lab.stop()
    RUNNING.clear()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """Add the log of the running servers to the report of a failed test."""
    report = yield
    if report.failed:
        for server in RUNNING:
            report.sections.append((f"log of the server on port {server.port}", server.log()))
    return report
