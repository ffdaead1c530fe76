"""Online reads with stock pyarrow: answers, statuses, tokens, channels, restarts and compaction."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pyarrow.flight as flight
import pytest
from harness.client import command, ipc
from harness.lab import Lab

NOW = datetime.now(UTC).replace(microsecond=0)
DEFINITION = {"join_keys": [{"name": "id", "type": "INT64"}], "ttl": "3600s"}
KEYS = pa.schema([("id", pa.int64())])


@pytest.fixture(scope="module")
def lab(start_lab: Callable[..., Lab]) -> Lab:
    """A server with online tables of eight buckets and time for cold reads on a busy machine."""

    def fill(lab: Lab) -> None:
        table = pa.table({"k": [1], "event_timestamp": pa.array([NOW], pa.timestamp("us", "UTC"))})
        lab.add("unused", ["k"], table)

    return start_lab(fill, online={"partition_count": 8, "read_timeout_ms": 20_000})


def write(
    lab: Lab, view: str, values: dict[int, float | None], at: datetime = NOW, key_type: str = "INT64"
) -> dict[str, Any]:
    """Store one value per id; return the server's answer."""
    definition = {**DEFINITION, "join_keys": [{"name": "id", "type": key_type}]}
    times = pa.array([at] * len(values), pa.timestamp("us", "UTC"))
    table = pa.table({"id": list(values), "event_timestamp": times, "value": pa.array(values.values(), pa.float64())})
    return lab.client.write(view, table, definition=definition)


def request(view: str, ids: list[Any], **options: Any) -> dict[str, Any]:
    """A read of one view's value."""
    return {"online": {"features": [f"{view}:value"], "entity_keys": {"id": ids}, **options}}


def values(lab: Lab, view: str, ids: list[Any], **options: Any) -> list[float | None]:
    """The values that a read answers."""
    return lab.client.get(request(view, ids, **options)).column("value").to_pylist()


def test_one_row_comes_back_for_each_key_in_order(lab: Lab) -> None:
    answer = write(lab, "ordered", {1: 1.5, 2: None, 2**53 + 1: 3.0})
    options = {"token": answer["token"], "include_status": True, "include_timestamps": True}
    read = lab.client.get(request("ordered", [2**53 + 1, "1", 2, 7, None, 1], **options))
    assert read.column_names == ["id", "value", "value__status", "ordered__event_timestamp"]
    assert read.column("value").to_pylist() == [3.0, 1.5, None, None, None, 1.5]
    statuses = ["PRESENT", "PRESENT", "NULL_VALUE", "NOT_FOUND", "NOT_FOUND", "PRESENT"]
    assert read.column("value__status").to_pylist() == statuses
    assert read.column("ordered__event_timestamp").to_pylist() == [NOW, NOW, NOW, None, None, NOW]


def test_a_late_row_never_wins_and_of_equal_times_the_later_write(lab: Lab) -> None:
    write(lab, "late", {1: 1.0})
    late = write(lab, "late", {1: 2.0}, NOW - timedelta(minutes=1))
    assert values(lab, "late", [1], token=late["token"]) == [1.0]
    equal = write(lab, "late", {1: 3.0})
    assert values(lab, "late", [1], token=equal["token"]) == [3.0]


def test_values_past_the_ttl_are_left_out_unless_it_is_ignored(lab: Lab) -> None:
    token = write(lab, "old", {1: 1.0}, NOW - timedelta(hours=2))["token"]
    read = lab.client.get(request("old", [1], token=token, include_status=True))
    assert read.select(["value", "value__status"]).to_pylist() == [{"value": None, "value__status": "OUTSIDE_MAX_AGE"}]
    assert values(lab, "old", [1], token=token, ignore_ttl=True) == [1.0]


