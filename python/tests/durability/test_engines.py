"""What maintenance leaves is what other engines read: pyiceberg, and DuckDB by its own reader of Iceberg."""

from __future__ import annotations

from collections.abc import Callable

import pyarrow as pa
import pytest
from harness.components import needs
from harness.deletes import commit_deletes, position_deletes
from harness.engines import by_duckdb, by_pyiceberg, check_readable
from harness.frames import at, drivers
from harness.lab import Lab
from harness.maintainer import offered, shorten_history
from pyiceberg.table import Table

COLUMNS = ["driver_id", "trips"]
DEFINITION = {"join_keys": [{"name": "driver_id", "type": "INT64"}]}
KEYS, COMMITS = 40, 12
ONLINE, PAST = "online.tests_live", "tests.batch"


@pytest.fixture(scope="module")
def lab(start_lab: Callable[..., Lab]) -> Lab:
    """Tables of many small commits, one with deleted rows, and nothing maintained."""

    def fill(lab: Lab) -> None:
        lab.definitions.view("batch", PAST, ["driver_id"])

    lab = start_lab(fill, online={"partition_count": 4, "read_timeout_ms": 60_000})
    for commit in range(COMMITS):
        for view, to in (("live", "online"), ("batch", "offline")):
            lab.client.write(view, rows(commit), to=to, definition=DEFINITION)
    table = stored(lab, PAST)
    task = next(iter(table.scan().plan_files()))
    place = {"partition": task.file.partition, "spec_id": task.file.spec_id}
    commit_deletes(table, position_deletes(table, [(task.file.file_path, 0)], **place))
    for name in (ONLINE, PAST):
        shorten_history(lab, name)
    return lab


def rows(commit: int) -> pa.Table:
    """Every second driver's, so that most rows of the latest features are superseded."""
    return drivers(
        *((driver, at(minutes=commit), commit * KEYS + driver) for driver in range(commit % 2, KEYS, 2)),
        extra={"trips": pa.int64()},
    )


def stored(lab: Lab, name: str) -> Table:
    """A table as pyiceberg loads it."""
    return lab.warehouse.catalog.load_table(name)


def latest(found: list[tuple[object, ...]]) -> dict[object, object]:
    """The last value of each key; values grow with time."""
    return dict(sorted(found))


@pytest.mark.parametrize("verb", ["compact", "expire", "gc"])
def test_engines_read_the_same_rows_after(lab: Lab, verb: str) -> None:
    needs(f"murre maintain {verb}", None if offered(lab, verb) else "the binary does not have it")
    before = {name: by_pyiceberg(stored(lab, name), COLUMNS) for name in (ONLINE, PAST)}
    print(lab.run("maintain", verb))
    for name in before:
        table = stored(lab, name)
        found = by_pyiceberg(table, COLUMNS)
        assert found == by_duckdb(table, COLUMNS)
        check_readable(table)
        assert latest(found) == latest(before[name])
    assert by_pyiceberg(stored(lab, PAST), COLUMNS) == before[PAST]
