"""An Iceberg table as a data source that every kind of feature view takes; see `IcebergSource`."""

import json
from collections.abc import Callable, Iterable
from typing import Any

from feast.data_source import DataSource
from feast.errors import FeastOfflineStoreUnsupportedDataSource
from feast.infra.offline_stores.offline_utils import get_offline_store_from_config
from feast.infra.offline_stores.remote import RemoteOfflineStore
from feast.protos.feast.core.DataSource_pb2 import DataSource as DataSourceProto
from feast.repo_config import RepoConfig
from feast.value_type import ValueType

CLASS_TYPE = "feast_murre.IcebergSource"
"""How registries name the class."""

_VALUE_TYPES = {
    "boolean": ValueType.BOOL,
    "int": ValueType.INT32,
    "long": ValueType.INT64,
    "float": ValueType.FLOAT,
    "double": ValueType.DOUBLE,
    "string": ValueType.STRING,
    "binary": ValueType.BYTES,
    "fixed": ValueType.BYTES,
    "uuid": ValueType.STRING,
    "decimal": ValueType.DOUBLE,
    "date": ValueType.INT32,
    "timestamp": ValueType.INT64,
    "timestamptz": ValueType.INT64,
}


class IcebergSource(DataSource):
    """An Iceberg table.

    Feast's own class of this name is refused by `BatchFeatureView`; this one is not. Its options are the same, and
    `catalog` names a catalog of the Murre server's configuration instead of describing one. The client never opens the
    table: the server does.
    """

    def __init__(
        self,
        *,
        namespace: str,
        table: str,
        catalog: str | None = None,
        warehouse: str = "",
        catalog_type: str = "rest",
        catalog_name: str = "feast_iceberg",
        endpoint: str | None = None,
        catalog_properties: dict[str, str] | None = None,
        token_env_var: str | None = None,
        credential_vending: bool = True,
        name: str | None = None,
        timestamp_field: str | None = None,
        created_timestamp_column: str | None = None,
        field_mapping: dict[str, str] | None = None,
        description: str | None = "",
        tags: dict[str, str] | None = None,
        owner: str | None = "",
        **rest: Any,
    ) -> None:
        """Describe a table; nothing is opened.

        Args:
            namespace: The table's namespace, levels separated by dots.
            table: The table's own name.
            catalog: Catalog's name in the server's configuration. The options of a catalog do not count then.
            warehouse: Warehouse of the catalog; needed without `catalog`.
            catalog_type: `rest`, `sql`, `hive`, `glue` or `dynamodb`.
            catalog_name: Name that a `sql` catalog keeps its tables under.
            endpoint: The catalog's uri.
            catalog_properties: More properties, as pyiceberg names them.
            token_env_var: Variable of the server's environment that holds the catalog's token.
            credential_vending: Whether a `rest` catalog is asked for storage credentials.
            name: Name of the source; by default the table's full name.
            timestamp_field: Event timestamp column.
            created_timestamp_column: Column that breaks ties between rows of one event time.
            field_mapping: Source column to feature or join key.
            description: For people.
            tags: For people.
            owner: For people.
            rest: What newer versions of Feast's `DataSource` take.
        """
        if catalog is None and not warehouse:
            raise ValueError("expected `catalog`, a catalog of the server's configuration, or `warehouse`")
        super().__init__(
            name=name or ".".join((catalog or warehouse, namespace, table)),
            timestamp_field=timestamp_field,
            created_timestamp_column=created_timestamp_column,
            field_mapping=field_mapping,
            description=description,
            tags=tags,
            owner=owner,
            **rest,
        )
        self.catalog = catalog
        self.catalog_type = catalog_type
        self.catalog_name = catalog_name
        self.endpoint = endpoint or ""
        self.warehouse = warehouse
        self.namespace = namespace
        self.iceberg_table = table
        self.token_env_var = token_env_var
        self.credential_vending = credential_vending
        self.catalog_properties = catalog_properties or {}

    def options(self) -> dict[str, Any]:
        """Return the table's place as registries keep it: the keys of Feast's own class, and `catalog` if set."""
        options = {
            "catalog_type": self.catalog_type,
            "catalog_name": self.catalog_name,
            "endpoint": self.endpoint,
            "warehouse": self.warehouse,
            "namespace": self.namespace,
            "table": self.iceberg_table,
            "token_env_var": self.token_env_var,
            "credential_vending": self.credential_vending,
            "catalog_properties": self.catalog_properties,
        }
        return options if self.catalog is None else {"catalog": self.catalog, **options}

    @classmethod
    def from_options(cls, options: dict[str, Any], **rest: Any) -> "IcebergSource":
        """Make a source of what `options` returned; keys that are not known are ignored."""
        names = ("catalog", "catalog_type", "catalog_name", "endpoint", "warehouse", "namespace", "table")
        more = ("token_env_var", "credential_vending", "catalog_properties")
        return cls(**{key: options[key] for key in (*names, *more) if key in options}, **rest)

    def source_type(self) -> DataSourceProto.SourceType.ValueType:
        """Return the type that Feast has for classes it does not know."""
        return DataSourceProto.CUSTOM_SOURCE

    @staticmethod
    def from_proto(data_source: DataSourceProto) -> "IcebergSource":
        """Read a registry's message."""
        return IcebergSource.from_options(
            json.loads(data_source.custom_options.configuration),
            name=data_source.name,
            timestamp_field=data_source.timestamp_field,
            created_timestamp_column=data_source.created_timestamp_column,
            field_mapping=dict(data_source.field_mapping),
            description=data_source.description,
            tags=dict(data_source.tags),
            owner=data_source.owner,
        )

    def _to_proto_impl(self) -> DataSourceProto:
        return DataSourceProto(
            name=self.name,
            type=DataSourceProto.CUSTOM_SOURCE,
            data_source_class_type=CLASS_TYPE,
            custom_options=DataSourceProto.CustomSourceOptions(configuration=json.dumps(self.options()).encode()),
            timestamp_field=self.timestamp_field,
            created_timestamp_column=self.created_timestamp_column,
            field_mapping=self.field_mapping,
            description=self.description,
            tags=self.tags,
            owner=self.owner,
        )

    def validate(self, config: RepoConfig) -> None:
        """Have the server check that it can read the table."""
        self._store(config).validate_data_source(config, self)

    def get_table_column_names_and_types(self, config: RepoConfig) -> Iterable[tuple[str, str]]:
        """Ask the server for the table's columns, typed in Iceberg's words."""
        return self._store(config).get_table_column_names_and_types_from_data_source(config, self)

    @staticmethod
    def source_datatype_to_feast_value_type() -> Callable[[str], ValueType]:
        """Return the mapping of Iceberg's types, the same as that of Feast's own class."""
        return value_type_of

    def get_table_query_string(self) -> str:
        """Return the table's name for SQL."""
        levels = [*self.namespace.split("."), self.iceberg_table]
        return ".".join(f'"{level}"' for level in levels)

    def _store(self, config: RepoConfig) -> RemoteOfflineStore:
        store = get_offline_store_from_config(config.offline_store)
        if not isinstance(store, RemoteOfflineStore):
            raise FeastOfflineStoreUnsupportedDataSource(type(store).__name__, type(self).__name__)
        return store

    def __eq__(self, other: object) -> bool:
        """Compare all options."""
        return isinstance(other, IcebergSource) and super().__eq__(other) and self.options() == other.options()

    def __hash__(self) -> int:
        """Hash the name."""
        return super().__hash__()


def value_type_of(iceberg_type: str) -> ValueType:
    """Return Feast's type for one of Iceberg's; nested types have none and must be declared."""
    return _VALUE_TYPES.get(iceberg_type.lower().split("(")[0].split("[")[0].strip(), ValueType.UNKNOWN)
