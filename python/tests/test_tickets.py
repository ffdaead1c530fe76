"""A ticket reads the data it was planned on, whatever happens to the tables later."""

from __future__ import annotations

from collections.abc import Callable

import pyarrow as pa
import pyarrow.flight as flight
import pytest
from harness.client import Client, historical_request
from harness.frames import at, drivers
from harness.lab import Lab
from harness.server import Server
from pyiceberg.types import DoubleType, LongType

EXTRA = {"value": pa.int32()}
FIRST = drivers((1, at(hours=-2), 1), (2, at(hours=-2), 2), extra=EXTRA)
SECOND = drivers((1, at(hours=-1), 10), (3, at(hours=-1), 30), extra=EXTRA)
FRAME = drivers((1, at()), (2, at()), (3, at()))


@pytest.fixture
def lab(start_lab: Callable[..., Lab], request: pytest.FixtureRequest) -> Lab:
    """A server of its own for each test, since tests change the tables."""

    def fill(lab: Lab) -> None:
        lab.add("stats", ["driver_id"], FIRST)
        lab.warehouse.create("lab.fresh", FIRST.schema)
        lab.definitions.view("fresh", "lab.fresh", ["driver_id"])

    return start_lab(fill)


def planned(client: Client, *features: str) -> flight.Ticket:
    """The ticket of a request planned now."""
    info = client.info(historical_request(list(features), {"upload": client.upload(FRAME)["upload"]}))
    assert len(info.endpoints) == 1
    return info.endpoints[0].ticket


def values(table: pa.Table) -> list[int | None]:
    """The feature column."""
    return table["value"].to_pylist()


def test_ticket_keeps_its_snapshot(lab: Lab) -> None:
    client, table = lab.client, lab.warehouse.catalog.load_table("lab.stats")
    before = planned(client, "stats:value")
    table.append(SECOND)
    after = planned(client, "stats:value")
    assert values(client.flight.do_get(before).read_all()) == [1, 2, None]
    assert values(client.flight.do_get(after).read_all()) == [10, 2, 30]
    assert values(client.historical(FRAME, ["stats:value"])) == [10, 2, 30]
    table.refresh().delete("driver_id = 1")
    assert values(client.flight.do_get(before).read_all()) == [1, 2, None]
    assert values(client.flight.do_get(after).read_all()) == [10, 2, 30]
    assert values(client.historical(FRAME, ["stats:value"])) == [None, 2, 30]


def test_every_request_sees_the_newest_snapshot(lab: Lab) -> None:
    table = lab.warehouse.catalog.load_table("lab.stats")
    for value in range(5):
        table.append(drivers((1, at(minutes=-9 + value), value), extra=EXTRA))
        assert values(lab.client.historical(FRAME, ["stats:value"])) == [value, 2, None]


def test_ticket_of_an_empty_table_stays_empty(lab: Lab) -> None:
    ticket = planned(lab.client, "fresh:value")
    lab.warehouse.catalog.load_table("lab.fresh").append(SECOND)
    assert values(lab.client.flight.do_get(ticket).read_all()) == [None, None, None]
    assert values(lab.client.historical(FRAME, ["fresh:value"])) == [10, None, 30]


def test_ticket_keeps_its_schema(lab: Lab) -> None:
    ticket = planned(lab.client, "stats:value")
    table = lab.warehouse.catalog.load_table("lab.stats")
    with table.update_schema() as update:
        update.update_column("value", LongType()).add_column("more", DoubleType())
    result = lab.client.flight.do_get(ticket).read_all()
    assert result.schema.field("value").type == pa.int32()
    assert lab.client.historical(FRAME, ["stats:value"]).schema.field("value").type == pa.int64()
    assert "more" in lab.client.historical(FRAME, ["stats:more"]).column_names


def test_ticket_of_a_renamed_column_still_answers(lab: Lab) -> None:
    ticket = planned(lab.client, "stats:value")
    with lab.warehouse.catalog.load_table("lab.stats").update_schema() as update:
        update.rename_column("value", "amount")
    assert values(lab.client.flight.do_get(ticket).read_all()) == [1, 2, None]
    with pytest.raises(KeyError, match="`value`"):
        lab.client.historical(FRAME, ["stats:value"])


def test_ticket_of_an_expired_snapshot_is_refused(lab: Lab) -> None:
    table = lab.warehouse.catalog.load_table("lab.stats")
    ticket = planned(lab.client, "stats:value")
    pinned = table.current_snapshot()
    assert pinned is not None
    table.append(SECOND)
    table.refresh().maintenance.expire_snapshots().by_id(pinned.snapshot_id).commit()
    with pytest.raises(KeyError, match=rf"{pinned.snapshot_id}.*lab\.stats.*plan"):
        lab.client.flight.do_get(ticket).read_all()


def test_ticket_outlives_the_server(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> None:
    staging = tmp_path_factory.mktemp("staging")
    sections = {
        "catalogs.default": lab.warehouse.config(),
        "registry": {"type": "toml", "path": str(lab.features_path)},
        "staging": {"url": staging.as_uri()},
    }
    first = Server.serve(tmp_path_factory.mktemp("first"), sections)
    ticket = planned(Client(first.location), "stats:value").ticket
    first.stop()
    lab.warehouse.catalog.load_table("lab.stats").append(SECOND)
    second = Server.serve(tmp_path_factory.mktemp("second"), sections)
    try:
        answer = Client(second.location).flight.do_get(flight.Ticket(ticket)).read_all()
        assert values(answer) == [1, 2, None]
    finally:
        second.stop()
