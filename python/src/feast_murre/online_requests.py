"""Murre's online requests in JSON, and how Feast's views and types are named in them."""

import json
from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import Any

from feast.feature_view import DUMMY_ENTITY_ID
from feast.repo_config import RepoConfig

from feast_murre.online_values import Kind


def view_name(table: Any, config: RepoConfig) -> str:
    """How a view, or the version of it that is meant, is called: `view` or `view@vN`."""
    if not config.registry.enable_online_feature_view_versioning:
        return table.name
    version = getattr(getattr(table, "projection", None), "version_tag", None)
    if version is None:
        version = getattr(table, "current_version_number", None)
    return f"{table.name}@v{version}" if version else table.name


def declared_keys(table: Any) -> dict[str, Any]:
    """The join keys of a view with their types; none for an entity-less view."""
    columns = getattr(table, "entity_columns", None) or []
    return {column.name: column.dtype.to_value_type() for column in columns if column.name != DUMMY_ENTITY_ID}


def declared_features(table: Any) -> dict[str, Any]:
    """The features of a view with their types."""
    return {feature.name: feature.dtype.to_value_type() for feature in table.features}


def definition(table: Any, keys: dict[str, Kind] | None = None) -> dict[str, Any]:
    """What the server has to know of a view; `keys` are those of rows, where the view does not declare its own."""
    types = declared_keys(table) or {name: kind.type for name, kind in (keys or {}).items()}
    described: dict[str, Any] = {"join_keys": _typed(types), "features": _typed(declared_features(table))}
    ttl = getattr(table, "ttl", None)
    if ttl:
        described["ttl"] = _duration(ttl)
    return described


def read_command(project: str, refs: Sequence[str], enforce_ttl: bool, token: str | None = None) -> bytes:
    """Open a channel for features, which answers each batch of keys; `token` is that of a write it has to see."""
    online: dict[str, Any] = {
        "features": list(refs),
        "full_feature_names": True,
        "include_timestamps": True,
        "include_status": enforce_ttl,
        "ignore_ttl": not enforce_ttl,
    }
    if token is not None:
        online["token"] = token
    return _request(project, "online", online)


def write_command(project: str, view: str, described: dict[str, Any], idempotency_key: str) -> bytes:
    """Store rows of a view."""
    write = {"feature_view": view, "to": "online", "idempotency_key": idempotency_key, "definition": described}
    return _request(project, "write", write)


def update_command(
    project: str, keep: Iterable[tuple[str, dict[str, Any]]], delete: Iterable[str], dry_run: bool = False
) -> bytes:
    """Create, evolve and drop tables."""
    kept = [{"feature_view": view, "definition": described} for view, described in keep]
    return _request(project, "update", {"keep": kept, "delete": list(delete), "dry_run": dry_run})


def teardown_command(project: str, views: Iterable[str]) -> bytes:
    """Drop the tables of views."""
    return _request(project, "teardown", {"feature_views": list(views)})


def _request(project: str, kind: str, body: dict[str, Any]) -> bytes:
    return json.dumps({kind: body, "project": project}, separators=(",", ":")).encode()


def _typed(types: dict[str, Any]) -> list[dict[str, str]]:
    return [{"name": name, "type": value_type.name} for name, value_type in types.items()]


def _duration(ttl: timedelta) -> str:
    """A duration as protobuf's JSON has it."""
    micros = ttl // timedelta(microseconds=1)
    whole, rest = divmod(micros, 1_000_000)
    return f"{whole}.{rest:06d}s" if rest else f"{whole}s"
