"""Commits merge-on-read deletes, which pyiceberg reads (position deletes) but does not write.

Only the delete manifest and its file are made here; snapshot, manifest list and commit are pyiceberg's own.
"""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pyiceberg.io.pyarrow import schema_to_pyarrow
from pyiceberg.manifest import (
    DataFile,
    DataFileContent,
    FileFormat,
    ManifestContent,
    ManifestEntry,
    ManifestEntryStatus,
    ManifestFile,
    ManifestWriterV2,
)
from pyiceberg.schema import Schema
from pyiceberg.table import Table
from pyiceberg.table.snapshots import Operation
from pyiceberg.table.update.snapshot import _FastAppendFiles
from pyiceberg.typedef import Record
from pyiceberg.types import LongType, NestedField, StringType

PATH_ID, POSITION_ID = 2147483546, 2147483545
POSITION_SCHEMA = Schema(
    NestedField(PATH_ID, "file_path", StringType(), required=True),
    NestedField(POSITION_ID, "pos", LongType(), required=True),
)


class _DeleteManifestWriter(ManifestWriterV2):
    """A manifest of delete files."""

    def content(self) -> ManifestContent:
        return ManifestContent.DELETES

    @property
    def _meta(self) -> dict[str, str]:
        return {**super()._meta, "content": "deletes"}


class _RowDelta(_FastAppendFiles):
    """A fast append that adds delete files beside data files."""

    delete_files: list[DataFile]

    def _manifests(self) -> list[ManifestFile]:
        specs = sorted({file.spec_id for file in self.delete_files})
        return [self._delete_manifest(spec_id) for spec_id in specs] + super()._manifests()

    def _delete_manifest(self, spec_id: int) -> ManifestFile:
        output = self.new_manifest_output()
        writer = _DeleteManifestWriter(self.spec(spec_id), self.schema(), output, self._snapshot_id, self._compression)
        with writer:
            for file in self.delete_files:
                if file.spec_id == spec_id:
                    status = ManifestEntryStatus.ADDED
                    writer.add(ManifestEntry.from_args(status=status, snapshot_id=self._snapshot_id, data_file=file))
        return writer.to_manifest_file()


def commit_deletes(table: Table, *delete_files: DataFile) -> None:
    """Commit delete files in one snapshot."""
    with table.transaction() as transaction:
        delta = _RowDelta(operation=Operation.DELETE, transaction=transaction, io=table.io)
        delta.delete_files = list(delete_files)
        delta.commit()


def _write(table: Table, rows: pa.Table, **fields: Any) -> DataFile:
    """Write a delete file and describe it."""
    path = Path(table.location().removeprefix("file://")) / "data" / f"delete-{uuid.uuid4()}.parquet"
    pq.write_table(rows, path)
    described = {
        "file_path": path.as_uri(),
        "file_format": FileFormat.PARQUET,
        "partition": Record(),
        "record_count": len(rows),
        "file_size_in_bytes": path.stat().st_size,
        **fields,
    }
    spec_id = described.pop("spec_id", table.spec().spec_id)
    file = DataFile.from_args(**described)
    file.spec_id = spec_id
    return file


def position_deletes(
    table: Table, positions: list[tuple[str, int]], *, bounds: bool = False, **fields: Any
) -> DataFile:
    """A position delete file; with bounds, readers may tie it to the one data file that it names."""
    rows = pa.Table.from_pylist(
        [{"file_path": path, "pos": position} for path, position in sorted(positions)],
        schema=schema_to_pyarrow(POSITION_SCHEMA),
    )
    paths = [path.encode() for path, _ in positions]
    limits = {"lower_bounds": {PATH_ID: min(paths)}, "upper_bounds": {PATH_ID: max(paths)}} if bounds else {}
    return _write(table, rows, content=DataFileContent.POSITION_DELETES, **limits, **fields)


def equality_deletes(table: Table, columns: list[str], rows: list[dict[str, Any]], **fields: Any) -> DataFile:
    """An equality delete file over some columns of the table's current schema."""
    schema = table.schema().select(*columns)
    ids = [table.schema().find_field(column).field_id for column in columns]
    values = pa.Table.from_pylist(rows, schema=schema_to_pyarrow(schema))
    return _write(table, values, content=DataFileContent.EQUALITY_DELETES, equality_ids=ids, **fields)
