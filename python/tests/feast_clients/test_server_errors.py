"""What the server refuses arrives as the class that Feast's users catch."""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd
import pyarrow as pa
import pytest
from drivers import DRIVER, STATS_SCHEMA, TIMES, ask_server, frame, stats_source, view
from feast import BigQuerySource, FeatureService, FeatureStore
from feast.errors import (
    DataSourceObjectNotFoundException,
    EntityTimestampInferenceException,
    FeastJoinKeysDuringMaterialization,
    FeastOfflineStoreUnsupportedDataSource,
    FeatureServiceNotFoundException,
    FeatureViewNotFoundException,
)
from feast.feature_logging import FeatureServiceLoggingSource, LoggingConfig
from feast.infra.offline_stores.file_source import FileLoggingDestination
from feast.infra.offline_stores.remote import RemoteOfflineStore
from feast_lab import FeastLab
from harness.frames import at


@pytest.fixture(scope="module")
def lab(new_lab: Callable[..., FeastLab]) -> FeastLab:
    lab = new_lab().start()
    lab.store.apply([DRIVER, view("stats", stats_source(lab, "iceberg"), STATS_SCHEMA)])
    return lab


@pytest.fixture
def store(lab: FeastLab) -> FeatureStore:
    return lab.store


def test_unknown_view(lab: FeastLab, store: FeatureStore) -> None:
    unknown = view("stuts", stats_source(lab, "parquet", "elsewhere"), STATS_SCHEMA)
    with pytest.raises(FeatureViewNotFoundException, match="stuts"):
        ask_server(store, unknown, "trips", frame((1, at())))


def test_unknown_feature(store: FeatureStore) -> None:
    with pytest.raises(KeyError, match="trups"):
        ask_server(store, store.get_feature_view("stats"), "trups", frame((1, at())))


def test_unknown_source(lab: FeastLab, store: FeatureStore) -> None:
    source = stats_source(lab, "parquet", "unknown_source")
    job = RemoteOfflineStore.pull_latest_from_table_or_query(
        store.config, source, ["driver_id"], ["trips"], "event_timestamp", "created", at(hours=-1), at()
    )
    with pytest.raises(DataSourceObjectNotFoundException, match="unknown_source"):
        job.to_arrow()


def test_unknown_service(store: FeatureStore) -> None:
    stats = store.get_feature_view("stats")
    logging = LoggingConfig(destination=FileLoggingDestination(path="nowhere"))
    service = FeatureService(name="unknown_service", features=[stats], logging_config=logging)
    source = FeatureServiceLoggingSource(service, store.project)
    rows = pa.table({"driver_id": [1]})
    with pytest.raises(FeatureServiceNotFoundException, match="unknown_service"):
        RemoteOfflineStore.write_logged_features(store.config, rows, source, logging, store.registry)


def test_no_timestamp_column(store: FeatureStore) -> None:
    rows = pa.table({"driver_id": [1]}).to_pandas()
    with pytest.raises(EntityTimestampInferenceException):
        ask_server(store, store.get_feature_view("stats"), "trips", rows)


def test_no_join_key(store: FeatureStore) -> None:
    rows = pd.DataFrame({"rider_id": [1], "event_timestamp": [at()]})
    with pytest.raises(Exception, match="driver_id"):
        ask_server(store, store.get_feature_view("stats"), "trips", rows)


def test_no_join_key_in_the_source(store: FeatureStore) -> None:
    source = store.get_data_source("stats_source")
    job = RemoteOfflineStore.pull_latest_from_table_or_query(
        store.config, source, ["rider_id"], ["trips"], *TIMES.values(), at(hours=-1), at()
    )
    with pytest.raises(FeastJoinKeysDuringMaterialization, match="rider_id"):
        job.to_arrow()


def test_sources_that_only_others_can_read(lab: FeastLab, store: FeatureStore) -> None:
    foreign = BigQuerySource(name="foreign", table="stats", timestamp_field="event_timestamp")
    store.registry.apply_data_source(foreign, store.project)
    elsewhere = view("elsewhere", foreign, STATS_SCHEMA)
    store.registry.apply_feature_view(elsewhere, store.project)
    with pytest.raises(FeastOfflineStoreUnsupportedDataSource, match="foreign") as refused:
        ask_server(store, elsewhere, "trips", frame((1, at())))
    assert "Iceberg" in str(refused.value)


def test_a_table_that_is_gone(lab: FeastLab, store: FeatureStore) -> None:
    gone = view("gone", lab.iceberg_source("gone_table", **TIMES), STATS_SCHEMA)
    store.apply([gone])
    with pytest.raises(Exception, match="gone_table"):
        ask_server(store, gone, "trips", frame((1, at())))
