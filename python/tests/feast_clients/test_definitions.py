"""`apply` and what it asks the server: schemas of sources, and whether they can be read."""

from __future__ import annotations

import subprocess
from collections.abc import Callable

import pyarrow as pa
import pytest
from drivers import DRIVER, STATS_TYPES, TIMES, stats_source, stats_table, view
from feast import FeatureStore, FileSource
from feast.data_source import DataSource
from feast.infra.offline_stores.remote import RemoteOfflineStore
from feast.types import Bool, Float64, Int64, String
from feast_lab import FeastLab, feast_command
from harness.frames import INSTANT, at, table


@pytest.fixture(scope="module")
def lab(new_lab: Callable[..., FeastLab]) -> FeastLab:
    return new_lab().start()


def columns(store: FeatureStore, source: DataSource) -> dict[str, str]:
    found = RemoteOfflineStore().get_table_column_names_and_types_from_data_source(store.config, source)
    return dict(found)


def validate(store: FeatureStore, source: DataSource) -> None:
    RemoteOfflineStore().validate_data_source(store.config, source)


def test_a_schema_that_is_not_declared_is_inferred(lab: FeastLab, kind: str) -> None:
    name = f"inferred_{kind}"
    source = stats_source(lab, kind, f"{name}_source")
    lab.store.apply([DRIVER, view(name, source)])
    found = lab.store.get_feature_view(name)
    assert {field.name: field.dtype for field in found.features} == {
        "conv_rate": Float64,
        "trips": Int64,
        "city": String,
        "active": Bool,
    }
    assert [field.name for field in found.entity_columns] == ["driver_id"]


def test_types_of_iceberg_columns_are_icebergs(lab: FeastLab) -> None:
    types = {
        **STATS_TYPES,
        "small": pa.int32(),
        "single": pa.float32(),
        "raw": pa.binary(),
        "local": pa.timestamp("us"),
        "day": pa.date32(),
        "price": pa.decimal128(9, 2),
        "code": pa.binary(4),
        "words": pa.list_(pa.string()),
    }
    source = lab.iceberg("all_types", table(types), **TIMES)
    expected = {
        field.name: str(field.field_type) for field in lab.warehouse.catalog.load_table("lab.all_types").schema().fields
    }
    assert columns(lab.store, source) == expected
    assert expected["event_timestamp"] == "timestamptz"
    assert expected["price"] == "decimal(9, 2)"


def test_types_of_parquet_columns_are_arrows(lab: FeastLab) -> None:
    types = {**STATS_TYPES, "words": pa.list_(pa.string()), "nanos": pa.timestamp("ns"), "day": pa.date32()}
    source = lab.parquet("all_types", table(types), **TIMES)
    found = columns(lab.store, source)
    expected = {name: str(kind) for name, kind in types.items()}
    assert {name: kind.replace("element:", "item:") for name, kind in found.items()} == {
        name: kind.replace("element:", "item:") for name, kind in expected.items()
    }


def test_a_source_that_is_there_is_valid(lab: FeastLab, kind: str) -> None:
    validate(lab.store, stats_source(lab, kind, f"valid_{kind}"))


def test_a_table_that_is_missing_is_not_valid(lab: FeastLab) -> None:
    with pytest.raises(Exception, match="no_such_table"):
        validate(lab.store, lab.iceberg_source("no_such_table"))


def test_files_that_are_not_there_yet_are_no_fault(lab: FeastLab) -> None:
    # As in Feast itself, where a file may be written after `apply`.
    path = str(lab.repo / "data" / "no_such_file.parquet")
    validate(lab.store, FileSource(path=path, timestamp_field="event_timestamp"))


DEFINITIONS = """
from datetime import timedelta

from feast import Entity, FeatureView, FileSource
from feast.infra.data_sources.contrib.iceberg_catalog.iceberg_source import IcebergSource
from feast.value_type import ValueType

driver = Entity(name="driver", join_keys=["driver_id"], value_type=ValueType.INT64)
table = IcebergSource(
    name="cli_table", catalog_type="sql", catalog_name="default", endpoint={uri!r}, warehouse={warehouse!r},
    namespace="lab", table="cli_table", timestamp_field="event_timestamp", created_timestamp_column="created",
)
# Feast infers timestamp_field itself, where it can read the file.
file = FileSource(name="cli_file", path={path!r})
from_table = FeatureView(name="from_table", entities=[driver], ttl=timedelta(hours=2), source=table)
from_file = FeatureView(name="from_file", entities=[driver], ttl=timedelta(hours=2), source=file)
"""


def test_feast_apply_on_the_command_line(lab: FeastLab) -> None:
    lab.iceberg("cli_table", stats_table(), **TIMES)
    rows = table({"driver_id": pa.int64(), "seen_at": INSTANT, "trips": pa.int64()}, (1, at(), 5))
    path = lab.parquet("cli_file", rows).path
    text = DEFINITIONS.format(uri=lab.warehouse.uri, warehouse=lab.warehouse.location, path=path)
    (lab.client / "definitions.py").write_text(text)
    done = subprocess.run([*feast_command(), "apply"], cwd=lab.client, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stdout + done.stderr + lab.server.log()
    store = FeatureStore(repo_path=str(lab.client))
    assert {field.name for field in store.get_feature_view("from_table").features} == {
        "conv_rate",
        "trips",
        "city",
        "active",
    }
    assert store.get_feature_view("from_file").batch_source.timestamp_field == "seen_at"
