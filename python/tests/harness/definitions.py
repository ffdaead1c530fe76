"""Feature definitions as Python values, rendered to the TOML that the server reads."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any


def to_toml(value: Any) -> str:
    """Render one value; JSON's strings, numbers and booleans are TOML's too."""
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{json.dumps(k)} = {to_toml(v)}" for k, v in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(to_toml(v) for v in value) + "]"
    return json.dumps(value, ensure_ascii=False)


def to_section(header: str, values: dict[str, Any]) -> str:
    """Render a table under its header, leaving out keys that are None."""
    lines = [f"{to_toml(key)} = {to_toml(value)}" for key, value in values.items() if value is not None]
    return "\n".join([header, *lines, ""])


@dataclass
class Definitions:
    """Entities, feature views and services of one test server; views are in `catalog` unless they say another."""

    project: str = "tests"
    catalog: str | None = None
    sections: list[str] = field(default_factory=list)
    entities: dict[tuple[str, ...], str] = field(default_factory=dict)

    def entity(self, *keys: str) -> str:
        """Return the name of the entity with these join keys, defining it when it is new."""
        if keys not in self.entities:
            name = "entity_" + "_".join(keys)
            join_keys = [{"name": key} for key in keys]
            self.sections.append(to_section("[[entity]]", {"name": name, "join_keys": join_keys}))
            self.entities[keys] = name
        return self.entities[keys]

    def view(self, name: str, table: str, keys: list[str], **options: Any) -> None:
        """Define a feature view; `options` are keys of the definitions file."""
        values = {
            "name": name,
            "entities": [self.entity(*keys)] if keys else [],
            "table": table,
            "catalog": self.catalog,
            "timestamp_field": "event_timestamp",
            **options,
        }
        self.sections.append(to_section("[[feature_view]]", values))

    def service(self, name: str, features: list[dict[str, Any]]) -> None:
        """Define a feature service over view projections."""
        self.sections.append(to_section("[[feature_service]]", {"name": name, "features": features}))

    def render(self) -> str:
        """The definitions file."""
        return "\n".join([f"project = {to_toml(self.project)}", "", *self.sections])
