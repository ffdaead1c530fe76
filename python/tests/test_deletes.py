"""Rows that merge-on-read deletes remove never match, and the next best row takes their place."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from harness.deletes import commit_deletes, equality_deletes, position_deletes
from harness.frames import INSTANT, at, drivers
from harness.lab import Lab
from harness.reference import naive_join, rows_of
from pyiceberg.expressions import EqualTo
from pyiceberg.manifest import DataFile, FileFormat
from pyiceberg.table import Table
from pyiceberg.transforms import BucketTransform, DayTransform, IdentityTransform
from pyiceberg.types import IntegerType, LongType, StringType

EXTRA = {"created": INSTANT, "code": pa.string(), "value": pa.int64()}


def history(first_value: int, days: int = 4) -> pa.Table:
    """Six drivers, one of them null, with three rows a day."""
    times = [at(days=day, hours=hour) for day in range(days) for hour in (0, 4, 8)]
    rows = [
        (key, time, time, None if (i + k) % 7 == 0 else f"c{(i + k) % 3}", first_value + 100 * k + i)
        for k, key in enumerate([1, 2, 3, 4, 5, None])
        for i, time in enumerate(times)
    ]
    return drivers(*rows, extra=EXTRA)


FRAME = drivers(
    *((key, at(days=day, hours=hour)) for day in range(5) for key in (1, 2, 3, 4, 5, None, 9) for hour in (2, 4, 7))
)


def data(table: Table) -> list[DataFile]:
    """The live data files, the one with the largest value first: it wins the ties between the commits."""
    files = [task.file for task in table.scan().plan_files()]
    return sorted(files, key=lambda file: max(read([file])["value"].to_pylist()), reverse=True)


def read(files: list[DataFile]) -> pa.Table:
    """All rows of data files, deletes ignored."""
    return pa.concat_tables(pq.read_table(file.file_path.removeprefix("file://")) for file in files)


def without(rows: pa.Table, doomed: Callable[[dict[str, Any]], bool]) -> pa.Table:
    """The rows that a predicate does not name."""
    return rows.filter(pa.array([not doomed(row) for row in rows_of(rows)], pa.bool_()))


class Case:
    """A table with deletes, and the rows that remain."""

    def __init__(self, lab: Lab, name: str, partition_by: dict[str, Any] | None = None) -> None:
        """Write three commits of history and define a view of the name."""
        self.table = lab.add(
            name,
            ["driver_id"],
            *(history(1000 * i) for i in range(2)),
            write={"partition_by": partition_by},
            created_timestamp_column="created",
            ttl="2d",
            features=["code", "value"],
        )
        self.remaining: pa.Table | None = None

    def rows(self) -> pa.Table:
        """What a reader must see: computed by hand where given, else as pyiceberg reads it."""
        return self.table.refresh().scan().to_arrow() if self.remaining is None else self.remaining


def positions(case: Case) -> None:
    """Scattered positions in two files, one delete file for both."""
    files = data(case.table)
    doomed = [(file.file_path, row) for file in files for row in range(0, file.record_count, 3)]
    commit_deletes(case.table, position_deletes(case.table, doomed))


def positions_of_one_file(case: Case) -> None:
    """A delete file that its bounds tie to one data file, and a second one later for the same file."""
    file = data(case.table)[0]
    first = [(file.file_path, row) for row in range(0, 30)]
    second = [(file.file_path, row) for row in range(20, 50, 2)]
    commit_deletes(case.table, position_deletes(case.table, first, bounds=True))
    commit_deletes(case.table.refresh(), position_deletes(case.table, second, bounds=True))


def positions_of_a_whole_file(case: Case) -> None:
    """Nothing is left of one file."""
    file = data(case.table)[0]
    doomed = [(file.file_path, row) for row in range(file.record_count)]
    commit_deletes(case.table, position_deletes(case.table, doomed))


def positions_in_partitions(case: Case) -> None:
    """One delete file per partition."""
    deletes = [
        position_deletes(case.table, [(file.file_path, 0), (file.file_path, 5)], partition=file.partition)
        for file in data(case.table)
    ]
    commit_deletes(case.table, *deletes)


def equality_then_append(case: Case) -> None:
    """What is appended after an equality delete stays, though it is equal."""
    before = read(data(case.table))
    commit_deletes(case.table, equality_deletes(case.table, ["driver_id"], [{"driver_id": 2}, {"driver_id": 4}]))
    later = without(history(5000), lambda row: row["value"] % 2 == 0)
    case.table.refresh().append(later)
    case.remaining = pa.concat_tables([without(before, lambda row: row["driver_id"] in (2, 4)), later])


def equality_with_null(case: Case) -> None:
    """A null in an equality delete is equal to null."""
    before = read(data(case.table))
    commit_deletes(case.table, equality_deletes(case.table, ["code"], [{"code": None}, {"code": "c1"}]))
    case.remaining = without(before, lambda row: row["code"] in (None, "c1"))


def equality_over_two_columns(case: Case) -> None:
    """All columns of a delete row must be equal, and none of them needs to be asked for."""
    before = read(data(case.table))
    doomed = [{"driver_id": 1, "created": at(days=day)} for day in range(3)] + [{"driver_id": None, "created": at()}]
    commit_deletes(case.table, equality_deletes(case.table, ["driver_id", "created"], doomed))
    pairs = [(row["driver_id"], row["created"]) for row in doomed]
    case.remaining = without(before, lambda row: (row["driver_id"], row["created"]) in pairs)


def both_kinds(case: Case) -> None:
    """Equality deletes apply to older files, position deletes to theirs; both together."""
    files = data(case.table)
    gone = [(file.file_path, row) for file in files for row in (0, 1, 2, 40)]
    before = pa.concat_tables(
        read([file]).filter(pa.array([i not in (0, 1, 2, 40) for i in range(file.record_count)])) for file in files
    )
    equality = equality_deletes(case.table, ["value"], [{"value": value} for value in (3, 7, 1111)])
    commit_deletes(case.table, position_deletes(case.table, gone), equality)
    case.remaining = without(before, lambda row: row["value"] in (3, 7, 1111))


def equality_in_one_partition(case: Case) -> None:
    """An equality delete of a partition leaves the equal rows of others alone."""
    files = data(case.table)
    chosen = files[0].partition
    commit_deletes(case.table, equality_deletes(case.table, ["driver_id"], [{"driver_id": 5}], partition=chosen))

    def kept(file: DataFile) -> pa.Table:
        return without(read([file]), lambda row: file.partition == chosen and row["driver_id"] == 5)

    case.remaining = pa.concat_tables(kept(file) for file in files)


def global_equality(case: Case) -> None:
    """An equality delete with an unpartitioned spec applies to every partition."""
    before = read(data(case.table))
    with case.table.update_spec() as update:
        for field in case.table.spec().fields:
            update.remove_field(field.name)
    table = case.table.refresh()
    assert table.spec().is_unpartitioned()
    commit_deletes(table, equality_deletes(table, ["code"], [{"code": "c2"}]))
    case.remaining = without(before, lambda row: row["code"] == "c2")


def equality_on_a_renamed_column(case: Case) -> None:
    """Delete files know columns by id, not by name."""
    before = read(data(case.table))
    commit_deletes(case.table, equality_deletes(case.table, ["value"], [{"value": v} for v in range(0, 2000, 2)]))
    with case.table.refresh().update_schema() as update:
        update.rename_column("code", "value_before").rename_column("value", "code")
    with case.table.refresh().update_schema() as update:
        update.rename_column("value_before", "value")
    remaining = without(before, lambda row: row["value"] % 2 == 0)
    case.remaining = remaining.rename_columns(["driver_id", "event_timestamp", "created", "value", "code"])


def equality_on_a_promoted_column(case: Case) -> None:
    """A delete file written before int became long deletes the same rows afterwards."""
    with case.table.update_schema() as update:
        update.add_column("small", IntegerType())
    rows = history(7000).append_column("small", pa.array([i % 5 for i in range(72)], pa.int32()))
    case.table.refresh().append(rows)
    commit_deletes(case.table.refresh(), equality_deletes(case.table.refresh(), ["small"], [{"small": 3}]))
    with case.table.refresh().update_schema() as update:
        update.update_column("small", LongType())
    older = pa.concat_tables([history(0), history(1000)])
    kept = without(rows, lambda row: row["small"] == 3).drop_columns("small")
    case.remaining = pa.concat_tables([older, kept])


def equality_on_a_dropped_column(case: Case) -> None:
    """A delete keeps its effect when the column it looks at has left the schema."""
    with case.table.update_schema() as update:
        update.add_column("reason", StringType())
    rows = history(7000).append_column("reason", pa.array(["bad" if i % 4 == 0 else "good" for i in range(72)]))
    case.table.refresh().append(rows)
    commit_deletes(case.table.refresh(), equality_deletes(case.table.refresh(), ["reason"], [{"reason": "bad"}]))
    with case.table.refresh().update_schema() as update:
        update.delete_column("reason")
    older = pa.concat_tables([history(0), history(1000)])
    kept = without(rows, lambda row: row["reason"] == "bad").drop_columns("reason")
    case.remaining = pa.concat_tables([older, kept])


def copy_on_write(case: Case) -> None:
    """pyiceberg's own delete rewrites the files."""
    case.table.delete(EqualTo("driver_id", 3))
    case.table.refresh().delete("value >= 1105 and value < 1110")


