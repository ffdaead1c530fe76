"""What Murre writes to online tables is what pyiceberg and DuckDB read, with stock pyarrow as the client."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from harness.deletes import commit_deletes, position_deletes
from harness.lab import Lab
from harness.online_rows import DEFINITION, START, entity_key, plain, rows
from pyiceberg.manifest import DataFile
from pyiceberg.table import Table
from pyiceberg.transforms import BucketTransform
from pyiceberg.types import BinaryType

BUCKETS = 8
Result = dict[str, Any]


@pytest.fixture(scope="module")
def lab(start_lab: Callable[..., Lab]) -> Lab:
    """A server with online tables of eight buckets and one view that the tests do not use."""

    def fill(lab: Lab) -> None:
        table = pa.table({"k": [1], "event_timestamp": pa.array([START], pa.timestamp("us", "UTC"))})
        lab.add("unused", ["k"], table)

    return start_lab(fill, online={"partition_count": BUCKETS})


def write(lab: Lab, view: str, rows: pa.Table, **options: Any) -> Result:
    """Send rows to an online table and return the server's answer."""
    return lab.client.write(view, rows, definition=DEFINITION, **options)


def stored(lab: Lab, answer: Result) -> Table:
    """The table of an answer, as pyiceberg loads it."""
    return lab.warehouse.catalog.load_table(answer["table"])


def by_duckdb(table: Table) -> pa.Table:
    """All rows, by DuckDB and from the data files alone."""
    paths = [task.file.file_path.removeprefix("file://") for task in table.scan().plan_files()]
    return duckdb.sql("select * from read_parquet($paths)", params={"paths": paths}).to_arrow_table()


@pytest.mark.parametrize(("view", "count"), [("small", 50), ("large", 20_000)])
def test_other_engines_read_the_same_rows(lab: Lab, view: str, count: int) -> None:
    sent = rows(count)
    answer = write(lab, view, sent)
    assert answer["table"] == f"online.{lab.definitions.project}_{view}"
    assert (answer["rows"], answer["replayed"]) == (count, False)
    table = stored(lab, answer)
    assert table.metadata.current_snapshot_id == answer["snapshot_id"]
    read = table.scan().to_arrow()
    expected = plain(sent, sent.column_names)
    assert plain(read, sent.column_names) == expected
    assert plain(by_duckdb(table), sent.column_names) == expected
    keys = read.sort_by("id").column("entity_key").to_pylist()
    assert keys == [entity_key(row["id"], row["city"]) for row in expected]
    assert len(set(read.column("write_sequence").to_pylist())) == count


def test_partitions_are_the_buckets_of_other_engines(lab: Lab) -> None:
    table = stored(lab, write(lab, "bucketed", rows(20_000)))
    bucket = BucketTransform(BUCKETS).transform(BinaryType())
    files = list(table.scan().plan_files())
    assert len(files) == BUCKETS
    assert table.spec().fields[0].transform == BucketTransform(BUCKETS)
    for task in files:
        path = task.file.file_path.removeprefix("file://")
        keys = duckdb.sql("select entity_key from read_parquet($path)", params={"path": path}).fetchall()
        assert {bucket(bytes(key)) for (key,) in keys} == {task.file.partition[0]}
        assert keys == sorted(keys)


def test_a_small_write_is_one_file_that_knows_its_spec(lab: Lab) -> None:
    table = stored(lab, write(lab, "one", rows(900)))
    (task,) = table.scan().plan_files()
    assert table.specs()[task.file.spec_id].is_unpartitioned()
    assert not table.spec().is_unpartitioned()
    assert [field.source_id for field in table.sort_order().fields] == [
        table.schema().find_field(name).field_id for name in ("entity_key", "event_timestamp")
    ]


def test_pyiceberg_appends_in_between(lab: Lab) -> None:
    answer = write(lab, "shared", rows(3))
    table = stored(lab, answer)
    table.append(table.scan(row_filter="id = 1").to_arrow())
    again = write(lab, "shared", rows(2), idempotency_key="k")
    replayed = write(lab, "shared", rows(2), idempotency_key="k")
    table = stored(lab, answer)
    assert sorted(table.scan().to_arrow().column("id").to_pylist()) == [0, 0, 1, 1, 1, 2]
    assert [entry.summary.operation.value for entry in table.snapshots()] == ["append"] * 3
    assert (replayed["replayed"], replayed["snapshot_id"], replayed["token"]) == (
        True,
        again["snapshot_id"],
        again["token"],
    )


