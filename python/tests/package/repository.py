"""The definitions that the tests use."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pandas as pd
from feast import Entity, FeatureService, FeatureStore, FeatureView, Field, RepoConfig, RequestSource, ValueType
from feast.on_demand_feature_view import OnDemandFeatureView, on_demand_feature_view
from feast.types import Float64, Int64

from feast_murre import IcebergSource

DRIVER = Entity(name="driver", join_keys=["driver_id"], value_type=ValueType.INT64)
SOURCE = IcebergSource(catalog="lake", namespace="demo", table="trips", timestamp_field="event_timestamp")
TRIPS = FeatureView(
    name="trips",
    entities=[DRIVER],
    ttl=timedelta(days=1),
    schema=[
        Field(name="fare", dtype=Float64),
        Field(name="tip", dtype=Float64),
        Field(name="driver_id", dtype=Int64),
    ],
    source=SOURCE,
)
REQUEST = RequestSource(name="request", schema=[Field(name="bonus", dtype=Float64)])


def totals() -> OnDemandFeatureView:
    """Return a view over features and request data."""

    @on_demand_feature_view(
        sources=[TRIPS, REQUEST],
        schema=[Field(name="total", dtype=Float64), Field(name="doubled", dtype=Int64)],
    )
    def totals(rows: pd.DataFrame) -> pd.DataFrame:
        """Add up, and twice that."""
        total = rows["fare"] + rows["bonus"]
        return pd.DataFrame({"total": total, "doubled": (total * 2).astype("int64")})

    return totals


def failing() -> OnDemandFeatureView:
    """Return a view whose code raises."""

    @on_demand_feature_view(sources=[REQUEST], schema=[Field(name="never", dtype=Float64)])
    def failing(rows: pd.DataFrame) -> pd.DataFrame:
        """Print, and raise for rows of the tests; Feast tries it on a row of its own when it is applied."""
        print("about to fail")
        if (rows["bonus"] == 0.5).any():
            raise ValueError("no " + "x" * 2000)
        return pd.DataFrame({"never": rows["bonus"]})

    return failing


def config_of(port: int, folder: Path, **offline: Any) -> RepoConfig:
    """Return the configuration of a repository in `folder`."""
    return RepoConfig(
        project="demo",
        provider="local",
        registry=str(folder / "registry.db"),
        online_store={"type": "sqlite", "path": str(folder / "online.db")},
        offline_store={"type": "feast_murre.MurreOfflineStore", "host": "127.0.0.1", "port": port, **offline},
        entity_key_serialization_version=3,
    )


def store_of(port: int, folder: Path) -> FeatureStore:
    """Return a feature store with the definitions applied."""
    store = FeatureStore(config=config_of(port, folder))
    on_demand = totals()
    service = FeatureService(name="all", features=[TRIPS[["fare"]], on_demand])
    store.apply([DRIVER, SOURCE, TRIPS, on_demand, failing(), service])
    return store