BY_DAY, BY_BUCKET = {"event_timestamp": DayTransform()}, {"driver_id": BucketTransform(3)}
BY_CODE = {"code": IdentityTransform()}
CASES: dict[str, tuple[Callable[[Case], None], dict[str, Any] | None]] = {
    "positions": (positions, None),
    "positions_one_file": (positions_of_one_file, None),
    "positions_whole_file": (positions_of_a_whole_file, None),
    "positions_by_day": (positions_in_partitions, BY_DAY),
    "positions_by_bucket": (positions_in_partitions, BY_BUCKET),
    "equality_then_append": (equality_then_append, None),
    "equality_with_null": (equality_with_null, None),
    "equality_two_columns": (equality_over_two_columns, None),
    "both_kinds": (both_kinds, None),
    "equality_one_partition": (equality_in_one_partition, BY_DAY),
    "equality_one_code": (equality_in_one_partition, BY_CODE),
    "global_equality": (global_equality, BY_DAY),
    "equality_renamed": (equality_on_a_renamed_column, None),
    "equality_promoted": (equality_on_a_promoted_column, None),
    "equality_dropped": (equality_on_a_dropped_column, None),
    "copy_on_write": (copy_on_write, None),
    "copy_on_write_by_day": (copy_on_write, BY_DAY),
}


