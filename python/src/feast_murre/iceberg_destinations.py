"""Iceberg tables as places to write to: saved datasets and feature logs."""

import json
from typing import Any

from feast.data_source import DataSource
from feast.feature_logging import LoggingDestination
from feast.protos.feast.core.DataSource_pb2 import DataSource as DataSourceProto
from feast.protos.feast.core.FeatureService_pb2 import LoggingConfig as LoggingConfigProto
from feast.protos.feast.core.SavedDataset_pb2 import SavedDatasetStorage as SavedDatasetStorageProto
from feast.saved_dataset import SavedDatasetStorage

from feast_murre.iceberg_source import IcebergSource

STORAGE_CLASS_KEY = "saved_dataset_storage_class"
"""Where Feast 0.67 looks for the class among those that share `custom_storage`."""

STORAGE_CLASS = "feast_murre.SavedDatasetIcebergStorage"

LOGGING_KIND = "feast_murre.iceberg"
"""Kind of the custom logging destination; its options are JSON under `configuration`."""


class SavedDatasetIcebergStorage(SavedDatasetStorage):
    """An Iceberg table that a saved dataset is written to; it takes the arguments of `IcebergSource`.

    The server refuses namespaces that its configuration does not allow.
    """

    _proto_attr_name = "custom_storage"

    def __init__(self, **options: Any) -> None:
        """Name the table as `IcebergSource` does."""
        self.source = IcebergSource(**options)

    @staticmethod
    def from_proto(storage_proto: SavedDatasetStorageProto) -> "SavedDatasetIcebergStorage":
        """Read a registry's message."""
        options = json.loads(storage_proto.custom_storage.configuration)
        return SavedDatasetIcebergStorage._of(IcebergSource.from_options(options))

    def to_proto(self) -> SavedDatasetStorageProto:
        """Make a registry's message: the source's options and the class that reads them."""
        options = {**self.source.options(), STORAGE_CLASS_KEY: STORAGE_CLASS}
        configuration = json.dumps(options).encode()
        return SavedDatasetStorageProto(custom_storage=DataSourceProto.CustomSourceOptions(configuration=configuration))

    def to_data_source(self) -> DataSource:
        """Return the table as a source to read from."""
        return self.source

    @staticmethod
    def from_data_source(data_source: DataSource) -> "SavedDatasetIcebergStorage":
        """Make a storage of a source."""
        if not isinstance(data_source, IcebergSource):
            raise TypeError(f"expected feast_murre.IcebergSource, found {type(data_source).__name__}")
        return SavedDatasetIcebergStorage._of(data_source)

    @classmethod
    def _of(cls, source: IcebergSource) -> "SavedDatasetIcebergStorage":
        storage = cls.__new__(cls)
        storage.source = source
        return storage

    def __eq__(self, other: object) -> bool:
        """Compare the table."""
        return isinstance(other, SavedDatasetIcebergStorage) and self.source.options() == other.source.options()

    def __hash__(self) -> int:
        """Hash the table's name."""
        return hash(self.source)


class IcebergLoggingDestination(LoggingDestination):
    """An Iceberg table that served features are logged to; it takes the arguments of `IcebergSource`."""

    _proto_kind = LOGGING_KIND

    def __init__(self, **options: Any) -> None:
        """Name the table as `IcebergSource` does."""
        self.source = IcebergSource(**options)

    @classmethod
    def from_proto(cls, config_proto: LoggingConfigProto) -> "IcebergLoggingDestination":
        """Read a registry's message."""
        options = json.loads(config_proto.custom_destination.config["configuration"])
        destination = cls.__new__(cls)
        destination.source = IcebergSource.from_options(options)
        return destination

    def to_proto(self) -> LoggingConfigProto:
        """Make a registry's message."""
        config = {"configuration": json.dumps(self.source.options())}
        custom = LoggingConfigProto.CustomDestination(kind=LOGGING_KIND, config=config)
        return LoggingConfigProto(custom_destination=custom)

    def to_data_source(self) -> DataSource:
        """Return the table as a source to read the log from."""
        return self.source
