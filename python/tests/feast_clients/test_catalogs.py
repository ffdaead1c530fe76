"""Sources in the catalogs that people run: PostgreSQL with tables on S3, and a REST catalog. pyiceberg wrote them."""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd
from components import SeaweedFS
from drivers import DRIVER, STATS_SCHEMA, TIMES, frame, plain, stats_table, view
from feast import FeatureStore
from feast.infra.data_sources.contrib.iceberg_catalog.iceberg_source import IcebergSource
from feast_lab import FeastLab
from harness.frames import at
from harness.server import Server
from pyiceberg.catalog import Catalog, load_catalog

S3 = {"s3.access-key-id": "test", "s3.secret-access-key": "test", "s3.region": "us-east-1"}


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


def test_postgresql_with_tables_on_s3(new_lab: Callable[..., FeastLab], postgres: Server, s3: str) -> None:
    properties = {**S3, "s3.endpoint": s3}
    uri = f"postgresql+psycopg://feast@127.0.0.1:{postgres.port}/postgres"
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


def test_a_rest_catalog(new_lab: Callable[..., FeastLab], rest_catalog: SeaweedFS) -> None:
    properties = rest_catalog.properties()
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
