"""Many writers of one table, through two servers that share only the catalog: nothing is lost, nothing is double."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from harness.lab import Lab
from harness.writers import Appends, append_all, processes, row

pytestmark = pytest.mark.slow

WRITERS = 8
BEFORE = -1


@pytest.fixture(scope="module")
def labs(start_over: Callable[..., Lab], project: str) -> list[Lab]:
    """Two servers over one catalog, with a view over a table of pyiceberg."""

    def fill(lab: Lab) -> None:
        if not lab.warehouse.catalog.table_exists(f"{project}.batch"):
            lab.warehouse.write(f"{project}.batch", row(BEFORE))
        lab.definitions.view("batch", f"{project}.batch", ["driver_id"])

    return [start_over(fill) for _ in range(2)]


@pytest.mark.parametrize(("view", "to", "appends"), [("live", "online", 50), ("batch", "offline", 10)])
def test_every_acknowledged_row_is_there_once(labs: list[Lab], project: str, view: str, to: str, appends: int) -> None:
    locations = [lab.server.location for lab in labs]
    jobs = [Appends(locations, view, to, writer, appends) for writer in range(WRITERS)]
    with processes(WRITERS) as pool:
        acknowledged = [driver for drivers in pool.map(append_all, jobs) for driver in drivers]
    assert len(acknowledged) == WRITERS * appends
    name = f"online.{project}_{view}" if to == "online" else f"{project}.{view}"
    found = labs[0].warehouse.catalog.load_table(name).scan().to_arrow()["driver_id"].to_pylist()
    assert sorted(found) == sorted(acknowledged + ([BEFORE] if to == "offline" else []))
