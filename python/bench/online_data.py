"""Rows of the online benchmark and the Feast definitions over them; the same for every store.

An int64 key and ten features: three doubles, two floats, three ints, two strings, 2 % nulls. A row's values follow from
its key and the generation, so that any client can tell which write it sees.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

os.environ.setdefault("FEAST_USAGE", "False")

import numpy as np
import pyarrow as pa
import yaml

PROJECT = "bench"
VIEW = "driver_stats"
COLD_VIEW = "driver_stats_cold"
KEY = "driver_id"
TTL = timedelta(days=7)
INSTANT = pa.timestamp("us", tz="UTC")
TYPES: dict[str, pa.DataType] = {
    **{name: pa.float64() for name in ("d1", "d2", "d3")},
    **{name: pa.float32() for name in ("f1", "f2")},
    **{name: pa.int64() for name in ("l1", "l2")},
    "i1": pa.int32(),
    **{name: pa.string() for name in ("s1", "s2")},
}
FEATURES = list(TYPES)
FEAST_TYPES = {"double": "DOUBLE", "float": "FLOAT", "int64": "INT64", "int32": "INT32", "string": "STRING"}
CATEGORIES = pa.array([f"category_{i:02d}" for i in range(40)])
BASE = datetime.now(UTC).replace(microsecond=0) - timedelta(days=1)


def refs(view: str = VIEW) -> list[str]:
    """The features as requests name them."""
    return [f"{view}:{name}" for name in FEATURES]


def rows(keys: np.ndarray, generation: int = 0) -> pa.Table:
    """One row for each key, newer and with other values in each generation."""
    seed = np.random.default_rng([generation, len(keys), int(keys[0])])
    columns: dict[str, pa.Array] = {KEY: pa.array(keys.astype(np.int64))}
    instant = BASE + timedelta(seconds=generation)
    columns["event_timestamp"] = pa.array(np.full(len(keys), int(instant.timestamp() * 1e6)), pa.int64()).cast(INSTANT)
    for name, kind in TYPES.items():
        nulls = seed.random(len(keys)) < 0.02
        if pa.types.is_string(kind):
            columns[name] = CATEGORIES.take(pa.array(seed.integers(0, len(CATEGORIES), len(keys)), mask=nulls))
        elif pa.types.is_floating(kind):
            columns[name] = pa.array(seed.normal(100, 15, len(keys)), mask=nulls).cast(kind)
        else:
            columns[name] = pa.array(seed.integers(0, 1_000_000, len(keys)), mask=nulls).cast(kind)
    return pa.table(columns)


def feast_rows(table: pa.Table) -> list[tuple[Any, dict[str, Any], datetime, None]]:
    """The rows as Feast hands them to online stores."""
    from feast.protos.feast.types.EntityKey_pb2 import EntityKey
    from feast.protos.feast.types.Value_pb2 import Value

    fields = {"double": "double_val", "float": "float_val", "int64": "int64_val", "int32": "int32_val"}
    slots = {name: fields.get(str(kind), "string_val") for name, kind in TYPES.items()}
    made = []
    for row in table.to_pylist():
        key = EntityKey(join_keys=[KEY], entity_values=[Value(int64_val=row[KEY])])
        values = {n: Value() if row[n] is None else Value(**{slot: row[n]}) for n, slot in slots.items()}
        made.append((key, values, row["event_timestamp"], None))
    return made


def definition() -> dict[str, Any]:
    """The view for Murre, as requests carry it."""
    features = [{"name": name, "type": FEAST_TYPES[str(kind)]} for name, kind in TYPES.items()]
    return {
        "join_keys": [{"name": KEY, "type": "INT64"}],
        "features": features,
        "ttl": f"{int(TTL.total_seconds())}s",
    }


def write_repo(folder: Path, registry: Path, online_store: dict[str, Any]) -> None:
    """A feature repository over the registry file."""
    folder.mkdir(parents=True, exist_ok=True)
    settings = {
        "project": PROJECT,
        "registry": str(registry),
        "provider": "local",
        "entity_key_serialization_version": 3,
        "online_store": online_store,
    }
    (folder / "feature_store.yaml").write_text(yaml.safe_dump(settings))


def apply(folder: Path) -> None:
    """Put the benchmark's definitions into the registry, and let the online store make what it needs."""
    from feast import Entity, FeatureStore, FeatureView, Field, FileSource, ValueType
    from feast.types import Float32, Float64, Int32, Int64, String

    kinds = {"DOUBLE": Float64, "FLOAT": Float32, "INT64": Int64, "INT32": Int32, "STRING": String}
    driver = Entity(name="driver", join_keys=[KEY], value_type=ValueType.INT64)
    schema = [Field(name=name, dtype=kinds[FEAST_TYPES[str(kind)]]) for name, kind in TYPES.items()]
    path = folder.parent / "unused.parquet"
    source = FileSource(name="stats", path=str(path), timestamp_field="event_timestamp")
    if not path.exists():
        import pyarrow.parquet as pq

        pq.write_table(rows(np.arange(1)), path)
    views = [
        FeatureView(name=name, entities=[driver], schema=schema, source=source, ttl=TTL) for name in (VIEW, COLD_VIEW)
    ]
    FeatureStore(repo_path=str(folder)).apply([driver, *views])