def test_columns_evolve_for_other_engines_too(lab: Lab) -> None:
    narrow = rows(2).select(["id", "city", "event_timestamp", "i32"])
    write(lab, "evolving", narrow)
    wide = narrow.set_column(3, "i32", pa.array([2**40, None], pa.int64())).append_column("new", pa.array(["a", "b"]))
    answer = write(lab, "evolving", wide)
    read = stored(lab, answer).scan().to_arrow()
    assert sorted(read.column("i32").to_pylist(), key=str) == sorted([0, None, 2**40, None], key=str)
    assert sorted(read.column("new").to_pylist(), key=str) == sorted([None, None, "a", "b"], key=str)
    text = narrow.set_column(3, "i32", pa.array(["x", "y"]))
    with pytest.raises(pa.ArrowInvalid, match=r"column `i32` of table .* is long and cannot become string"):
        write(lab, "evolving", text)


def test_tables_are_made_and_dropped_by_actions(lab: Lab) -> None:
    keep = {"feature_view": "acted", "definition": {**DEFINITION, "features": [{"name": "f", "type": "DOUBLE_LIST"}]}}
    name = f"online.{lab.definitions.project}_acted"
    nothing = {"created": [], "evolved": [], "dropped": []}
    assert lab.client.act("update", {"keep": [keep], "dry_run": True}) == {**nothing, "created": [name]}
    assert not lab.warehouse.catalog.table_exists(name)
    assert lab.client.act("update", {"keep": [keep]}) == {**nothing, "created": [name]}
    assert lab.client.act("update", {"keep": [keep]}) == nothing
    assert str(lab.warehouse.catalog.load_table(name).schema().find_type("f")) == "list<double>"
    assert lab.client.act("teardown", {"feature_views": ["acted"]}) == {**nothing, "dropped": [name]}
    assert lab.client.act("update", {"delete": ["acted"]}) == nothing
    assert not lab.warehouse.catalog.table_exists(name)


def changed(table: pa.Table, value: float) -> pa.Table:
    """The same rows an hour later, with another `f64`."""
    later = [time + timedelta(hours=1) for time in table.column("event_timestamp").to_pylist()]
    times = pa.array(later, table.schema.field("event_timestamp").type)
    table = table.set_column(table.column_names.index("event_timestamp"), "event_timestamp", times)
    return table.set_column(table.column_names.index("f64"), "f64", pa.array([value] * len(table)))


def position(table: Table, key: int, value: float | None) -> tuple[DataFile, int]:
    """The file that holds a row, and its place there."""
    for task in table.scan().plan_files():
        read = pq.read_table(task.file.file_path.removeprefix("file://"), columns=["id", "f64"]).to_pylist()
        if {"id": key, "f64": value} in read:
            return task.file, read.index({"id": key, "f64": value})
    raise AssertionError(f"no row of {key} with {value}")


def delete(table: Table, key: int, value: float | None) -> None:
    """Delete one row as another engine would, by its position."""
    file, place = position(table, key, value)
    positions = [(file.file_path, place)]
    commit_deletes(table, position_deletes(table, positions, partition=file.partition, spec_id=file.spec_id))


def latest(lab: Lab, view: str, *ids: int) -> list[float | None]:
    """What online reads answer."""
    keys = {"id": list(ids), "city": [f"city {i % 7}" for i in ids]}
    return lab.client.get({"online": {"features": [f"{view}:f64"], "entity_keys": keys}}).column("f64").to_pylist()


def test_a_fold_keeps_deletes_and_leaves_the_latest_rows_to_other_engines(lab: Lab) -> None:
    first = rows(10_000)
    write(lab, "folded", first)
    answer = write(lab, "folded", changed(first.slice(0, 100), -1.0))
    delete(stored(lab, answer), 4, -1.0)  # what was written before counts again
    delete(stored(lab, answer), 200, 200.0)  # the only row of its key
    lab.stop()
    lab.start(online={"partition_count": BUCKETS, "read_timeout_ms": 20_000})  # sees the deletes at once
    expected = {i: (i if i % 2 == 0 else None) for i in range(10_000)} | dict.fromkeys(range(100), -1.0) | {4: 4.0}
    asked = (0, 3, 4, 99, 100, 200, 9_999)
    assert latest(lab, "folded", *asked) == [expected[i] if i != 200 else None for i in asked]
    del expected[200]
    assert "10100 rows → 9999" in lab.run("maintain", "compact", "--feature-view", "folded")
    table = stored(lab, answer)
    assert {row["id"]: row["f64"] for row in table.scan().to_arrow().to_pylist()} == expected
    by_files = by_duckdb(table)
    assert dict(zip(by_files["id"].to_pylist(), by_files["f64"].to_pylist(), strict=True)) == expected
    assert len(by_files) == len(expected)
    assert table.current_snapshot().summary.operation.value == "replace"
    assert latest(lab, "folded", *asked) == [expected.get(i) for i in asked]
    before = table.metadata.current_snapshot_id
    assert "nothing to do" in lab.run("maintain", "compact", "--feature-view", "folded")
    assert stored(lab, answer).metadata.current_snapshot_id == before
