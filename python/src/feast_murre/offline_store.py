"""An offline store of Feast over Murre; see `MurreOfflineStore`."""

from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, Literal

import pandas as pd
import pyarrow as pa
import pyarrow.dataset
from feast.data_source import DataSource
from feast.feature_logging import FeatureServiceLoggingSource, LoggingConfig, LoggingSource
from feast.feature_view import FeatureView
from feast.infra.offline_stores.file_source import FileLoggingDestination, FileSource
from feast.infra.offline_stores.offline_store import RetrievalMetadata
from feast.infra.offline_stores.remote import (
    FeastFlightClient,
    RemoteOfflineStore,
    RemoteOfflineStoreConfig,
    _create_retrieval_metadata,
    build_arrow_flight_client,
)
from feast.infra.registry.base_registry import BaseRegistry
from feast.repo_config import RepoConfig

# Feast finds the classes of saved datasets and log destinations only once they have been imported.
from feast_murre import iceberg_destinations as iceberg_destinations
from feast_murre import wire
from feast_murre.on_demand import requested_views
from feast_murre.progress import is_wanted, shown
from feast_murre.retrieval import MurreRetrievalJob


class MurreOfflineStoreConfig(RemoteOfflineStoreConfig):
    """The `offline_store` block of `feature_store.yaml`.

    `scheme`, `host`, `port`, `cert` and `connection_retries` are those of Feast's remote offline store.
    """

    type: Literal["feast_murre.MurreOfflineStore"] = "feast_murre.MurreOfflineStore"  # type: ignore[assignment]

    progress: bool = False
    """ bool: Shows a bar of the rows received and sent; so does the environment variable FEAST_MURRE_PROGRESS. """


class MurreOfflineStore(RemoteOfflineStore):
    """Feast's remote offline store with what it lacks.

    On-demand feature views are evaluated on the client; results can be streamed; uploads go in batches; join key maps
    reach the server, so that ad hoc `with_join_key_map` works; one call per read with every version of Feast.
    """

    @staticmethod
    def get_historical_features(
        config: RepoConfig,
        feature_views: list[FeatureView],
        feature_refs: list[str],
        entity_df: "pd.DataFrame | pa.Table | str | None",
        registry: BaseRegistry,
        project: str,
        full_feature_names: bool = False,
        **kwargs: Any,
    ) -> MurreRetrievalJob:
        """Join features to entity rows, a SELECT of them, or the entities seen between two dates."""
        names = [view.projection.name_to_use() for view in feature_views]
        dates = {key: kwargs[key].isoformat() for key in ("start_date", "end_date") if kwargs.get(key) is not None}
        parameters = {
            "feature_view_names": [view.name for view in feature_views],
            "feature_refs": feature_refs,
            "project": project,
            "full_feature_names": full_feature_names,
            "name_aliases": [view.projection.name_alias for view in feature_views],
            "join_key_maps": [dict(view.projection.join_key_map or {}) for view in feature_views],
            **dates,
        }
        if isinstance(entity_df, str):
            parameters["entity_df_sql"] = entity_df
        return _job(
            config,
            "get_historical_features",
            parameters,
            entity_df=entity_df if isinstance(entity_df, pd.DataFrame) else None,
            table=entity_df if isinstance(entity_df, pa.Table) else None,
            metadata=_metadata(feature_refs, entity_df),
            on_demand_feature_views=requested_views(feature_refs, names, project, registry),
        )

    @staticmethod
    def pull_all_from_table_or_query(
        config: RepoConfig,
        data_source: DataSource,
        join_key_columns: list[str],
        feature_name_columns: list[str],
        timestamp_field: str,
        created_timestamp_column: str | None = None,
        start_date: datetime | None = None,
        end_date: datetime | None = None,
    ) -> MurreRetrievalJob:
        """Read all rows of a source between two dates."""
        columns = _columns(join_key_columns, feature_name_columns, timestamp_field, created_timestamp_column)
        parameters = _source(data_source) | columns | _between(start_date, end_date)
        return _job(config, "pull_all_from_table_or_query", parameters)

    @staticmethod
    def pull_latest_from_table_or_query(
        config: RepoConfig,
        data_source: DataSource,
        join_key_columns: list[str],
        feature_name_columns: list[str],
        timestamp_field: str,
        created_timestamp_column: str | None,
        start_date: datetime,
        end_date: datetime,
    ) -> MurreRetrievalJob:
        """Read the newest row per entity of a source between two dates."""
        columns = _columns(join_key_columns, feature_name_columns, timestamp_field, created_timestamp_column)
        parameters = _source(data_source) | columns | _between(start_date, end_date)
        return _job(config, "pull_latest_from_table_or_query", parameters)

    @staticmethod
    def offline_write_batch(
        config: RepoConfig,
        feature_view: FeatureView,
        table: pa.Table,
        progress: Callable[[int], Any] | None,
    ) -> None:
        """Append rows to a feature view's source; `progress` is called with the rows of each batch sent.

        Rows of a table are there once, however often they had to be sent.
        """
        parameters = {
            "feature_view_names": [feature_view.name],
            "name_aliases": [feature_view.projection.name_alias],
            "progress": None,
        }
        repeatable = not isinstance(feature_view.batch_source, FileSource)
        _put(config, "offline_write_batch", parameters, wire.Upload.of(table), progress, repeatable)

    @staticmethod
    def write_logged_features(
        config: RepoConfig,
        data: "pa.Table | Path",
        source: LoggingSource,
        logging_config: LoggingConfig,
        registry: BaseRegistry,
    ) -> None:
        """Append logged features to their feature service's destination; files are read batch by batch."""
        if not isinstance(source, FeatureServiceLoggingSource):
            raise TypeError(f"expected the log of a feature service, found {type(source).__name__}")
        upload = _files(data) if isinstance(data, Path) else wire.Upload.of(data)
        service = source._feature_service
        destination = service.logging_config.destination if service.logging_config else None
        repeatable = not isinstance(destination, FileLoggingDestination)
        parameters = {"feature_service_name": service.name}
        _put(config, "write_logged_features", parameters, upload, repeatable=repeatable)

    def validate_data_source(self, config: RepoConfig, data_source: DataSource) -> None:
        """Have the server check that it can read a source."""
        _put(config, "validate_data_source", {"data_source_proto": str(data_source)}, wire.Upload.of(None))

    def get_table_column_names_and_types_from_data_source(
        self, config: RepoConfig, data_source: DataSource
    ) -> Iterable[tuple[str, str]]:
        """Ask the server for a source's columns, typed in the words of the source's own kind."""
        api = "get_table_column_names_and_types_from_data_source"
        job = _job(config, api, {"data_source_proto": str(data_source)}, show_progress=False)
        table = job.to_arrow()
        return list(zip(table.column("name").to_pylist(), table.column("type").to_pylist(), strict=True))


