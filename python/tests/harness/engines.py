"""The tables as other engines see them: all snapshots that the metadata knows, and every file that they refer to."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
from pyiceberg.table import Table
from pyiceberg.table.snapshots import Snapshot

from harness.components import needs

# DuckDB's Iceberg extension is packaged for other versions of DuckDB than the tests' own.
DUCKDB = Path(__file__).parents[2] / "duckdb-iceberg" / ".venv" / "bin" / "python"


def by_duckdb(table: Table, columns: list[str]) -> list[tuple[object, ...]]:
    """All rows of a table on the local disk, by DuckDB's own reader of Iceberg, in order."""
    needs("DuckDB's Iceberg extension", None if DUCKDB.exists() else "python/duckdb-iceberg is not synchronized")
    command = [DUCKDB, Path(__file__).parent / "duckdb_scan.py", table.metadata_location, *columns]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return [tuple(row) for row in json.loads(done.stdout)]


def by_pyiceberg(table: Table, columns: list[str], snapshot: int | None = None) -> list[tuple[object, ...]]:
    """The same by pyiceberg; of the newest snapshot unless there is one given."""
    read = table.scan(snapshot_id=snapshot, selected_fields=tuple(columns)).to_arrow()
    return sorted(tuple(row[column] for column in columns) for row in read.to_pylist())


def files_of(table: Table, snapshot: Snapshot, seen: set[str]) -> Iterator[str]:
    """The files of a snapshot's manifests but those that were seen; fails where a manifest or their list is missing."""
    for manifest in snapshot.manifests(table.io):
        if manifest.manifest_path in seen:
            continue
        seen.add(manifest.manifest_path)
        yield from (entry.data_file.file_path for entry in manifest.fetch_manifest_entry(table.io))


def missing_files(table: Table) -> dict[int, list[str]]:
    """What snapshots refer to and what is not there, by the snapshot."""
    missing: dict[int, list[str]] = {}
    seen: set[str] = set()
    for snapshot in table.snapshots():
        try:
            lost = [path for path in files_of(table, snapshot, seen) if not table.io.new_input(path).exists()]
        except FileNotFoundError as error:
            lost = [str(error)]
        if lost:
            missing[snapshot.snapshot_id] = lost
    return missing


def check_readable(table: Table) -> pa.Table:
    """Read a table by pyiceberg, and find all files of its older snapshots, except for those that expired meanwhile."""
    missing = missing_files(table)
    known = {snapshot.snapshot_id for snapshot in table.refresh().snapshots()}
    lost = {snapshot: files for snapshot, files in missing.items() if snapshot in known}
    assert not lost, f"{table.name()} refers to files that are gone: {lost}"
    return table.scan().to_arrow()


@dataclass(frozen=True)
class Size:
    """How much a reader goes through before it reads a table's rows."""

    metadata_bytes: int
    snapshots: int
    manifests: int
    files: int


def size_of(table: Table) -> Size:
    """The size of a table's metadata, and of its newest snapshot."""
    newest = table.current_snapshot()
    lists = newest.manifests(table.io) if newest else []
    files = sum((manifest.added_files_count or 0) + (manifest.existing_files_count or 0) for manifest in lists)
    return Size(len(table.io.new_input(table.metadata_location)), len(table.snapshots()), len(lists), files)
