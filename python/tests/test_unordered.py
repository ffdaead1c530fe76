"""Requests that give up input order, over bucketed tables that pyiceberg has written."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pyarrow as pa
import pyarrow.flight as flight
import pytest
from harness.client import historical_request
from harness.frames import INSTANT, at
from harness.lab import Lab
from harness.reference import rows_of
from harness.warehouse import data_files
from pyiceberg.table import Table
from pyiceberg.transforms import BucketTransform

DRIVERS, BUCKETS, ROWS = 50, 4, 400
REFS = ["stats:value"]


def add(lab: Lab, view: str, key: str, kind: pa.DataType, bucketed: bool = True) -> Table:
    """A view with one row for each of `DRIVERS` keys."""
    keys = pa.array(range(DRIVERS), pa.int64()).cast(kind)
    rows = pa.table(
        {key: keys, "event_timestamp": pa.array([at(hours=-1)] * DRIVERS, INSTANT), "value": range(DRIVERS)}
    )
    by = {"partition_by": {key: BucketTransform(BUCKETS)}} if bucketed else {}
    return lab.add(view, [key], rows, write=by)


def fill(lab: Lab) -> None:
    """Views by a number, by a text, and one over a table without buckets."""
    add(lab, "stats", "driver_id", pa.int64())
    add(lab, "cities", "city", pa.string())
    add(lab, "plain", "driver_id", pa.int64(), bucketed=False)


@pytest.fixture(scope="module")
def lab(start_lab: Callable[..., Lab]) -> Lab:
    """The server that these tests share."""
    return start_lab(fill)


def frame() -> pa.Table:
    """Known, unknown, repeated and null keys."""
    keys = [None if row % 9 == 0 else row % (DRIVERS + 10) for row in range(ROWS)]
    return pa.table(
        {
            "driver_id": pa.array(keys, pa.int64()),
            "city": pa.array([None if key is None else str(key) for key in keys], pa.string()),
            "event_timestamp": pa.array([at()] * ROWS, INSTANT),
            "row": range(ROWS),
        }
    )


def by_row(table: pa.Table) -> list[dict[str, Any]]:
    """The rows in the dataframe's order again."""
    return rows_of(table.sort_by("row"))


@pytest.mark.parametrize(("refs", "parts"), [(REFS, 4), (["cities:value"], 4), (["plain:value"], 1)])
def test_endpoints_together_are_the_ordered_answer(lab: Lab, refs: list[str], parts: int) -> None:
    client, entity = lab.client, {"upload": lab.client.upload(frame())["upload"]}
    ordered = client.get(historical_request(refs, entity))
    assert ordered["row"].to_pylist() == list(range(ROWS))
    assert client.get(historical_request(refs, entity, ordered=True)) == ordered

    request = historical_request(refs, entity, ordered=False)
    info = client.info(request)
    assert (len(info.endpoints), info.ordered, info.total_records) == (parts, False, ROWS)
    assert info.schema == ordered.schema
    with ThreadPoolExecutor(4) as pool:
        tables = list(pool.map(lambda endpoint: client.flight.do_get(endpoint.ticket).read_all(), info.endpoints))
    assert all(len(table) > 0 for table in tables)
    assert by_row(pa.concat_tables(tables)) == rows_of(ordered)
    assert by_row(client.get(request)) == rows_of(ordered)
    assert by_row(client.exchange(frame(), refs, ordered=False)) == rows_of(ordered)


def test_an_ordered_request_has_one_endpoint(lab: Lab) -> None:
    info = lab.client.info(historical_request(REFS, {"upload": lab.client.upload(frame())["upload"]}))
    assert (len(info.endpoints), info.ordered) == (1, True)


def test_each_endpoint_reads_its_own_file(lab: Lab) -> None:
    request = historical_request(REFS, {"upload": lab.client.upload(frame())["upload"]}, ordered=False)
    whole = lab.client.explain(request)
    assert [f"part {n} of 4 by bucket[4] of `driver_id`" in whole for n in range(1, 5)] == [True] * 4
    for endpoint in lab.client.info(request).endpoints:
        body = flight.Action("explain", endpoint.ticket.ticket)
        text = b"".join(result.body.to_pybytes() for result in lab.client.flight.do_action(body)).decode()
        assert "files: 4 total, 3 pruned" in text
        assert ", 1 read\n" in text


def test_all_endpoints_read_the_snapshots_of_the_plan(start_lab: Callable[..., Lab]) -> None:
    lab = start_lab(fill)
    request = historical_request(REFS, {"upload": lab.client.upload(frame())["upload"]}, ordered=False)
    expected, info = by_row(lab.client.get(request)), lab.client.info(request)
    table = lab.warehouse.catalog.load_table("lab.stats")
    table.append(table.scan().to_arrow().set_column(1, "event_timestamp", pa.array([at()] * DRIVERS, INSTANT)))
    assert by_row(lab.client.get_info(info)) == expected


def test_a_ticket_of_a_part_that_is_none_any_more_is_refused(lab: Lab) -> None:
    entity = {"upload": lab.client.upload(frame())["upload"]}
    pins = {"version": 1, "part": 1, "parts": 4, "issued_at": "2026-01-01T00:00:00Z"}
    for by in ("bucket[8] of `driver_id`", ""):
        request = {**historical_request(REFS, entity, ordered=False), "pins": {**pins, "divided_by": by}}
        with pytest.raises(flight.FlightError, match="GetFlightInfo again"):
            lab.client.get(request)
    request = {**historical_request(REFS, entity, ordered=False), "pins": {**pins, "part": 4}}
    with pytest.raises(pa.ArrowInvalid, match=r"pins\.part: expected less than 4, found 4"):
        lab.client.get(request)


def test_rows_arrive_before_a_later_file_is_missed(start_lab: Callable[..., Lab]) -> None:
    lab = start_lab(fill)
    files = {file: file.parent.name for file in data_files(lab.warehouse.catalog.load_table("lab.stats"))}
    last = max(files, key=lambda file: files[file])
    assert files[last].endswith("=3")
    last.unlink()
    entity = {"upload": lab.client.upload(frame())["upload"]}
    ticket = flight.Ticket(json.dumps(historical_request(REFS, entity, ordered=False)).encode())
    reader = lab.client.flight.do_get(ticket)
    assert len(reader.read_chunk().data) > 0
    with pytest.raises(KeyError, match="is missing"):
        reader.read_all()
    with pytest.raises(KeyError, match="is missing"):
        lab.client.get(historical_request(REFS, entity))
