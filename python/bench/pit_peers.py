"""The point-in-time join in DuckDB and Polars: the same answer from the same files, each at its best known form.

Every function takes the dataframe, each view with its data files, all in memory for free, and returns keys, time and
features in input order. As a script it measures one of them in a process of its own; libraries that the measured one
does not need are not imported, since they would count as its memory. `floor` joins nothing: it reads what a join has to
read.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING

import pyarrow as pa
from pit_measure import in_order, measure, no_answer
from pit_process import child_result, child_task
from pit_views import TTL_US, Source, View, features_of

if TYPE_CHECKING:
    import duckdb

Peer = Callable[[pa.Table, list[Source]], pa.Table]


def connect(frame: pa.Table) -> duckdb.DuckDBPyConnection:
    """A connection with the dataframe as a real table, since a registered one is planned as if it had one row."""
    import duckdb

    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'")
    connection.register("frame", frame)
    connection.execute(
        "CREATE TEMP TABLE spine AS SELECT row_number() OVER () AS rid, *, epoch_us(event_timestamp) AS us FROM frame"
    )
    return connection


def window() -> str:
    """A condition on feature times that lets DuckDB skip row groups."""
    return (
        f"event_timestamp >= make_timestamptz((SELECT min(us) FROM spine) - {TTL_US})"
        " AND event_timestamp <= make_timestamptz((SELECT max(us) FROM spine))"
    )


def best_addresses(view: View) -> str:
    """A query for the best feature row of each entity row, by its place in the files."""
    return f"""SELECT s.rid,
            arg_max({{'f': f.file_index, 'r': f.file_row_number}}, {{'t': f.us, 'c': f.created}}) AS address
        FROM spine s JOIN (
            SELECT {view.key}, epoch_us(event_timestamp) AS us, epoch_us(created) AS created,
                file_index, file_row_number
            FROM read_parquet($files, file_row_number = true) WHERE {window()}
        ) f ON s.{view.key} = f.{view.key} AND f.us <= s.us AND f.us >= s.us - {TTL_US}
        GROUP BY s.rid"""


def winning_rows(view: View) -> str:
    """A query for the values at those places."""
    name, features = view.name, ", ".join(view.features)
    return f"""SELECT file_index AS f, file_row_number AS r, {features}
        FROM read_parquet(${name}, file_row_number = true) p
        SEMI JOIN (SELECT DISTINCT address.f AS f, address.r AS r FROM best_{name}) w
        ON p.file_index = w.f AND p.file_row_number = w.r"""


def output_columns(frame: pa.Table, sources: list[Source]) -> str:
    """Keys, time and features of the result."""
    return ", ".join([*(f"s.{name}" for name in frame.column_names), *features_of([view for view, _ in sources])])


def duckdb_late(frame: pa.Table, sources: list[Source]) -> pa.Table:
    """Join narrow columns by range, keep the best address per row, fetch the winners' values afterwards."""
    connection = connect(frame)
    names = [view.name for view, _ in sources]
    for view, files in sources:
        connection.execute(f"CREATE TEMP TABLE best_{view.name} AS {best_addresses(view)}", {"files": files})
    rows = ", ".join(f"rows_{view.name} AS ({winning_rows(view)})" for view, _ in sources)
    joins = " ".join(
        f"LEFT JOIN best_{name} b_{name} ON b_{name}.rid = s.rid"
        f" LEFT JOIN rows_{name} r_{name} ON r_{name}.f = b_{name}.address.f AND r_{name}.r = b_{name}.address.r"
        for name in names
    )
    return connection.sql(
        f"WITH {rows} SELECT {output_columns(frame, sources)} FROM spine s {joins} ORDER BY s.rid",
        params={view.name: files for view, files in sources},
    ).to_arrow_table()


def latest_versions(view: View) -> str:
    """A query for the view's rows without those that were corrected."""
    return f"""SELECT *, epoch_us(event_timestamp) AS us
        FROM read_parquet(${view.name}) SEMI JOIN spine USING ({view.key})
        WHERE {window()}
        QUALIFY row_number() OVER (PARTITION BY {view.key}, event_timestamp ORDER BY created DESC) = 1"""


def duckdb_asof(frame: pa.Table, sources: list[Source]) -> pa.Table:
    """ASOF JOIN over rows deduplicated by `created`, then the ttl."""
    connection = connect(frame)
    outputs = ", ".join(
        f"CASE WHEN {view.name}.us >= s.us - {TTL_US} THEN {view.name}.{feature} END AS {feature}"
        for view, _ in sources
        for feature in view.features
    )
    versions = ", ".join(f"{view.name} AS ({latest_versions(view)})" for view, _ in sources)
    joins = " ".join(
        f"ASOF LEFT JOIN {view.name} ON s.{view.key} = {view.name}.{view.key} AND s.us >= {view.name}.us"
        for view, _ in sources
    )
    keys = ", ".join(f"s.{name}" for name in frame.column_names)
    return connection.sql(
        f"WITH {versions} SELECT {keys}, {outputs} FROM spine s {joins} ORDER BY s.rid",
        params={view.name: files for view, files in sources},
    ).to_arrow_table()


def polars_asof(frame: pa.Table, sources: list[Source]) -> pa.Table:
    """join_asof takes the last of equal times, so sorting by `created` breaks ties."""
    import polars as pl

    spine = pl.from_arrow(frame).lazy().with_row_index("rid")
    joined = spine.sort("event_timestamp")
    for view, files in sources:
        features = (
            pl.scan_parquet(files)
            .select(view.columns)
            .join(spine.select(view.key).unique(), on=view.key, how="semi")
            .sort("event_timestamp", "created")
            .drop("created")
        )
        joined = joined.join_asof(
            features, on="event_timestamp", by=view.key, tolerance=f"{TTL_US}us", check_sortedness=False
        )
    return joined.sort("rid").drop("rid").collect().to_arrow()


def floor(frame: pa.Table, sources: list[Source]) -> pa.Table:
    """Decode every column that a join needs of every file, and keep nothing."""
    import pyarrow.dataset as ds

    for view, files in sources:
        for _ in ds.dataset(files, format="parquet").to_batches(columns=view.columns):
            pass
    return frame.slice(0, 0)


PEERS: dict[str, Peer] = {"duckdb_late": duckdb_late, "duckdb_asof": duckdb_asof, "polars_asof": polars_asof}
FLOOR = "floor"


def main() -> None:
    """Measure what the task says."""
    task = child_task()
    frame, sources, engine = task.read_frame(), task.sources, task.case.engine
    run, judge = (floor, no_answer) if engine == FLOOR else (PEERS[engine], in_order)
    frames = [frame] * (task.repeat + 1)
    child_result(measure(task.case, frames, os.getpid(), lambda asked: run(asked, sources), judge))


if __name__ == "__main__":
    main()
