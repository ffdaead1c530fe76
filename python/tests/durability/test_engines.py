"""What maintenance leaves is what other engines read: pyiceberg, and DuckDB by its own reader of Iceberg."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

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
# gc leaves alone what is younger than three days.
AGE_SECONDS = 4 * 86_400
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


def all_files(lab: Lab) -> set[Path]:
    """Every file of the warehouse."""
    return {path for path in (lab.warehouse.directory / "warehouse").rglob("*") if path.is_file()}


def lasting_files(lab: Lab) -> set[Path]:
    """Those that a maintainer's lease, which is a property of the table, does not add to."""
    return {path for path in all_files(lab) if not path.name.endswith(".metadata.json")}


def latest(found: list[tuple[object, ...]]) -> dict[object, object]:
    """The last value of each key; values grow with time."""
    return dict(sorted(found))


@pytest.mark.parametrize("verb", ["compact", "expire --force-younger", "gc"])
def test_engines_read_the_same_rows_after(lab: Lab, verb: str) -> None:
    needs(f"murre maintain {verb}", None if offered(lab, verb) else "the binary does not have it")
    before = {name: by_pyiceberg(stored(lab, name), COLUMNS) for name in (ONLINE, PAST)}
    files = all_files(lab)
    print(lab.run("maintain", *verb.split(), "--dry-run"))
    assert all_files(lab) == files
    print(lab.run("maintain", *verb.split()))
    for name in before:
        table = stored(lab, name)
        found = by_pyiceberg(table, COLUMNS)
        assert found == by_duckdb(table, COLUMNS)
        check_readable(table)
        assert latest(found) == latest(before[name])
    assert by_pyiceberg(stored(lab, PAST), COLUMNS) == before[PAST]


def test_gc_removes_old_files_that_nothing_refers_to(lab: Lab) -> None:
    needs("murre maintain gc", None if offered(lab, "gc") else "the binary does not have it")
    folder = Path(stored(lab, ONLINE).location().removeprefix("file://")) / "data"
    old, young = folder / "died-long-ago.parquet", folder / "being-written.parquet"
    for file in (old, young):
        file.write_bytes(b"not committed")
    os.utime(old, times=(time.time() - AGE_SECONDS,) * 2)
    kept = lasting_files(lab) - {old}
    assert str(old.name) in lab.run("maintain", "gc", "--table", ONLINE, "--dry-run")
    assert old.exists()
    lab.run("maintain", "gc", "--table", ONLINE)
    assert lasting_files(lab) == kept
    check_readable(stored(lab, ONLINE))
