"""Writes of an unmodified client: pushes, offline writes, saved datasets, feature logs; each is read back."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from drivers import DRIVER, STATS_SCHEMA, STATS_TYPES, frame, plain, stats_source, storage_of, view
from feast import FeatureService, FeatureStore, Field, PushSource
from feast.data_source import PushMode
from feast.errors import SavedDatasetLocationAlreadyExists
from feast.feature_logging import FeatureServiceLoggingSource, LoggingConfig
from feast.infra.offline_stores.file_source import FileLoggingDestination
from feast.infra.offline_stores.remote import RemoteOfflineStore
from feast.types import Float64
from feast_lab import FeastLab
from harness.frames import INSTANT, at, table

from feast_murre import IcebergLoggingDestination


@pytest.fixture(scope="module")
def lab(kind: str, new_lab: Callable[..., FeastLab]) -> FeastLab:
    lab = new_lab().start()
    stats = stats_source(lab, kind)
    pushed = stats_source(lab, kind, "pushed_batch")
    mapped = lab.source(
        kind,
        "mapped_source",
        table({"id": pa.int64(), "ts": INSTANT, "raw": pa.float64()}, (1, at(hours=-1), 1.5)),
        timestamp_field="ts",
        field_mapping={"id": "driver_id", "raw": "rate"},
    )
    push = PushSource(name="push", batch_source=pushed)
    lab.store.apply(
        [
            DRIVER,
            push,
            view("stats", stats, STATS_SCHEMA),
            view("pushed", push, STATS_SCHEMA),
            view("mapped", mapped, [Field(name="rate", dtype=Float64)]),
        ]
    )
    return lab


@pytest.fixture
def store(lab: FeastLab) -> FeatureStore:
    return lab.store


def more(*rows: tuple[Any, ...]) -> pd.DataFrame:
    return pd.DataFrame(list(rows), columns=list(STATS_TYPES))


def trips(store: FeatureStore, name: str, *keys: int) -> list[Any]:
    rows = frame(*((key, at()) for key in keys))
    return plain(store.get_historical_features(entity_df=rows, features=[f"{name}:trips"]).to_df()["trips"])


def test_push_to_the_offline_store(store: FeatureStore) -> None:
    assert trips(store, "pushed", 1, 21) == [30, None]
    rows = more(
        (1, at(minutes=-5), at(minutes=-5), 0.5, 500, "Graz", True),
        (21, at(minutes=-5), at(minutes=-5), 0.6, 600, "Linz", None),
    )
    store.push("push", rows, to=PushMode.OFFLINE)
    assert trips(store, "pushed", 1, 21) == [500, 600]


def test_columns_in_another_order(store: FeatureStore) -> None:
    rows = more((31, at(minutes=-5), at(minutes=-5), 0.5, 310, "Graz", True))
    store.write_to_offline_store("stats", rows[list(reversed(rows.columns))])
    assert trips(store, "stats", 31) == [310]


def test_each_write_is_seen_by_the_next_read(store: FeatureStore) -> None:
    for index in range(4):
        store.write_to_offline_store("stats", more((41, at(minutes=index - 9), at(), 0.5, index, "Graz", True)))
        assert trips(store, "stats", 41) == [index]


def test_source_with_field_mapping(store: FeatureStore) -> None:
    rows = pd.DataFrame({"id": [51], "ts": [at(hours=-1)], "raw": [5.1]})
    store.write_to_offline_store("mapped", rows)
    found = store.get_historical_features(entity_df=frame((51, at()), (1, at())), features=["mapped:rate"]).to_df()
    assert plain(found["rate"]) == [5.1, 1.5]


def test_wrong_columns_name_both_lists(store: FeatureStore) -> None:
    rows = pa.table({"driver_id": [1], "surprise": [2]})
    with pytest.raises(ValueError, match="surprise") as refused:
        RemoteOfflineStore.offline_write_batch(store.config, store.get_feature_view("stats"), rows, None)
    assert "conv_rate" in str(refused.value)
    assert trips(store, "stats", 1) == [30]


def save(lab: FeastLab, kind: str, name: str, keys: list[int], **options: Any) -> pd.DataFrame:
    """Save a dataset and read it back by its name."""
    storage = storage_of(lab, kind, name)
    # As Feast's own suite does: the server of a remote store finds destinations in the registry.
    lab.store.registry.apply_data_source(storage.to_data_source(), lab.store.project)
    job = lab.store.get_historical_features(
        entity_df=frame(*((key, at()) for key in keys)), features=["stats:conv_rate", "stats:city"]
    )
    lab.store.create_saved_dataset(from_=job, name=name, storage=storage, **options)
    found = lab.store.get_saved_dataset(name).to_df()
    return found.sort_values("driver_id").reset_index(drop=True)


def test_saved_dataset_is_read_back(lab: FeastLab, kind: str) -> None:
    found = save(lab, kind, "saved_once", [1, 2, 9])
    assert set(found.columns) == {"driver_id", "event_timestamp", "conv_rate", "city"}
    assert found["driver_id"].tolist() == [1, 2, 9]
    assert plain(found["conv_rate"]) == [0.3, 0.7, None]
    assert plain(found["city"]) == ["Rome", "Bern", None]


def test_saved_dataset_is_overwritten_only_when_allowed(lab: FeastLab, kind: str) -> None:
    save(lab, kind, "saved_twice", [1])
    with pytest.raises(SavedDatasetLocationAlreadyExists):
        save(lab, kind, "saved_twice", [2])
    assert save(lab, kind, "saved_twice", [2, 9], allow_overwrite=True)["driver_id"].tolist() == [2, 9]


def logged_service(lab: FeastLab, kind: str) -> FeatureService:
    if kind == "parquet":
        destination: Any = FileLoggingDestination(path=str(lab.repo / "data" / "logs"))
    else:
        destination = IcebergLoggingDestination(
            catalog_type="sql",
            catalog_name="default",
            endpoint=lab.warehouse.uri,
            warehouse=lab.warehouse.location,
            namespace="lab",
            table="logs",
        )
    stats = lab.store.get_feature_view("stats")
    return FeatureService(
        name="logged",
        features=[stats[["trips"]]],
        logging_config=LoggingConfig(destination=destination, sample_rate=1.0),
    )


def log_rows(schema: pa.Schema, count: int, start: int) -> pa.Table:
    """Rows as Feast's feature server logs them."""
    numbers = range(start, start + count)
    values: dict[str, Any] = {
        "driver_id": list(numbers),
        "stats__trips": [number * 10 for number in numbers],
        "stats__trips__timestamp": [at(minutes=number) for number in numbers],
        "stats__trips__status": [1] * count,
        "__log_timestamp": [at(minutes=number) for number in numbers],
        "__log_date": [at().date()] * count,
        "__request_id": [f"r{number}" for number in numbers],
    }
    return pa.table({name: pa.array(values[name], schema.field(name).type) for name in schema.names})


def test_feature_logs_are_appended_and_read_back(lab: FeastLab, store: FeatureStore, kind: str, tmp_path: Path) -> None:
    service = logged_service(lab, kind)
    store.apply([service])
    store.registry.apply_data_source(service.logging_config.destination.to_data_source(), store.project)
    schema = FeatureServiceLoggingSource(service, store.project).get_schema(store.registry)
    first, second = log_rows(schema, 3, 0), log_rows(schema, 2, 3)
    store.write_logged_features(first, service)
    folder = tmp_path / "spooled"
    folder.mkdir()
    pq.write_table(second, folder / "part-0.parquet")
    store.write_logged_features(folder, service)
    job = store._get_provider().retrieve_feature_service_logs(
        service, at(minutes=1), at() + timedelta(days=1), store.config, store.registry
    )
    found = job.to_arrow().sort_by("driver_id")
    # Without join keys a read of a source has the key that Feast gives to views without entities.
    assert set(found.column_names) - {"__dummy_id"} == set(schema.names)
    assert found["driver_id"].to_pylist() == [1, 2, 3, 4]
    assert found["stats__trips"].to_pylist() == [10, 20, 30, 40]
    assert found["__request_id"].to_pylist() == ["r1", "r2", "r3", "r4"]
