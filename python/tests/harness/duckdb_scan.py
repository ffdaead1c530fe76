"""Prints columns of an Iceberg table as JSON, by DuckDB's own reader: python duckdb_scan.py METADATA COLUMN...

Runs in the environment ../../duckdb-iceberg, which has the reader as packages: DuckDB would fetch it from the network.
"""

from __future__ import annotations

import json
import site
import sys
from pathlib import Path

import duckdb

EXTENSIONS = ["avro", "iceberg"]


def connect() -> duckdb.DuckDBPyConnection:
    """A connection that reads Iceberg."""
    connection = duckdb.connect()
    for name in EXTENSIONS:
        (path,) = Path(site.getsitepackages()[0]).glob(f"duckdb_extension_{name}/extensions/*/*.duckdb_extension")
        connection.execute(f"LOAD '{path}'")
    return connection


def scan(metadata: str, columns: list[str]) -> list[tuple[object, ...]]:
    """All rows, in order."""
    chosen = ", ".join(f'"{column}"' for column in columns)
    return connect().execute(f"SELECT {chosen} FROM iceberg_scan(?) ORDER BY ALL", [metadata]).fetchall()


if __name__ == "__main__":
    print(json.dumps(scan(sys.argv[1], sys.argv[2:])))
