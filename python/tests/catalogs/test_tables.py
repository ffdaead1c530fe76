"""Online tables in every catalog: what Murre writes, pyiceberg sees, and the other way round."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pyarrow as pa
import pytest
from harness.frames import at
from harness.lab import Lab
from harness.online_rows import DEFINITION, entity_key, plain, rows
from harness.polling import eventually
from harness.warehouse import rows_by_partition
from pyiceberg.exceptions import CommitFailedException
from pyiceberg.table import Table
from pyiceberg.transforms import BucketTransform
from pyiceberg.types import BinaryType

BUCKETS = 4
MANY = 20_000


@pytest.fixture(scope="module")
def lab(start_over: Callable[..., Lab]) -> Lab:
    """A server with online tables of four buckets; it has time for cold reads on a busy machine."""
    return start_over(lambda _: None, online={"partition_count": BUCKETS, "read_timeout_ms": 60_000})


def write(lab: Lab, view: str, sent: pa.Table, **options: Any) -> dict[str, Any]:
    return lab.client.write(view, sent, definition=DEFINITION, **options)


def stored(lab: Lab, view: str) -> Table:
    return lab.warehouse.catalog.load_table(f"online.{lab.definitions.project}_{view}")


def ids(read: pa.Table) -> list[int]:
    return sorted(read["id"].to_pylist())


def online(lab: Lab, view: str, feature: str, *keys: int, **options: Any) -> list[Any]:
    entities = {"id": list(keys), "city": [f"city {i % 7}" for i in keys]}
    request = {"online": {"features": [f"{view}:{feature}"], "entity_keys": entities, **options}}
    return lab.client.get(request)[feature].to_pylist()


def test_the_first_write_creates_the_table(lab: Lab) -> None:
    assert not lab.warehouse.catalog.table_exists(f"online.{lab.definitions.project}_first")
    answer = write(lab, "first", rows(3))
    assert answer["table"] == f"online.{lab.definitions.project}_first"
    table = stored(lab, "first")
    assert table.metadata.current_snapshot_id == answer["snapshot_id"]
    assert ids(table.scan().to_arrow()) == [0, 1, 2]


def test_older_snapshots_stay_readable(lab: Lab) -> None:
    first = write(lab, "travel", rows(2))
    second = write(lab, "travel", rows(5).slice(2))
    table = stored(lab, "travel")
    assert ids(table.scan(snapshot_id=first["snapshot_id"]).to_arrow()) == [0, 1]
    assert ids(table.scan(snapshot_id=second["snapshot_id"]).to_arrow()) == [0, 1, 2, 3, 4]
    assert [entry.snapshot_id for entry in table.history()][-2:] == [first["snapshot_id"], second["snapshot_id"]]


def test_concurrent_appends_are_all_kept(lab: Lab) -> None:
    sent = rows(60)
    with ThreadPoolExecutor(6) as threads:
        answers = list(threads.map(lambda i: write(lab, "crowded", sent.slice(i, 1)), range(60)))
    table = stored(lab, "crowded")
    assert ids(table.scan().to_arrow()) == list(range(60))
    assert {answer["snapshot_id"] for answer in answers} <= {entry.snapshot_id for entry in table.snapshots()}


def test_columns_evolve(lab: Lab) -> None:
    narrow = rows(2).select(["id", "city", "event_timestamp", "i32"])
    before = write(lab, "evolving", narrow)
    wide = narrow.set_column(3, "i32", pa.array([2**40, None], pa.int64())).append_column("new", pa.array(["a", "b"]))
    write(lab, "evolving", wide)
    read = stored(lab, "evolving").scan().to_arrow()
    assert sorted(read["i32"].to_pylist(), key=str) == sorted([0, None, 2**40, None], key=str)
    assert sorted(read["new"].to_pylist(), key=str) == sorted([None, None, "a", "b"], key=str)
    old = stored(lab, "evolving").scan(snapshot_id=before["snapshot_id"]).to_arrow()
    assert (old.schema.field("i32").type, old.column_names.count("new")) == (pa.int32(), 0)
    with pytest.raises(pa.ArrowInvalid, match=r"column `i32` of table .* is long and cannot become string"):
        write(lab, "evolving", narrow.set_column(3, "i32", pa.array(["x", "y"])))


def test_every_type_survives(lab: Lab) -> None:
    sent = rows(50)
    answer = write(lab, "typed", sent)
    expected = plain(sent, sent.column_names)
    assert plain(stored(lab, "typed").scan().to_arrow(), sent.column_names) == expected
    for feature in sent.column_names[4:]:
        wanted = [row[feature] for row in expected]
        read = online(lab, "typed", feature, *range(50), token=answer["token"])
        assert [dict(value) if isinstance(value, list) and feature == "counts" else value for value in read] == wanted


def test_buckets_are_those_of_pyiceberg(lab: Lab) -> None:
    write(lab, "bucketed", rows(MANY))
    table = stored(lab, "bucketed")
    bucket = BucketTransform(BUCKETS).transform(BinaryType())
    parts = rows_by_partition(table)
    assert sorted(parts) == list(range(BUCKETS))
    assert sum(map(len, parts.values())) == MANY
    for value, part in parts.items():
        assert {bucket(key) for key in part["entity_key"].to_pylist()} == {value}
    listed = table.inspect.files().to_pylist()
    assert {file["partition"]["entity_key_bucket"]: file["record_count"] for file in listed} == {
        value: len(part) for value, part in parts.items()
    }
    assert parts[bucket(entity_key(7, "city 0"))].filter(pa.compute.field("id") == 7).num_rows == 1


def append_between(lab: Lab, view: str, rows: pa.Table) -> None:
    """Append by pyiceberg, which leaves it to its user to try again."""
    try:
        stored(lab, view).append(rows)
    except CommitFailedException:
        append_between(lab, view, rows)


def test_pyiceberg_and_murre_write_at_the_same_time(lab: Lab) -> None:
    write(lab, "shared", rows(1))
    copied = stored(lab, "shared").scan().to_arrow()
    with ThreadPoolExecutor(2) as threads:
        other = threads.submit(lambda: [append_between(lab, "shared", copied) for _ in range(8)])
        own = threads.submit(lambda: [write(lab, "shared", rows(9).slice(i, 1)) for i in range(1, 9)])
        other.result()
        own.result()
    assert ids(stored(lab, "shared").scan().to_arrow()) == [0] * 9 + list(range(1, 9))


def test_rows_of_pyiceberg_are_served(lab: Lab) -> None:
    write(lab, "appended", rows(2))
    table = stored(lab, "appended")
    (newer,) = table.scan(row_filter="id = 0").to_arrow().to_pylist()
    newer |= {"event_timestamp": at(), "f64": 77.0}
    table.append(pa.Table.from_pylist([newer], schema=table.schema().as_arrow()))
    eventually(lambda: online(lab, "appended", "f64", 0, 1) == [77.0, None])


def test_a_table_that_was_dropped_is_made_again(lab: Lab) -> None:
    write(lab, "dropped", rows(2))
    lab.warehouse.catalog.drop_table(f"online.{lab.definitions.project}_dropped")
    write(lab, "dropped", rows(4).slice(2))
    assert ids(stored(lab, "dropped").scan().to_arrow()) == [2, 3]


def test_a_table_that_another_engine_dropped_is_not_found(lab: Lab) -> None:
    write(lab, "gone", rows(2))
    assert online(lab, "gone", "f64", 0) == [0.0]
    lab.warehouse.catalog.drop_table(f"online.{lab.definitions.project}_gone")

    def is_gone() -> bool:
        try:
            online(lab, "gone", "f64", 0)
        except KeyError as error:
            return "gone" in str(error)
        return False

    eventually(is_gone)


def test_teardown_drops_the_table(lab: Lab) -> None:
    name = write(lab, "torn", rows(2))["table"]
    assert lab.client.act("teardown", {"feature_views": ["torn"]})["dropped"] == [name]
    assert not lab.warehouse.catalog.table_exists(name)
