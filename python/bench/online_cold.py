"""Cold reads of single keys: Murre after a restart, DuckDB on exactly the files that can hold the key."""

from __future__ import annotations

import random
import time
from typing import Any

import numpy as np
from online_data import COLD_VIEW, FEATURES, KEY, PROJECT, rows
from online_places import Murre
from online_readers import murre_doget

WRITES = 5
LEAST_ROWS = 300_000
"""Rows of one write that make the server write one file for each bucket."""


def load(murre: Murre, entities: int) -> None:
    """Several large writes, so that every bucket has as many files; together they have every entity."""
    each = min(max(entities // WRITES, LEAST_ROWS), max(entities, LEAST_ROWS))
    for number in range(WRITES):
        keys = (np.arange(each) + number * (entities // WRITES)) % max(entities, each)
        murre.write(rows(keys, number), COLD_VIEW)


def files_by_key(murre: Murre, keys: list[int]) -> tuple[int, dict[int, list[str]], dict[int, bytes]]:
    """The number of live files, and for each key the files of its bucket and its entity key bytes."""
    from feast.infra.key_encoding_utils import serialize_entity_key
    from feast.protos.feast.types.EntityKey_pb2 import EntityKey
    from feast.protos.feast.types.Value_pb2 import Value
    from pyiceberg.catalog.sql import SqlCatalog
    from pyiceberg.transforms import BucketTransform
    from pyiceberg.types import BinaryType

    settings = {name: value for name, value in murre.warehouse.items() if name != "type"}
    table = SqlCatalog("default", **settings).load_table(f"online.{PROJECT}_{COLD_VIEW}")
    files = [task.file for task in table.scan().plan_files()]
    [field] = table.spec().fields
    assert isinstance(field.transform, BucketTransform)
    bucket = field.transform.transform(BinaryType())
    by_bucket: dict[Any, list[str]] = {}
    for file in files:
        by_bucket.setdefault(file.partition[0] if file.spec_id == table.spec().spec_id else None, []).append(
            file.file_path.removeprefix("file://")
        )
    entity_keys = {
        key: serialize_entity_key(
            EntityKey(join_keys=[KEY], entity_values=[Value(int64_val=key)]), entity_key_serialization_version=3
        )
        for key in keys
    }
    loose = by_bucket.get(None, [])
    right = {key: [*by_bucket.get(bucket(entity_key), []), *loose] for key, entity_key in entity_keys.items()}
    return len(files), right, entity_keys


def pick(murre: Murre, entities: int, count: int, seed: int) -> tuple[int, dict[int, list[str]], dict[int, bytes]]:
    """Random keys, no two of one bucket."""
    candidates = random.Random(seed).sample(range(entities), min(entities, 20 * count))
    files, right, entity_keys = files_by_key(murre, candidates)
    seen: set[tuple[str, ...]] = set()
    chosen: dict[int, list[str]] = {}
    for key in candidates:
        if len(chosen) < count and (place := tuple(right[key])) not in seen:
            seen.add(place)
            chosen[key] = right[key]
    return files, chosen, {key: entity_keys[key] for key in chosen}


def measure_murre(murre: Murre, keys: list[int]) -> tuple[list[int], list[int]]:
    """Restart; microseconds of the first read in each bucket, and of the second, which loads the bucket."""
    murre.stop()
    murre.start()
    read = murre_doget({"murre": murre.server.location}, COLD_VIEW)

    def timed(key: int) -> int:
        start = time.perf_counter()
        answer = read([key])
        assert answer.num_rows == 1
        return int((time.perf_counter() - start) * 1e6)

    return [timed(key) for key in keys], [timed(key) for key in keys]


def measure_duckdb(right: dict[int, list[str]], entity_keys: dict[int, bytes]) -> list[int]:
    """Microseconds of the same reads on a connection that has read none of the files."""
    import duckdb

    connection = duckdb.connect()
    connection.execute("SET enable_progress_bar = false")
    connection.execute("SELECT 1").fetchall()
    took = []
    for key, files in right.items():
        start = time.perf_counter()
        answer = connection.execute(
            f"SELECT {', '.join(FEATURES)} FROM read_parquet($files) WHERE entity_key = $key"
            " ORDER BY event_timestamp DESC, created_timestamp DESC, write_sequence DESC LIMIT 1",
            {"files": files, "key": entity_keys[key]},
        ).to_arrow_table()
        took.append(int((time.perf_counter() - start) * 1e6))
        assert answer.num_rows == 1
    return took
