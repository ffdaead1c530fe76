"""Murre's own requests over a Feast registry: any Flight client can ask for what Feast's users defined."""

from __future__ import annotations

from collections.abc import Callable

import pyarrow as pa
import pyarrow.flight as flight
import pyarrow.parquet as pq
import pytest
from drivers import DRIVER, STATS_SCHEMA, stats_source, stats_table, view
from feast import FeatureService
from feast_lab import FeastLab
from harness.client import Client, historical_request
from harness.frames import INSTANT, at, table

ENTITIES = table({"driver_id": pa.int64(), "event_timestamp": INSTANT}, (1, at()), (9, at()), (2, at()))


@pytest.fixture(scope="module")
def lab(kind: str, new_lab: Callable[..., FeastLab]) -> FeastLab:
    lab = new_lab().start()
    stats = view("stats", stats_source(lab, kind), STATS_SCHEMA)
    service = FeatureService(name="drivers", features=[stats[["trips", "city"]]])
    lab.store.apply([DRIVER, stats, service])
    return lab


@pytest.fixture(scope="module")
def client(lab: FeastLab) -> Client:
    return Client(f"grpc://127.0.0.1:{lab.server.port}")


def test_refs_services_and_ranges(client: Client) -> None:
    found = client.historical(ENTITIES, ["stats:trips"])
    assert found["trips"].to_pylist() == [30, None, 70]
    found = client.exchange(ENTITIES, "drivers", full_feature_names=True)
    assert found.column_names == ["driver_id", "event_timestamp", "stats__trips", "stats__city"]
    found = client.range(at(hours=-4).isoformat(), at().isoformat(), ["stats:trips"])
    assert sorted(zip(found["driver_id"].to_pylist(), found["trips"].to_pylist(), strict=True), key=str) == [
        (1, 10),
        (1, 30),
        (2, 70),
        (5, 40),
        (5, None),
    ]


def test_views_are_listed_and_explained(client: Client) -> None:
    [listed] = client.flight.list_flights()
    assert listed.descriptor.path == [b"stats"]
    assert {"driver_id", "event_timestamp", "trips"} <= set(listed.schema.names)
    upload = client.upload(ENTITIES)["upload"]
    assert "view stats" in client.explain(historical_request(["stats:trips"], {"upload": upload}))


def test_a_ticket_reads_what_it_was_planned_for(lab: FeastLab, client: Client, kind: str) -> None:
    upload = client.upload(ENTITIES)["upload"]
    request = historical_request(["stats:trips"], {"upload": upload})
    info = client.info(request)
    newer = table(
        dict(zip(stats_table().schema.names, stats_table().schema.types, strict=True)),
        *[(1, at(minutes=-5), at(minutes=-5), 0.0, 31, "Nice", True)],
    )
    if kind == "iceberg":
        lab.warehouse.catalog.load_table("lab.stats_source").append(newer)
        assert client.get_info(info)["trips"].to_pylist() == [30, None, 70]
    else:
        pq.write_table(pa.concat_tables([stats_table(), newer]), lab.repo / "data" / "stats_source.parquet")
        # A file that was replaced cannot be read as it was: the request has to be planned again.
        with pytest.raises((KeyError, flight.FlightError, pa.ArrowInvalid), match="plan the request again"):
            client.get_info(info)
    assert client.get(request)["trips"].to_pylist() == [31, None, 70]
