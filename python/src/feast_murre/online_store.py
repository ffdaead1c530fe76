"""An online store of Feast over Murre; see `MurreOnlineStore`."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any, Literal

import pyarrow.flight as fl
from feast import utils
from feast.entity import Entity
from feast.feature_service import FeatureService
from feast.feature_view import DUMMY_ENTITY_ID, FeatureView
from feast.infra.online_stores.online_store import OnlineStore
from feast.infra.registry.base_registry import BaseRegistry
from feast.infra.supported_async_methods import SupportedAsyncMethods
from feast.online_response import OnlineResponse
from feast.protos.feast.serving.ServingService_pb2 import GetOnlineFeaturesResponse
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import Value
from feast.repo_config import FeastConfigBaseModel, RepoConfig
from pydantic import PositiveFloat, PositiveInt

from feast_murre import online_requests, online_write
from feast_murre.online_channels import Channels
from feast_murre.online_features import Requests, with_dummy
from feast_murre.online_read import REMEMBERED, Reader, Rows, View, add_to_response, as_feasts_rows, keys_of
from feast_murre.progress import is_wanted, shown

try:
    from feast.metrics import _config as metrics
    from feast.metrics import track_feature_statuses
except ImportError:
    metrics = track_feature_statuses = None


class MurreOnlineStoreConfig(FeastConfigBaseModel):
    """The `online_store` block of `feature_store.yaml`.

    A server that is started with `--feast-repo` on the same file takes its own options from the block; the client
    accepts them and leaves them alone.
    """

    type: Literal["feast_murre.MurreOnlineStore"] = "feast_murre.MurreOnlineStore"

    host: str = "localhost"
    """ str: The server's name or address. """

    port: int = 8815
    """ int: The server's port. """

    enforce_ttl: bool = False
    """ bool: Whether rows older than their view's ttl are OUTSIDE_MAX_AGE and have no values. Feast's own stores return
    them as they are, and so does this one by default. """

    pool_size: PositiveInt = 16
    """ int: Channels that are kept open while nobody reads. """

    timeout: PositiveFloat = 30.0
    """ float: Seconds within which a read is answered, repeated tries included. """

    connection_retries: int = 3
    """ int: How often a write is tried again if the server cannot be reached; it is carried out once. """

    progress: bool = False
    """ bool: Shows a bar of the rows written; so does the environment variable FEAST_MURRE_PROGRESS. """

    catalog_type: str | None = None
    """ str: The server's: kind of the catalog that has the online tables. """

    catalog_name: str | None = None
    """ str: The server's: name of the catalog. """

    uri: str | None = None
    """ str: The server's: where the catalog is. """

    warehouse: str | None = None
    """ str: The server's: where new tables are. """

    namespace: str | None = None
    """ str: The server's: namespace of the online tables. """

    partition_strategy: Literal["entity_hash", "timestamp", "hybrid"] | None = None
    """ str: The server's: how new tables are partitioned. """

    partition_count: PositiveInt | None = None
    """ int: The server's: hash buckets of a new table. """

    read_timeout_ms: PositiveInt | None = None
    """ int: The server's: how long one try of a read may take. """

    storage_options: dict[str, Any] | None = None
    """ dict: The server's: options of the storage, by pyiceberg's names. """