def _job(config: RepoConfig, api: str, parameters: dict[str, Any], **rest: Any) -> MurreRetrievalJob:
    rest.setdefault("show_progress", is_wanted(_own(config).progress))
    return MurreRetrievalJob(partial(_connect, config), api, parameters, **rest)


def _put(
    config: RepoConfig,
    api: str,
    parameters: dict[str, Any],
    upload: wire.Upload,
    progress: wire.Progress | None = None,
    repeatable: bool = False,
) -> None:
    """`repeatable` are rows of tables: nobody knows whether files have a write already."""
    own, client = _own(config), _connect(config)
    try:
        with shown(api, progress, is_wanted(own.progress)) as told:
            if repeatable:
                wire.append(client, api, parameters, upload, told, own.connection_retries)
            else:
                wire.put(client, api, parameters, upload, told)
    finally:
        client.close()


def _connect(config: RepoConfig) -> FeastFlightClient:
    own = _own(config)
    return build_arrow_flight_client(
        scheme=own.scheme,
        host=own.host,
        port=own.port,
        auth_config=config.auth_config,
        cert=own.cert,
        connection_retries=own.connection_retries,
    )


def _own(config: RepoConfig) -> MurreOfflineStoreConfig:
    own = config.offline_store
    if not isinstance(own, MurreOfflineStoreConfig):
        raise TypeError(f"expected the configuration of MurreOfflineStore, found {type(own).__name__}")
    return own


def _metadata(refs: list[str], entity_df: "pd.DataFrame | pa.Table | str | None") -> RetrievalMetadata:
    if isinstance(entity_df, pa.Table):
        return RetrievalMetadata(features=refs, keys=entity_df.column_names)
    return _create_retrieval_metadata(refs, entity_df)


def _source(data_source: DataSource) -> dict[str, Any]:
    return {"data_source_name": data_source.name, "data_source_proto": str(data_source)}


def _columns(
    join_keys: list[str], features: list[str], timestamp_field: str, created_timestamp_column: str | None
) -> dict[str, Any]:
    return {
        "join_key_columns": join_keys,
        "feature_name_columns": features,
        "timestamp_field": timestamp_field,
        "created_timestamp_column": created_timestamp_column,
    }


def _between(start: datetime | None, end: datetime | None) -> dict[str, Any]:
    return {
        "start_date": start.isoformat() if start else None,
        "end_date": end.isoformat() if end else None,
    }


def _files(path: Path) -> wire.Upload:
    dataset = pyarrow.dataset.dataset(path, format="parquet")

    def batches() -> Iterator[pa.RecordBatch]:
        yield from dataset.to_batches(batch_size=wire.UPLOAD_ROWS)

    return wire.Upload(dataset.schema, batches)