def build_cases(lab: Lab) -> dict[str, Case]:
    """Write every case's table and commit its deletes."""
    cases = {name: Case(lab, name, partition_by) for name, (_, partition_by) in CASES.items()}
    for name, case in cases.items():
        CASES[name][0](case)
    return cases


def add_deletion_vector(lab: Lab) -> None:
    """A table whose delete file is a Puffin file, as format version 3 has them."""
    table = lab.add("vectors", ["driver_id"], history(0), features=["value"])
    vector = position_deletes(table, [(data(table)[0].file_path, 0)], file_format=FileFormat.PUFFIN)
    commit_deletes(table, vector)


@pytest.fixture(scope="module")
def built() -> dict[str, Case]:
    """The cases by name, filled by `lab`."""
    return {}


@pytest.fixture(scope="module")
def lab(start_lab: Callable[..., Lab], built: dict[str, Case]) -> Lab:
    """All cases in one server."""

    def fill(lab: Lab) -> None:
        built.update(build_cases(lab))
        add_deletion_vector(lab)

    return start_lab(fill)


@pytest.mark.parametrize("name", CASES)
def test_deleted_rows_do_not_match(lab: Lab, built: dict[str, Case], name: str) -> None:
    case = built[name]
    options = {"created": "created", "ttl": at(days=2) - at(), "ties": case.rows().column_names}
    expected = naive_join(FRAME, case.rows(), ["driver_id"], ["code", "value"], **options)
    everything = naive_join(FRAME, pa.concat_tables([history(0), history(1000)]), ["driver_id"], ["value"], **options)
    assert expected != everything
    assert rows_of(lab.client.historical(FRAME, [f"{name}:code", f"{name}:value"])) == expected


def test_deletion_vectors_are_refused_by_name(lab: Lab) -> None:
    with pytest.raises(pa.ArrowInvalid, match=r"(?i)deletion vector.*lab\.vectors|lab\.vectors.*deletion vector"):
        lab.client.historical(FRAME, ["vectors:value"])