class MurreOnlineStore(OnlineStore):
    """Latest feature values in Iceberg tables, read and written through a Murre server.

    Reads go over channels that stay open, one round trip for all views of a request. A write is one commit, and carried
    out once however often it is tried. Of several rows of an entity the one with the latest event time wins, whenever
    it was written.
    """

    _versioned_read_supported = True

    def __init__(self) -> None:
        """Connect when first used."""
        self._channels: Channels | None = None
        self._reader: Reader | None = None
        self._requests = Requests()
        self._views: dict[tuple[Any, ...], tuple[Any, View]] = {}

    @property
    def async_supported(self) -> SupportedAsyncMethods:
        """Reads and writes, in threads."""
        return SupportedAsyncMethods(read=True, write=True)

    def online_write_batch(
        self,
        config: RepoConfig,
        table: FeatureView,
        data: list[tuple[EntityKey, dict[str, Value], datetime, datetime | None]],
        progress: Callable[[int], Any] | None,
    ) -> None:
        """Write rows in one commit."""
        if not data:
            return
        own = _own(config)
        view = online_requests.view_name(table, config)
        batches = online_write.Batches(table, data)
        described = online_requests.definition(table, batches.keys)
        client = self._channels_of(own).client
        with shown(f"write {view}", None, is_wanted(own.progress)) as bar:
            told = _both(progress, bar)
            answer = online_write.put(client, config.project, view, described, batches, told, own.connection_retries)
        if answer.get("token"):
            self._reader_of(own).expect(config.project, view, answer["token"])

    async def online_write_batch_async(
        self,
        config: RepoConfig,
        table: FeatureView,
        data: list[tuple[EntityKey, dict[str, Value], datetime, datetime | None]],
        progress: Callable[[int], Any] | None,
    ) -> None:
        """Write rows in one commit, in a thread."""
        await _in_thread(self.online_write_batch, config, table, data, progress)

    def online_read(
        self,
        config: RepoConfig,
        table: FeatureView,
        entity_keys: list[EntityKey],
        requested_features: list[str] | None = None,
    ) -> list[tuple[datetime | None, dict[str, Value] | None]]:
        """Read one view."""
        if not entity_keys:
            return []
        features = requested_features or [feature.name for feature in table.features]
        view = self._view(config, table, features)
        reader = self._reader_of(_own(config))
        rows = reader.read(config.project, [view], [keys_of(entity_keys)], len(entity_keys))
        return as_feasts_rows(view, rows[0])

    async def online_read_async(
        self,
        config: RepoConfig,
        table: FeatureView,
        entity_keys: list[EntityKey],
        requested_features: list[str] | None = None,
    ) -> list[tuple[datetime | None, dict[str, Value] | None]]:
        """Read one view, in a thread."""
        return await _in_thread(self.online_read, config, table, entity_keys, requested_features)

    def get_online_features(
        self,
        config: RepoConfig,
        features: "list[str] | FeatureService",
        entity_rows: Any,
        registry: BaseRegistry,
        project: str,
        full_feature_names: bool = False,
        include_feature_view_version_metadata: bool = False,
    ) -> OnlineResponse:
        """Read features: all views of a request in one round trip."""
        options = (full_feature_names, include_feature_view_version_metadata)
        request = None
        if not _is_measured():
            view_of = partial(self._view, config)
            request = self._requests.prepare(registry, project, features, full_feature_names, view_of)
        keys = request.keys(entity_rows) if request is not None else None
        if request is None or keys is None:
            return super().get_online_features(config, features, entity_rows, registry, project, *options)
        response = GetOnlineFeaturesResponse()
        utils._populate_result_rows_from_columnar(response, keys[0])
        own = with_dummy(*keys) if request.is_entity_less else keys[0]
        found = self._read(config, request.tables, request.views, own, request.join_keys)
        self._append(response, request.tables, found, *options)
        return OnlineResponse(response, feature_types=request.types)

    async def get_online_features_async(self, *arguments: Any, **named: Any) -> OnlineResponse:
        """Read features in a thread."""
        return await _in_thread(self.get_online_features, *arguments, **named)

    def _read_features_per_fv(
        self,
        config: RepoConfig,
        grouped_refs: list[Any],
        join_key_values: dict[str, list[Value]],
        entity_name_to_join_key_map: dict[str, str],
        online_features_response: GetOnlineFeaturesResponse,
        full_feature_names: bool,
        include_feature_view_version_metadata: bool,
    ) -> None:
        """Read all views of a request at once, and append them to the response."""
        views = [self._view(config, table, features) for table, features in grouped_refs]
        found = self._read(config, grouped_refs, views, join_key_values, entity_name_to_join_key_map)
        self._append(
            online_features_response, grouped_refs, found, full_feature_names, include_feature_view_version_metadata
        )

    def update(
        self,
        config: RepoConfig,
        tables_to_delete: Sequence[FeatureView],
        tables_to_keep: Sequence[FeatureView],
        entities_to_delete: Sequence[Entity],
        entities_to_keep: Sequence[Entity],
        partial: bool,
    ) -> None:
        """Create and evolve the tables of views to keep, drop those of views to delete, with all their versions."""
        keep = [
            (online_requests.view_name(table, config), online_requests.definition(table)) for table in tables_to_keep
        ]
        delete = [table.name for table in tables_to_delete]
        if keep or delete:
            self._act(config, "update", online_requests.update_command(config.project, keep, delete))

    def teardown(self, config: RepoConfig, tables: Sequence[FeatureView], entities: Sequence[Entity]) -> None:
        """Drop the tables of views, with all their versions."""
        if tables:
            names = [table.name for table in tables]
            self._act(config, "teardown", online_requests.teardown_command(config.project, names))
        self._close()

    async def initialize(self, config: RepoConfig) -> None:
        """Connect."""
        self._channels_of(_own(config)).client()

    async def close(self) -> None:
        """Close all channels."""
        self._close()

    def _read(
        self,
        config: RepoConfig,
        tables: Sequence[tuple[Any, Sequence[str]]],
        views: Sequence[View],
        join_key_values: dict[str, list[Value]],
        join_keys: Mapping[str, str],
    ) -> list[Rows]:
        keys = [_keys(table, join_key_values, join_keys) for table, _ in tables]
        count = len(next(iter(join_key_values.values()), []))
        return self._reader_of(_own(config)).read(config.project, views, keys, count)

    @staticmethod
    def _append(
        response: GetOnlineFeaturesResponse,
        tables: Sequence[tuple[Any, Sequence[str]]],
        found: Sequence[Rows],
        full_feature_names: bool,
        with_versions: bool,
    ) -> None:
        for (table, features), rows in zip(tables, found, strict=True):
            prefix = f"{table.projection.name_to_use()}__" if full_feature_names else ""
            present, absent = add_to_response(response, [prefix + feature for feature in features], rows)
            if _is_measured():
                track_feature_statuses(table.name, present, absent)
            if with_versions:
                _add_version(response, table)

    def _act(self, config: RepoConfig, action: str, body: bytes) -> None:
        channels = self._channels_of(_own(config))
        for _ in channels.client().do_action(fl.Action(action, body)):
            pass
        # What is open was opened for the tables as they were.
        channels.close()
        self._reader_of(_own(config)).forget()

    def _close(self) -> None:
        if self._channels is not None:
            self._channels.close()

    def _channels_of(self, own: MurreOnlineStoreConfig) -> Channels:
        if self._channels is None:
            self._channels = Channels(f"grpc://{own.host}:{own.port}", own.pool_size, own.timeout)
        return self._channels

    def _reader_of(self, own: MurreOnlineStoreConfig) -> Reader:
        if self._reader is None:
            self._reader = Reader(self._channels_of(own), own.enforce_ttl)
        return self._reader

    def _view(self, config: RepoConfig, table: Any, features: Sequence[str]) -> View:
        """The same as `View.of`, remembered while Feast remembers the table."""
        key = (id(table), tuple(features))
        known = self._views.get(key)
        if known is None or known[0] is not table:
            if len(self._views) >= REMEMBERED:
                self._views.clear()
            known = (table, View.of(table, features, online_requests.view_name(table, config)))
            self._views[key] = known
        return known[1]


