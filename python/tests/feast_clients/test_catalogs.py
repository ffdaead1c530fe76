"""Sources in the catalogs that people run: PostgreSQL with tables on S3, and a REST catalog. pyiceberg wrote them."""

from __future__ import annotations

import subprocess
from collections.abc import Callable

import pandas as pd
from drivers import DRIVER, STATS_SCHEMA, STATS_TYPES, TIMES, frame, plain, stats_source, stats_table, view
from feast import FeatureStore
from feast.infra.data_sources.contrib.iceberg_catalog.iceberg_source import IcebergSource
from feast_lab import FeastLab
from harness.components import Moto, Postgres
from harness.frames import at, table
from harness.seaweed import SeaweedFS
from harness.server import binary
from pyiceberg.catalog import Catalog, load_catalog


def check(lab: FeastLab, catalog: Catalog, source: IcebergSource) -> None:
    """Read what pyiceberg wrote, append to it through the server, and let both read that."""
    catalog.create_namespace("lab")
    table = catalog.create_table("lab.stats", stats_table().schema)
    table.append(stats_table())
    lab.start()
    lab.store.apply([DRIVER, view("stats", source, STATS_SCHEMA)])
    assert trips(lab.store, 1, 2) == [30, 70]
    row = stats_table().slice(0, 1).to_pandas()
    row["driver_id"], row["trips"], row["event_timestamp"] = 77, 770, pd.Timestamp(at(hours=-1))
    lab.store.write_to_offline_store("stats", row)
    assert trips(lab.store, 1, 77) == [30, 770]
    assert 770 in catalog.load_table("lab.stats").scan().to_arrow()["trips"].to_pylist()


def trips(store: FeatureStore, *drivers: int) -> list[object]:
    entities = frame(*((driver, at()) for driver in drivers))
    return plain(store.get_historical_features(entity_df=entities, features=["stats:trips"]).to_df()["trips"])


def test_postgresql_with_tables_on_s3(new_lab: Callable[..., FeastLab], postgres: Postgres, moto: Moto) -> None:
    properties = moto.s3()
    uri = postgres.create_database("sources")
    catalog = load_catalog("lake", type="sql", uri=uri, warehouse="s3://lab/warehouse", **properties)
    source = IcebergSource(
        name="stats_source",
        catalog_type="sql",
        catalog_name="lake",
        endpoint=uri,
        warehouse="s3://lab/warehouse",
        namespace="lab",
        table="stats",
        catalog_properties=properties,
        **TIMES,
    )
    check(new_lab(), catalog, source)


def online(store: FeatureStore, *drivers: int) -> list[object]:
    rows = [{"driver_id": driver} for driver in drivers]
    return store.get_online_features(features=["stats:trips"], entity_rows=rows).to_dict()["trips"]


def write_online(lab: FeastLab, **trips: int) -> None:
    rows = [(int(driver.removeprefix("d")), at(), at(), 0.5, count, "Rome", True) for driver, count in trips.items()]
    lab.store.write_to_online_store("stats", table(STATS_TYPES, *rows).to_pandas())


def test_online_tables_on_postgresql_and_s3(new_lab: Callable[..., FeastLab], postgres: Postgres, moto: Moto) -> None:
    uri = postgres.create_database("online")
    properties = moto.s3()
    lake = {"type": "sql", "uri": uri, "warehouse": "s3://lab/online"}
    sections = {"catalogs.lake": lake, "catalogs.lake.properties": properties, "online": {"catalog": "lake"}}
    lab = new_lab(online_store={}).start(**sections)
    lab.store.apply([DRIVER, view("stats", stats_source(lab, "parquet"), STATS_SCHEMA)])
    write_online(lab, d1=10, d2=20)
    write_online(lab, d2=21, d3=30)
    assert online(lab.store, 1, 2, 3, 4) == [10, 21, 30, None]
    catalog = load_catalog("lake", type="sql", uri=uri, warehouse="s3://lab/online", **properties)
    stored = catalog.load_table("online.lab_stats").scan().to_arrow().select(["driver_id", "trips"])
    assert sorted(stored.to_pylist(), key=str) == sorted(
        ({"driver_id": driver, "trips": trips} for driver, trips in ((1, 10), (2, 20), (2, 21), (3, 30))), key=str
    )
    flags = ["--config", lab.directory / "murre.toml", "--feast-repo", lab.repo]
    folded = subprocess.run(
        [binary(), "maintain", "compact", *flags], capture_output=True, text=True, check=True, cwd=lab.directory
    )
    assert "2 files → 3, 4 rows → 3" in folded.stdout
    assert online(lab.store, 1, 2, 3, 4) == [10, 21, 30, None]
    lab.store.teardown()
    assert not catalog.table_exists("online.lab_stats")


def test_a_rest_catalog(new_lab: Callable[..., FeastLab], seaweed: SeaweedFS) -> None:
    properties = seaweed.properties()
    catalog = load_catalog("lake", type="rest", **properties)
    source = IcebergSource(
        name="stats_source",
        catalog_type="rest",
        catalog_name="lake",
        endpoint=properties.pop("uri"),
        warehouse=properties.pop("warehouse"),
        namespace="lab",
        table="stats",
        catalog_properties=properties,
        **TIMES,
    )
    check(new_lab(), catalog, source)
