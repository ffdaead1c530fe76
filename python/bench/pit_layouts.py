"""Writes the tables of the point-in-time benchmark: the same rows in three layouts, in memory that stays small.

- `day`: partitioned by day, one file each, rows shuffled, as a daily job of pyiceberg leaves them.
- `bucketed`: Murre's own layout: bucket[16] of the join key, files sorted by key and time, with a page index.
- `small`: as `day`, but about 20 files a day for the largest table, as frequent writers leave them; the others as in
  `day`.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pyarrow as pa
from harness.warehouse import Warehouse
from pit_buckets import BUCKETS, gather, scatter
from pit_data import days_of_rows, write_sample
from pit_views import VIEWS, View
from pyiceberg.table import Table
from pyiceberg.transforms import BucketTransform, DayTransform, IdentityTransform

LAYOUTS = ("day", "bucketed", "small")
SMALL_FILES_A_DAY = 20
VERSION = 2


def report(text: str) -> None:
    """Show progress without hiding the results on standard output."""
    print(text, file=sys.stderr, flush=True)


def table_of(view: View, layout: str) -> str:
    """The name of a view's table in a layout."""
    own = layout == "bucketed" or (layout == "small" and view is VIEWS[0])
    return f"bench.{view.name}" + (f"_{layout}" if own else "")


def write_days(warehouse: Warehouse, name: str, days: Iterable[pa.Table], files_a_day: int = 1) -> None:
    """Write a table partitioned by day in one commit a day."""
    table: Table | None = None
    for batch in days:
        if table is None:
            # pyiceberg measures the size of a file before encoding; a little more makes the last file of a day whole.
            properties = {"write.target-file-size-bytes": str(batch.nbytes * 21 // 20 // files_a_day)}
            options = {"properties": properties} if files_a_day > 1 else {}
            by_day = {"event_timestamp": DayTransform()}
            table = warehouse.create(name, batch.schema, partition_by=by_day, **options)
        table.append(batch)


def write_buckets(warehouse: Warehouse, view: View, name: str, days: Iterator[pa.Table]) -> None:
    """Write a table in buckets of its key in one commit, by way of one scratch file a bucket."""
    scratch = Path(tempfile.mkdtemp(prefix="scratch-", dir=warehouse.directory))
    schema = scatter(view, days, scratch)
    table = warehouse.create(name, schema, partition_by={view.key: BucketTransform(BUCKETS)})
    with table.update_sort_order() as order:
        for column in (view.key, "event_timestamp", "created"):
            order.asc(column, IdentityTransform())
    table = warehouse.catalog.load_table(name)
    with table.transaction() as transaction, transaction.update_snapshot().fast_append() as append:
        for data_file in gather(table, view, scratch):
            append.append_data_file(data_file)
    shutil.rmtree(scratch)


def watched(name: str, days: Iterator[pa.Table]) -> Iterator[pa.Table]:
    """The days, each reported."""
    started, written = time.monotonic(), 0
    for number, batch in enumerate(days, 1):
        written += len(batch)
        report(f"{name}: day {number:2d}, {written:,} rows, {time.monotonic() - started:.0f} s")
        yield batch


def write_table(warehouse: Warehouse, view: View, layout: str, rows: int, seed: int) -> None:
    """Write one view's table in one layout."""
    name = table_of(view, layout)
    days = watched(name, days_of_rows(view, rows, seed))
    if layout == "bucketed":
        write_buckets(warehouse, view, name, days)
    else:
        write_days(warehouse, name, days, SMALL_FILES_A_DAY if name.endswith("_small") else 1)


class Made:
    """The file that says which tables of a directory are complete, and for which parameters."""

    def __init__(self, directory: Path, rows: int, seed: int) -> None:
        """Read it; refuse a directory that holds other data."""
        self.path = directory / "made.json"
        self.wanted = {"rows": rows, "seed": seed, "version": VERSION}
        self.tables: list[str] = []
        if self.path.exists():
            found = json.loads(self.path.read_text())
            self.tables = found.pop("tables")
            if found != self.wanted:
                raise SystemExit(f"{directory} holds other data ({found}); give another --dir")
        elif (directory / "complete.json").exists():
            raise SystemExit(f"{directory} holds data of an older form; give another --dir")

    def once(self, name: str, make: Callable[[], None]) -> None:
        """Make something unless it is there."""
        if name not in self.tables:
            make()
            self.tables.append(name)
            self.path.write_text(json.dumps({**self.wanted, "tables": self.tables}))


def prepare(directory: Path, rows: int, seed: int, layouts: Iterable[str]) -> Warehouse:
    """The warehouse under `directory` with every table of the layouts, of which it makes what is missing."""
    warehouse = Warehouse(directory)
    made = Made(directory, rows, seed)
    made.once("sample", lambda: write_sample(directory, rows, seed))
    for layout in layouts:
        for view in VIEWS:
            name = table_of(view, layout)
            if name not in made.tables and warehouse.catalog.table_exists(name):
                raise SystemExit(f"{name} in {directory} is half-made; remove the directory")
            made.once(name, lambda view=view, layout=layout: write_table(warehouse, view, layout, rows, seed))
    return warehouse
