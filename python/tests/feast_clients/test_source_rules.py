"""What a definition that a client sends may make a server reach that other machines can talk to."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from drivers import DRIVER, STATS_SCHEMA, TIMES, frame, plain, stats_source, stats_table, storage_of, view
from feast import FileSource
from feast.data_source import DataSource
from feast.errors import FeastPermissionError
from feast.infra.data_sources.contrib.iceberg_catalog.iceberg_source import IcebergSource
from feast_lab import FeastLab
from harness.frames import at


def columns(lab: FeastLab, source: DataSource) -> list[str]:
    provider = lab.store._get_provider()
    return [name for name, _ in provider.get_table_column_names_and_types_from_data_source(lab.store.config, source)]


def remote(new_lab: Callable[..., FeastLab], **sources: list[str]) -> FeastLab:
    sections = {"sources": sources} if sources else {}
    return new_lab().start("--insecure-allow-remote", host="0.0.0.0", **sections)


def outside(tmp_path: Path) -> FileSource:
    pq.write_table(stats_table(), tmp_path / "outside.parquet")
    return FileSource(name="outside", path=str(tmp_path / "outside.parquet"), **TIMES)


def test_files_outside_the_repository_are_refused(new_lab: Callable[..., FeastLab], tmp_path: Path) -> None:
    lab, source = remote(new_lab), outside(tmp_path)
    with pytest.raises(FeastPermissionError, match=r"sources\.file_roots"):
        columns(lab, source)
    with pytest.raises(FeastPermissionError, match=r"sources\.file_roots"):
        lab.store._get_provider().validate_data_source(lab.store.config, source)
    assert "trips" in columns(lab, lab.parquet("inside", stats_table(), **TIMES))


def test_a_listed_folder_is_allowed(new_lab: Callable[..., FeastLab], tmp_path: Path) -> None:
    lab = remote(new_lab, file_roots=[str(tmp_path)])
    assert "trips" in columns(lab, outside(tmp_path))


def test_on_loopback_anything_goes(new_lab: Callable[..., FeastLab], tmp_path: Path) -> None:
    assert "trips" in columns(new_lab().start(), outside(tmp_path))


def test_catalogs_and_secrets_are_refused(new_lab: Callable[..., FeastLab], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A_SECRET_OF_THE_SERVER", "hunter2")
    lab = remote(new_lab)
    elsewhere = IcebergSource(
        name="elsewhere", endpoint="http://169.254.169.254", warehouse="w", namespace="n", table="t"
    )
    with pytest.raises(FeastPermissionError, match=r"sources\.catalog_uris"):
        columns(lab, elsewhere)
    listed = remote(new_lab, catalog_uris=["http://127.0.0.1:1"])
    thief = IcebergSource(
        name="thief",
        endpoint="http://127.0.0.1:1",
        warehouse="w",
        namespace="n",
        table="t",
        token_env_var="A_SECRET_OF_THE_SERVER",
    )
    with pytest.raises(FeastPermissionError, match=r"sources\.environment") as refused:
        columns(listed, thief)
    assert "hunter2" not in str(refused.value)


def test_sources_in_the_registry_are_trusted(new_lab: Callable[..., FeastLab]) -> None:
    lab = remote(new_lab, catalog_uris=["http://127.0.0.1:1"])
    stats = view("stats", stats_source(lab, "iceberg"), STATS_SCHEMA)
    lab.store.registry.apply_entity(DRIVER, lab.store.project)
    lab.store.registry.apply_feature_view(stats, lab.store.project)
    found = lab.store.get_historical_features(entity_df=frame((1, at())), features=["stats:trips"])
    assert plain(found.to_df()["trips"]) == [30]


@pytest.mark.parametrize(("allowed", "is_saved"), [([], False), (["elsewhere"], False), (["lab"], True)])
def test_datasets_go_to_listed_namespaces(new_lab: Callable[..., FeastLab], allowed: list[str], is_saved: bool) -> None:
    lab = remote(new_lab, dataset_namespaces=allowed, catalog_uris=["sqlite:///"])
    stats = view("stats", stats_source(lab, "iceberg"), STATS_SCHEMA)
    lab.store.registry.apply_entity(DRIVER, lab.store.project)
    lab.store.registry.apply_feature_view(stats, lab.store.project)
    storage = storage_of(lab, "iceberg", "training")
    lab.store.registry.apply_data_source(storage.to_data_source(), lab.store.project)
    job = lab.store.get_historical_features(entity_df=frame((1, at())), features=["stats:trips"])
    if is_saved:
        job.persist(storage)
        assert lab.warehouse.catalog.load_table("lab.training").scan().to_arrow()["trips"].to_pylist() == [30]
        return
    with pytest.raises(FeastPermissionError, match=r"sources\.dataset_namespaces"):
        job.persist(storage)
    assert not lab.warehouse.catalog.table_exists("lab.training")
