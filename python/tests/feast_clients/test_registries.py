"""Registries of every kind, and a registry file that is missing, changes or is torn while the server runs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from components import RegistryServer
from drivers import DRIVER, STATS_SCHEMA, TIMES, ask_server, frame, plain, stats_source, stats_table, view
from feast import FeatureStore, FileSource
from feast.errors import FeatureViewNotFoundException
from feast_lab import FeastLab
from harness.components import Postgres
from harness.frames import at


def trips(store: FeatureStore, name: str = "stats") -> list[object]:
    found = store.get_historical_features(entity_df=frame((1, at()), (2, at())), features=[f"{name}:trips"])
    return plain(found.to_df()["trips"])


def test_the_registry_file_may_come_later(new_lab: Callable[..., FeastLab]) -> None:
    lab = new_lab().start()
    assert not lab.registry_path.exists()
    stats = view("stats", stats_source(lab, "iceberg"), STATS_SCHEMA)
    with pytest.raises(FeatureViewNotFoundException):
        ask_server(lab.store, stats, "trips", frame((1, at())))
    lab.store.apply([DRIVER, stats])
    assert trips(lab.store) == [30, 70]


def test_changes_are_seen_by_the_next_request(new_lab: Callable[..., FeastLab]) -> None:
    lab = new_lab().start()
    source = stats_source(lab, "iceberg")
    for index in range(5):
        lab.store.apply([DRIVER, view(f"stats_{index}", source, STATS_SCHEMA)])
        assert trips(lab.store, f"stats_{index}") == [30, 70]
    removed = lab.store.get_feature_view("stats_0")
    lab.store.apply([], objects_to_delete=[removed], partial=False)
    with pytest.raises(FeatureViewNotFoundException):
        ask_server(lab.store, removed, "trips", frame((1, at())))


@pytest.mark.parametrize("kept", [0.0, 0.5, 0.99], ids=["empty", "half", "almost"])
def test_while_the_file_is_torn_the_last_good_one_counts(new_lab: Callable[..., FeastLab], kept: float) -> None:
    lab = new_lab().start()
    stats = view("stats", stats_source(lab, "iceberg"), STATS_SCHEMA)
    lab.store.apply([DRIVER, stats])
    assert trips(lab.store) == [30, 70]
    whole = lab.registry_path.read_bytes()
    lab.registry_path.write_bytes(whole[: int(len(whole) * kept)])
    assert plain(ask_server(lab.store, stats, "trips", frame((1, at())))["trips"]) == [30]
    lab.registry_path.write_bytes(whole)
    lab.store.apply([view("another", stats_source(lab, "iceberg", "another_source"), STATS_SCHEMA)])
    assert trips(lab.store, "another") == [30, 70]


def check(lab: FeastLab) -> None:
    """Apply and read twice, so that a stale answer would show."""
    source = stats_source(lab, "iceberg")
    lab.store.apply([DRIVER, view("stats", source, STATS_SCHEMA)])
    assert trips(lab.store) == [30, 70]
    lab.store.apply([view("later", source, STATS_SCHEMA)])
    assert trips(lab.store, "later") == [30, 70]


def test_sqlite(new_lab: Callable[..., FeastLab], tmp_path: Path) -> None:
    registry = {"registry_type": "sql", "path": f"sqlite:///{tmp_path / 'registry.sqlite'}"}
    lab = new_lab(registry=registry)
    # Murre never creates Feast's tables: the client does.
    check(lab.start())


def test_a_registry_server(new_lab: Callable[..., FeastLab], registry_server: RegistryServer) -> None:
    registry = {"registry_type": "remote", "path": f"localhost:{registry_server.port}"}
    check(new_lab(registry=registry).start())


def test_postgresql(new_lab: Callable[..., FeastLab], postgres: Postgres) -> None:
    path = postgres.create_database("registry")
    check(new_lab(registry={"registry_type": "sql", "path": path}).start())


def test_registry_and_files_on_s3(new_lab: Callable[..., FeastLab], s3: str, tmp_path: Path) -> None:
    import boto3
    import pyarrow.parquet as pq

    pq.write_table(stats_table(), tmp_path / "stats.parquet")
    boto3.client("s3", endpoint_url=s3).upload_file(str(tmp_path / "stats.parquet"), "lab", "data/stats.parquet")
    lab = new_lab(registry="s3://lab/registry.pb").start()
    check(lab)
    source = FileSource(name="s3_source", path="s3://lab/data/stats.parquet", s3_endpoint_override=s3, **TIMES)
    lab.store.apply([view("from_s3", source, STATS_SCHEMA)])
    assert trips(lab.store, "from_s3") == [30, 70]