def test_views_with_keys_of_two_widths_join_on_one_column(lab: Lab) -> None:
    write(lab, "narrow", {1: 1.0}, key_type="INT32")
    write(lab, "wide", {1: 2.0, 2**40: 3.0})
    features = {"features": ["narrow:value", "wide:value"], "full_feature_names": True}
    read = lab.client.get({"online": {**features, "entity_keys": {"id": [2**40, 1]}}})
    assert read.column("narrow__value").to_pylist() == [None, 1.0]
    assert read.column("wide__value").to_pylist() == [3.0, 2.0]


def test_keys_may_come_as_arrow(lab: Lab) -> None:
    token = write(lab, "ipc", {1: 1.0, 2: 2.0})["token"]
    ticket = f'{{"online": {{"features": ["ipc:value"], "token": "{token}", "entity_ipc": "%s"}}}}'
    encoded = ipc(pa.table({"id": [2, 1]}, schema=KEYS))
    read = lab.client.flight.do_get(flight.Ticket((ticket % encoded).encode())).read_all()
    assert read.column("value").to_pylist() == [2.0, 1.0]


def test_a_channel_answers_each_batch_with_one(lab: Lab) -> None:
    write(lab, "channel", {1: 1.0, 2: 2.0})
    writer, reader = lab.client.flight.do_exchange(command({"online": {"features": ["channel:value"]}}))
    batches = [[1], [], [2, 1, 9], [2]]
    with writer:
        writer.begin(KEYS)
        # All go up before the first comes down.
        for ids in batches:
            writer.write_batch(pa.record_batch([pa.array(ids, pa.int64())], schema=KEYS))
        answers = [reader.read_chunk().data.column("value").to_pylist() for _ in batches]
        writer.done_writing()
    assert answers == [[1.0], [], [2.0, 1.0, None], [2.0]]


def test_compaction_and_restart_change_no_answer(lab: Lab) -> None:
    token = write(lab, "folded", {i: float(i) for i in range(9000)})["token"]
    for i in range(3):
        token = write(lab, "folded", {i: 100.0 + i})["token"]
    ids = [0, 1, 2, 3, 8999, 9000]
    expected = [100.0, 101.0, 102.0, 3.0, 8999.0, None]
    assert values(lab, "folded", ids, token=token) == expected
    assert "3 of any key" in lab.client.explain(request("folded", [3]))
    assert "9003 rows → 9000" in lab.run("maintain", "compact", "--feature-view", "folded")
    assert values(lab, "folded", ids, token=token) == expected
    lab.stop()
    lab.start(online={"partition_count": 8, "read_timeout_ms": 20_000})
    plan = lab.client.explain(request("folded", [3]))
    assert "files: 8 total, 7 pruned by bucket, 1 considered (1 of the buckets, 0 of any key), 1 read" in plan
    assert values(lab, "folded", ids) == expected


@pytest.mark.parametrize(
    ("body", "error", "message"),
    [
        ({"features": ["nothing:f"], "entity_keys": {"id": [1]}}, KeyError, "feature view `nothing` of project"),
        ({"features": ["bad:valu"], "entity_keys": {"id": [1]}}, KeyError, "did you mean `value`"),
        ({"features": ["bad:value"], "entity_keys": {"x": [1]}}, ValueError, "no column `id`, a join key"),
        ({"features": ["bad:value"], "entity_keys": {"id": ["a"]}}, ValueError, r"online.entity_keys.id\[0\]: "),
        ({"features": ["bad:value"], "entity_keys": {"id": [1], "x": []}}, ValueError, "entity_keys.x: expected 1"),
        ({"features": ["bad:value"]}, ValueError, "online.entity_keys: expected key columns"),
        ({"features": [], "entity_keys": {"id": [1]}}, ValueError, "online.features: "),
        ({"features": ["bad:value"], "entity_keys": {"id": [1]}, "token": "x"}, ValueError, "online.token: "),
        ({"feature_service": "s", "entity_keys": {"id": [1]}}, KeyError, "feature service `s`"),
    ],
)
def test_bad_requests_name_the_field(lab: Lab, body: dict[str, Any], error: type[Exception], message: str) -> None:
    write(lab, "bad", {1: 1.0})
    with pytest.raises(error, match=message):
        lab.client.get({"online": body})
