"""The same definitions and rows in Murre's online store and in SQLite, and answers compared field by field."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
from feast import FeatureStore, RepoConfig
from feast.online_response import OnlineResponse
from feast_lab import FeastLab


def store_of(folder: Path, name: str, online_store: dict[str, Any], project: str = "lab", **more: Any) -> FeatureStore:
    """A feature store with a registry of its own."""
    registry = {"registry_type": "file", "path": str(folder / f"{name}.db"), **more}
    return FeatureStore(
        config=RepoConfig(
            project=project,
            provider="local",
            registry=registry,
            online_store=online_store,
            entity_key_serialization_version=3,
        )
    )


class Twins:
    """Two stores that are told the same."""

    def __init__(self, lab: FeastLab, folder: Path, project: str = "lab", **registry: Any) -> None:
        """Make both; `registry` are options of their registries."""
        sqlite = {"type": "sqlite", "path": str(folder / "twin.db")}
        self.murre = store_of(folder, "murre", lab.online_options(), project, **registry)
        self.sqlite = store_of(folder, "sqlite", sqlite, project, **registry)
        self.both = (self.murre, self.sqlite)

    def apply(self, *objects: Any, **options: Any) -> Twins:
        """Define."""
        for store in self.both:
            store.apply(list(objects), **options)
        return self

    def write(self, view: str, frame: pd.DataFrame) -> Twins:
        """Write rows."""
        for store in self.both:
            store.write_to_online_store(view, frame.copy())
        return self

    def same(self, features: Any, rows: Any, **options: Any) -> dict[str, list[Any]]:
        """Read from both, which must answer the same; return what they answer."""
        found = [self._read(store, features, rows, **options) for store in self.both]
        murre, sqlite = (columns(response) for response in found)
        assert murre == sqlite
        metadata = [response.proto.metadata.feature_view_metadata for response in found]
        assert list(metadata[0]) == list(metadata[1])
        return found[0].to_dict()

    @staticmethod
    def _read(store: FeatureStore, features: Any, rows: Any, **options: Any) -> OnlineResponse:
        if isinstance(features, str):
            features = store.get_feature_service(features)
        return store.get_online_features(features, rows, **options)


def columns(response: OnlineResponse) -> dict[str, Any]:
    """Values, statuses and whole seconds by name: all that Feast's stores agree on."""
    proto = response.proto
    return {
        name: (list(result.values), list(result.statuses), [time.seconds for time in result.event_timestamps])
        for name, result in zip(proto.metadata.feature_names.val, proto.results, strict=True)
    }
