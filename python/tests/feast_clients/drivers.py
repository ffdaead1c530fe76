"""Definitions and rows that several test modules share: hourly statistics of drivers, built to have every hard case."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pandas as pd
import pyarrow as pa
from feast import Entity, FeatureStore, FeatureView, Field
from feast.data_source import DataSource
from feast.infra.offline_stores.file_source import SavedDatasetFileStorage
from feast.infra.offline_stores.remote import RemoteOfflineStore
from feast.types import Bool, Float64, Int64, String
from feast.value_type import ValueType
from feast_lab import FeastLab
from harness.frames import INSTANT, at, table

from feast_murre import SavedDatasetIcebergStorage

DRIVER = Entity(name="driver", join_keys=["driver_id"], value_type=ValueType.INT64)
CUSTOMER = Entity(name="customer", join_keys=["customer_id"], value_type=ValueType.STRING)

STATS_TYPES = {
    "driver_id": pa.int64(),
    "event_timestamp": INSTANT,
    "created": INSTANT,
    "conv_rate": pa.float64(),
    "trips": pa.int64(),
    "city": pa.string(),
    "active": pa.bool_(),
}
STATS_ROWS = [
    (1, at(hours=-3), at(hours=-3), 0.1, 10, "Oslo", True),
    (1, at(hours=-1), at(hours=-1), 0.3, 30, "Rome", False),
    # A tie in event time: the later created wins, though it stands first.
    (2, at(hours=-1), at(minutes=-10), 0.7, 70, "Bern", True),
    (2, at(hours=-1), at(minutes=-50), 0.5, 50, "Kyiv", True),
    # Only in the future.
    (3, at(hours=5), at(hours=5), 0.9, 90, "Lima", True),
    # Only expired, with a ttl of two hours.
    (4, at(hours=-9), at(hours=-9), 0.2, 20, "Pune", True),
    # A null that stays, though an older row has a value.
    (5, at(hours=-2), at(hours=-2), 0.4, 40, "Cork", True),
    (5, at(hours=-1), at(hours=-1), None, None, None, None),
    # A null key in the source matches nothing.
    (None, at(hours=-1), at(hours=-1), 6.6, 66, "Nowhere", True),
]
STATS_SCHEMA = [
    Field(name="conv_rate", dtype=Float64),
    Field(name="trips", dtype=Int64),
    Field(name="city", dtype=String),
    Field(name="active", dtype=Bool),
]
TIMES = {"timestamp_field": "event_timestamp", "created_timestamp_column": "created"}


def stats_table() -> pa.Table:
    """The rows of `STATS_ROWS`."""
    return table(STATS_TYPES, *STATS_ROWS)


def stats_source(lab: FeastLab, kind: str, name: str = "stats_source") -> DataSource:
    """The rows as a source."""
    return lab.source(kind, name, stats_table(), **TIMES)


def view(name: str, source: DataSource, schema: list[Field] | None = None, **options: Any) -> FeatureView:
    """A view of drivers with a ttl of two hours, unless `options` say otherwise."""
    settings = {"entities": [DRIVER], "ttl": timedelta(hours=2), **options}
    return FeatureView(name=name, source=source, schema=schema or [], **settings)


def frame(*rows: tuple[Any, ...], columns: tuple[str, ...] = ("driver_id", "event_timestamp")) -> pd.DataFrame:
    """An entity dataframe."""
    return pd.DataFrame(list(rows), columns=list(columns))


def plain(values: Any) -> list[Any]:
    """A column as Python values, with None for every kind of null."""
    return [None if value is None or value is pd.NaT or value != value else value for value in values]


def ask_server(store: FeatureStore, asked: FeatureView, feature: str, rows: pd.DataFrame) -> pd.DataFrame:
    """Send a retrieval of `view:feature` that the client checks nothing of, not even whether the view exists."""
    ref = f"{asked.name}:{feature}"
    job = RemoteOfflineStore.get_historical_features(store.config, [asked], [ref], rows, store.registry, store.project)
    return job.to_df()


def storage_of(lab: FeastLab, kind: str, name: str) -> Any:
    """Where a saved dataset goes: a file of the repository, or a table of its warehouse."""
    if kind == "parquet":
        return SavedDatasetFileStorage(path=str(lab.repo / "data" / f"{name}.parquet"))
    return SavedDatasetIcebergStorage(
        catalog_type="sql",
        catalog_name="default",
        endpoint=lab.warehouse.uri,
        warehouse=lab.warehouse.location,
        namespace="lab",
        table=name,
    )
