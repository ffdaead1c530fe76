"""Iceberg tables in registries: as sources, saved datasets and log destinations."""

import pytest
from feast import BatchFeatureView
from feast.data_source import DataSource
from feast.feature_logging import LoggingConfig
from feast.protos.feast.core.DataSource_pb2 import DataSource as DataSourceProto
from feast.saved_dataset import SavedDatasetStorage
from feast.value_type import ValueType
from repository import DRIVER, SOURCE

from feast_murre import IcebergLoggingDestination, IcebergSource, SavedDatasetIcebergStorage

FULL = {
    "catalog_type": "sql",
    "catalog_name": "main",
    "endpoint": "sqlite:///catalog.db",
    "warehouse": "/lake",
    "namespace": "a.b",
    "table": "t",
    "token_env_var": "TOKEN",
    "credential_vending": False,
    "catalog_properties": {"x": "y"},
}


def source() -> IcebergSource:
    return IcebergSource(
        **FULL,
        name="s",
        timestamp_field="ts",
        created_timestamp_column="created",
        field_mapping={"c": "f"},
        description="d",
        tags={"k": "v"},
        owner="o",
    )


def test_sources_survive_the_registry() -> None:
    proto = source().to_proto()
    assert proto.type == DataSourceProto.CUSTOM_SOURCE
    back = DataSource.from_proto(DataSourceProto.FromString(proto.SerializeToString()))
    assert type(back) is IcebergSource
    assert back == source()
    assert back.options() == FULL
    assert (back.tags, back.owner, back.field_mapping) == ({"k": "v"}, "o", {"c": "f"})
    assert source() != SOURCE


def test_a_catalog_of_the_server_needs_no_description() -> None:
    assert SOURCE.options()["catalog"] == "lake"
    assert SOURCE.name == "lake.demo.trips"
    assert DataSource.from_proto(SOURCE.to_proto()) == SOURCE
    with pytest.raises(ValueError, match="expected `catalog`"):
        IcebergSource(namespace="a", table="t")


def test_batch_feature_views_take_it() -> None:
    view = BatchFeatureView(name="v", entities=[DRIVER], source=source())
    assert view.batch_source == source()


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("long", ValueType.INT64),
        ("decimal(9,2)", ValueType.DOUBLE),
        ("fixed[16]", ValueType.BYTES),
        ("timestamptz", ValueType.INT64),
        ("list<long>", ValueType.UNKNOWN),
    ],
)
def test_types(name: str, expected: ValueType) -> None:
    assert IcebergSource.source_datatype_to_feast_value_type()(name) == expected


def test_saved_datasets_survive_the_registry() -> None:
    storage = SavedDatasetIcebergStorage(**FULL)
    back = SavedDatasetStorage.from_proto(storage.to_proto())
    assert isinstance(back, SavedDatasetIcebergStorage)
    assert back == storage
    assert back.to_data_source().name == "/lake.a.b.t"
    assert SavedDatasetIcebergStorage.from_data_source(source()) == storage


def test_log_destinations_survive_the_registry() -> None:
    config = LoggingConfig(IcebergLoggingDestination(**FULL), sample_rate=0.5)
    back = LoggingConfig.from_proto(config.to_proto())
    assert isinstance(back.destination, IcebergLoggingDestination)
    assert back.destination.to_data_source() == config.destination.to_data_source()
    assert back.sample_rate == 0.5
