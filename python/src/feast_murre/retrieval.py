"""A read that is yet to be done: whole, or batch by batch."""

from collections.abc import Iterator
from typing import Any

import pandas as pd
import pyarrow as pa
from feast.infra.offline_stores.offline_store import RetrievalMetadata
from feast.infra.offline_stores.remote import FeastFlightClient, RemoteRetrievalJob
from feast.on_demand_feature_view import OnDemandFeatureView
from feast.saved_dataset import SavedDatasetStorage

from feast_murre import wire
from feast_murre.on_demand import computed, declared_field, gathered, names_of, requested_features, view_of
from feast_murre.progress import shown


class MurreRetrievalJob(RemoteRetrievalJob):
    """Rows of the offline store.

    Besides what Feast's jobs do, `to_arrow_batches` and `to_reader` give rows as they come, and `progress` hears how
    many have come.
    """

    def __init__(
        self,
        connect: Any,
        api: str,
        api_parameters: dict[str, Any],
        entity_df: "pd.DataFrame | None" = None,
        table: pa.Table | None = None,
        metadata: RetrievalMetadata | None = None,
        on_demand_feature_views: list[OnDemandFeatureView] | None = None,
        show_progress: bool = False,
    ) -> None:
        """Prepare a read; nothing is sent yet.

        Args:
            connect: Makes a client; called for each call.
            api: Name of Feast's API.
            api_parameters: Its parameters; the refs of on-demand feature views are in `feature_refs` and not sent.
            entity_df: Entity rows as a dataframe.
            table: Entity rows in Arrow.
            metadata: What was asked for.
            on_demand_feature_views: Those to evaluate here.
            show_progress: Whether a bar is shown where `progress` is not set.
        """
        super().__init__(None, api, api_parameters, entity_df, table, metadata)
        self._connect = connect
        self._on_demand_feature_views = on_demand_feature_views or []
        self._show_progress = show_progress
        self.progress: wire.Progress | None = None

    def to_reader(self, progress: wire.Progress | None = None) -> pa.RecordBatchReader:
        """Return the rows as a stream, on-demand features included; memory does not grow with the result.

        Args:
            progress: Called with the number of rows of each batch received.
        """
        reply = self._read(progress)
        if not self._on_demand_feature_views:
            return pa.RecordBatchReader.from_batches(reply.schema, reply.batches)
        schema = self._with_declared(reply.schema)
        return pa.RecordBatchReader.from_batches(schema, self._evaluated(reply, schema))

    def to_arrow_batches(self, progress: wire.Progress | None = None) -> Iterator[pa.RecordBatch]:
        """Iterate over the rows as they come; see `to_reader`."""
        return iter(self.to_reader(progress))

    @property
    def on_demand_feature_views(self) -> list[OnDemandFeatureView]:
        """Those that `to_arrow` and `to_df` evaluate."""
        return self._on_demand_feature_views

    @property
    def full_feature_names(self) -> bool:
        """Whether features are named `view__feature`."""
        return self.api_parameters.get("full_feature_names", False)

    def persist(
        self,
        storage: SavedDatasetStorage,
        allow_overwrite: bool = False,
        timeout: int | None = None,
    ) -> None:
        """Have the server write the rows to `storage`.

        The rows never come here, so on-demand features are the server's to evaluate, if it is configured to.
        """
        source = storage.to_data_source()
        parameters = {
            **self.api_parameters,
            "retrieve_func": self.api,
            "data_source_name": source.name,
            "data_source_proto": str(source),
            "allow_overwrite": allow_overwrite,
            "timeout": timeout,
        }
        client = self._connect()
        try:
            wire.put(client, "persist", parameters, self._upload())
        finally:
            client.close()

    def _to_arrow_internal(self, timeout: int | None = None) -> pa.Table:
        with shown(self.api, self.progress, self._show_progress) as progress:
            reply = self._read(progress)
            return pa.Table.from_batches(reply.batches, reply.schema)

    def _read(self, progress: wire.Progress | None) -> wire.Reply:
        client: FeastFlightClient = self._connect()
        return wire.read(client, self.api, self._sent(), self._upload(), progress or self.progress)

    def _upload(self) -> wire.Upload:
        return wire.Upload.of(self.table if self.entity_df is None else self.entity_df)

    def _sent(self) -> dict[str, Any]:
        """Parameters for a server that is not to evaluate anything."""
        if not self._on_demand_feature_views:
            return self.api_parameters
        own = set().union(*(names_of(view) for view in self._on_demand_feature_views))
        refs = [ref for ref in self._refs() if view_of(ref) not in own]
        return {**self.api_parameters, "feature_refs": refs}

    def _refs(self) -> list[str]:
        return self.api_parameters["feature_refs"]

    def _with_declared(self, schema: pa.Schema) -> pa.Schema:
        for view in self._on_demand_feature_views:
            for feature in requested_features(view, self._refs()):
                schema = schema.append(declared_field(view, feature, self.full_feature_names))
        return schema

    def _evaluated(self, reply: wire.Reply, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
        for rows in gathered(reply.batches, reply.schema):
            table = rows
            for view in self._on_demand_feature_views:
                features = requested_features(view, self._refs())
                for column in computed(view, rows, features, self.full_feature_names):
                    field = schema.field(table.num_columns)
                    table = table.append_column(field, column.cast(field.type))
            yield from table.combine_chunks().to_batches()