def _is_measured() -> bool:
    """Whether Feast counts and times reads, which it does in its generic path."""
    return bool(getattr(metrics, "online_features", False))


def _own(config: RepoConfig) -> MurreOnlineStoreConfig:
    own = config.online_store
    if not isinstance(own, MurreOnlineStoreConfig):
        raise TypeError(f"expected the configuration of MurreOnlineStore, found {type(own).__name__}")
    return own


def _keys(
    table: Any, join_key_values: dict[str, list[Value]], entity_name_to_join_key_map: Mapping[str, str]
) -> dict[str, list[Value]]:
    """The columns of a view's own join keys."""
    values = utils._get_table_entity_values(table, entity_name_to_join_key_map, join_key_values)
    if not any(values.values()):
        # Feast's own way to say what is missing.
        utils._get_unique_entities(table, join_key_values, entity_name_to_join_key_map)
    return {name: column for name, column in values.items() if name != DUMMY_ENTITY_ID}


def _add_version(response: GetOnlineFeaturesResponse, table: Any) -> None:
    name = table.projection.name_alias or table.projection.name
    if all(known.name != name for known in response.metadata.feature_view_metadata):
        version = getattr(table, "current_version_number", 0) or 0
        response.metadata.feature_view_metadata.add(name=name, version=version)


def _both(first: Callable[[int], Any] | None, second: Callable[[int], Any] | None) -> Callable[[int], Any] | None:
    if first is None or second is None:
        return first or second

    def both(rows: int) -> None:
        first(rows)
        second(rows)

    return both


async def _in_thread(function: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
    return await asyncio.get_running_loop().run_in_executor(None, partial(function, *arguments, **named))
