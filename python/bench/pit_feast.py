"""Feast's own engines on the same files: its DuckDB and Dask stores in process, and its Flight server on DuckDB.

As a script, in Feast's environment, it measures one of them. What it gets for free: the entity dataframe as pandas has
it, the definitions applied, and one folder of links to the data files a view. The server's CPU and peak memory are its
own.

Feast promises no order of rows. Dask loses rows: of its answer only the rows that it returns are compared, with the
right answer, which DuckDB computes after the measurement.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pandas as pd
import pyarrow as pa
import yaml
from feast import Entity, FeatureStore, FeatureView, Field, FileSource
from feast.data_format import ParquetFormat
from feast.types import Float32, Float64, Int32, Int64, String
from feast.value_type import ValueType
from pit_measure import Answer, Case, Measurement, any_order, checksum, measure, rows_not_in
from pit_peers import duckdb_late
from pit_process import Task, child_result, child_task
from pit_views import TTL_DAYS, Source, View, kind_of

ENGINES = {"feast_duckdb": "duckdb", "feast_dask": "dask", "feast_server": "duckdb"}
TYPES = {"d": Float64, "f": Float32, "l": Int64, "i": Int32, "s": String}


def linked(folder: Path, view: View, files: list[str]) -> str:
    """A folder that holds exactly these files; the path that names them all."""
    place = folder / view.name
    place.mkdir()
    for number, file in enumerate(files):
        (place / f"{number:06d}.parquet").symlink_to(file)
    return str(place / "*.parquet")


def defined(folder: Path, source: Source) -> list[Entity | FeatureView]:
    """The entity and the feature view over a source."""
    view, files = source
    entity = Entity(
        name=view.key.removesuffix("_id"),
        join_keys=[view.key],
        value_type=ValueType.STRING if view.text_key else ValueType.INT64,
    )
    key = Field(name=view.key, dtype=String if view.text_key else Int64)
    batch_source = FileSource(
        name=view.name,
        path=linked(folder, view, files),
        file_format=ParquetFormat(),
        timestamp_field="event_timestamp",
        created_timestamp_column="created",
    )
    schema = [key, *(Field(name=name, dtype=TYPES[kind_of(name)]) for name in view.features)]
    options = {"entities": [entity], "ttl": timedelta(days=TTL_DAYS), "online": False}
    return [entity, FeatureView(name=view.name, schema=schema, source=batch_source, **options)]


def store_at(folder: Path, registry: Path, offline_store: dict[str, object]) -> FeatureStore:
    """A feature repository in a folder."""
    folder.mkdir(exist_ok=True)
    settings = {
        "project": "bench",
        "registry": str(registry),
        "provider": "local",
        "offline_store": offline_store,
        "online_store": {"type": "sqlite", "path": str(folder / "online.db")},
        "entity_key_serialization_version": 3,
    }
    (folder / "feature_store.yaml").write_text(yaml.safe_dump(settings))
    return FeatureStore(repo_path=str(folder))


@contextmanager
def opened(task: Task, directory: Path) -> Iterator[tuple[FeatureStore, int]]:
    """The store to ask, and the process that answers."""
    repo, registry = directory / "repo", directory / "registry.db"
    store = store_at(repo, registry, {"type": ENGINES[task.case.engine]})
    store.apply([part for source in task.sources for part in defined(directory, source)])
    if task.case.engine != "feast_server":
        yield store, os.getpid()
        return
    sys.path += [str(Path(__file__).resolve().parents[1] / "tests" / part) for part in (".", "feast_clients")]
    from feast_lab import UPSTREAM_SECONDS, UpstreamServer
    from harness.server import free_port

    server = UpstreamServer(directory, repo, free_port())
    try:
        server.wait_until_ready(UPSTREAM_SECONDS)
        remote = {"type": "remote", "host": "127.0.0.1", "port": server.port}
        yield store_at(directory / "client", registry, remote), server.pid
    finally:
        server.stop()


def judge_dask(task: Task, frame: pa.Table, result: pa.Table) -> Answer:
    """Compare the rows that came back with the right answer."""
    right = duckdb_late(frame, task.sources)
    wrong = rows_not_in(task.case, result, right)
    return Answer(checksum(task.case, right), lost=len(frame) - len(result), wrong=wrong)


def measured(task: Task, directory: Path) -> Measurement:
    """Measure the engine that the task names."""
    frame = task.read_frame()
    asked: pd.DataFrame = frame.to_pandas()
    refs = [f"{view.name}:{feature}" for view, _ in task.sources for feature in view.features]
    frames = [frame] * (task.repeat + 1)

    def judge(case: Case, frame: pa.Table, result: pa.Table) -> Answer:
        lossy = case.engine == "feast_dask"
        return judge_dask(task, frame, result) if lossy else any_order(case, frame, result)

    with opened(task, directory) as (store, pid):
        return measure(
            task.case,
            frames,
            pid,
            lambda _: store.get_historical_features(entity_df=asked.copy(), features=refs).to_arrow(),
            judge,
        )


def main() -> None:
    """Measure what the task says."""
    with tempfile.TemporaryDirectory() as name:
        child_result(measured(child_task(), Path(name)))


if __name__ == "__main__":
    main()
