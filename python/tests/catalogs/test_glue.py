"""What only Glue has: entries that other tools write to as well, and roles that are assumed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from harness.components import Moto
from harness.faulty import WANTED, Faulty, faulty_server, stats
from harness.lab import Lab
from harness.warehouse import Warehouse

ROLE = "arn:aws:iam::123456789012:role/features"
KEPT = ("Name", "StorageDescriptor", "TableType")


@pytest.fixture(scope="module", params=["glue"])
def kind(request: pytest.FixtureRequest) -> str:
    """Glue alone."""
    return str(request.param)


@pytest.fixture(scope="module")
def faulty(start_over: Callable[..., Lab], warehouse: Warehouse) -> Iterator[Faulty]:
    """A server over Glue."""
    with faulty_server(start_over, warehouse, ["known"]) as faulty:
        yield faulty


def entry(moto: Moto, project: str, name: str) -> dict[str, Any]:
    """Glue's own words about an online table."""
    found = moto.client("glue").get_table(DatabaseName="online", Name=f"{project}_{name}")
    return dict(found["Table"])


def test_entries_say_what_other_tools_need(faulty: Faulty, moto: Moto, project: str) -> None:
    answer = faulty.write("spelled", stats())
    found = entry(moto, project, "spelled")
    assert found["TableType"] == "EXTERNAL_TABLE"
    assert found["Parameters"]["table_type"].upper() == "ICEBERG"
    location = faulty.lab.warehouse.catalog.load_table(answer["table"]).metadata_location
    assert found["Parameters"]["metadata_location"] == location
    types = {column["Name"]: column["Type"] for column in found["StorageDescriptor"]["Columns"]}
    assert (types["driver_id"], types["trips"], types["event_timestamp"]) == ("bigint", "bigint", "timestamp")


def test_what_other_tools_wrote_stays(faulty: Faulty, moto: Moto, project: str) -> None:
    faulty.write("shared", stats())
    found = entry(moto, project, "shared")
    described = {key: found[key] for key in KEPT if key in found and key != "DatabaseName"}
    described |= {
        "Description": "of the team",
        "Owner": "team",
        "Parameters": {**found["Parameters"], "classified": "no"},
    }
    moto.client("glue").update_table(DatabaseName="online", TableInput=described)
    faulty.write("shared", stats(3, 5))
    found = entry(moto, project, "shared")
    assert (found["Description"], found["Owner"], found["Parameters"]["classified"]) == ("of the team", "team", "no")
    assert faulty.written("shared") == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("key", ["client.role-arn", "client.assume-role.arn"])
def test_a_role_is_assumed(
    start_over: Callable[..., Lab], warehouse: Warehouse, moto: Moto, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", moto.endpoint)
    own = {name: None for name in warehouse.properties if name.endswith(("access-key-id", "secret-access-key"))}
    client = {"client.access-key-id": moto.access_key, "client.secret-access-key": moto.secret}
    more = {"client.region": "us-east-1", "client.role-session-name": "murre", key: ROLE}
    view = "by_" + key.replace(".", "_").replace("-", "_")
    with faulty_server(start_over, warehouse, [view], **own, **client, **more) as assumed:
        assert assumed.trips(view) == WANTED
        for proxy in (assumed.catalog, assumed.store):
            signed = [request.headers["authorization"] for request in proxy.seen]
            assert signed
            assert not [text for text in signed if f"Credential={moto.access_key}/" in text]
