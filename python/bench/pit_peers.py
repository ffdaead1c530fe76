"""The point-in-time join in DuckDB and Polars: the same answer from the same files, each at its best known form.

Every function takes the dataframe, the list of data files and the ttl in microseconds, all in memory for free, and
returns key, time and features in input order. As a script it measures one of them in a process of its own; libraries
that the measured one does not need are not imported, since they would count as its memory.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from dataclasses import asdict
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq
from pit_measure import FEATURES, measure

if TYPE_CHECKING:
    import duckdb

Peer = Callable[[pa.Table, list[str], int], pa.Table]
COLUMNS = ", ".join(FEATURES)


def connect(frame: pa.Table) -> duckdb.DuckDBPyConnection:
    """A connection with the dataframe as a real table, since a registered one is planned as if it had one row."""
    import duckdb

    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'")
    connection.register("frame", frame)
    connection.execute(
        "CREATE TEMP TABLE spine AS SELECT row_number() OVER () AS rid, driver_id, event_timestamp,"
        " epoch_us(event_timestamp) AS us FROM frame"
    )
    return connection


def window(ttl_us: int) -> str:
    """A condition on feature times that lets DuckDB skip row groups."""
    return (
        f"event_timestamp >= make_timestamptz((SELECT min(us) FROM spine) - {ttl_us})"
        " AND event_timestamp <= make_timestamptz((SELECT max(us) FROM spine))"
    )


def duckdb_late(frame: pa.Table, files: list[str], ttl_us: int) -> pa.Table:
    """Join narrow columns by range, keep the best address per row, fetch the winners' values afterwards."""
    connection = connect(frame)
    connection.execute(
        f"""CREATE TEMP TABLE best AS
        SELECT s.rid, arg_max({{'f': f.file_index, 'r': f.file_row_number}}, {{'t': f.us, 'c': f.created}}) AS address
        FROM spine s JOIN (
            SELECT driver_id, epoch_us(event_timestamp) AS us, epoch_us(created) AS created, file_index, file_row_number
            FROM read_parquet($files, file_row_number = true) WHERE {window(ttl_us)}
        ) f ON s.driver_id = f.driver_id AND f.us <= s.us AND f.us >= s.us - {ttl_us}
        GROUP BY s.rid""",
        {"files": files},
    )
    return connection.sql(
        f"""WITH winners AS (SELECT DISTINCT address.f AS f, address.r AS r FROM best), rows AS (
            SELECT file_index AS f, file_row_number AS r, {COLUMNS} FROM read_parquet($files, file_row_number = true) p
            SEMI JOIN winners w ON p.file_index = w.f AND p.file_row_number = w.r)
        SELECT s.driver_id, s.event_timestamp, {COLUMNS}
        FROM spine s LEFT JOIN best b USING (rid) LEFT JOIN rows ON rows.f = b.address.f AND rows.r = b.address.r
        ORDER BY s.rid""",
        params={"files": files},
    ).to_arrow_table()


def duckdb_asof(frame: pa.Table, files: list[str], ttl_us: int) -> pa.Table:
    """ASOF JOIN over rows deduplicated by `created`, then the ttl."""
    connection = connect(frame)
    outputs = ", ".join(f"CASE WHEN f.us >= s.us - {ttl_us} THEN f.{name} END AS {name}" for name in FEATURES)
    return connection.sql(
        f"""WITH features AS (
            SELECT *, epoch_us(event_timestamp) AS us FROM read_parquet($files) SEMI JOIN spine USING (driver_id)
            WHERE {window(ttl_us)}
            QUALIFY row_number() OVER (PARTITION BY driver_id, event_timestamp ORDER BY created DESC) = 1)
        SELECT s.driver_id, s.event_timestamp, {outputs}
        FROM spine s ASOF LEFT JOIN features f ON s.driver_id = f.driver_id AND s.us >= f.us
        ORDER BY s.rid""",
        params={"files": files},
    ).to_arrow_table()


def polars_asof(frame: pa.Table, files: list[str], ttl_us: int) -> pa.Table:
    """join_asof takes the last of equal times, so sorting by `created` breaks ties."""
    import polars as pl

    spine = pl.from_arrow(frame).lazy().with_row_index("rid")
    features = (
        pl.scan_parquet(files)
        .join(spine.select("driver_id").unique(), on="driver_id", how="semi")
        .sort("event_timestamp", "created")
        .drop("created")
    )
    joined = spine.sort("event_timestamp").join_asof(
        features, on="event_timestamp", by="driver_id", tolerance=f"{ttl_us}us", check_sortedness=False
    )
    return joined.sort("rid").drop("rid").collect().to_arrow()


PEERS: dict[str, Peer] = {"duckdb_late": duckdb_late, "duckdb_asof": duckdb_asof, "polars_asof": polars_asof}


def main() -> None:
    """Measure the peer, dataframe, files, ttl and repeats that the arguments name; print the result as JSON."""
    engine, frame_path, files, ttl_us, repeat = sys.argv[1:]
    frame, paths = pq.read_table(frame_path), json.loads(files)
    measured = measure(engine, frame, os.getpid(), int(repeat), lambda: PEERS[engine](frame, paths, int(ttl_us)))
    print(json.dumps(asdict(measured)))


if __name__ == "__main__":
    main()
