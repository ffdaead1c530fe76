"""Writes Murre's own layout: Parquet files of one bucket each, sorted by key and time, with a page index.

pyiceberg writes no page index, and its add_files refuses bucket partitions. So the rows go to one scratch file a bucket
first, then bucket by bucket through pyarrow's writer, with the row groups, pages and compression that Murre's
compaction has, and the files are described to pyiceberg by its own statistics of their footers.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import chain
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pit_views import View
from pyiceberg.io.pyarrow import (
    compute_statistics_plan,
    data_file_statistics_from_parquet_metadata,
    parquet_path_to_id_mapping,
)
from pyiceberg.manifest import DataFile, DataFileContent, FileFormat
from pyiceberg.table import Table
from pyiceberg.transforms import BucketTransform
from pyiceberg.typedef import Record
from pyiceberg.types import LongType, StringType

BUCKETS = 16
FILES_A_BUCKET = 3
GROUP_ROWS = 128 * 1024
PAGE_ROWS = 1024
DICTIONARY_BYTES = 32 * 1024


def scratch_file(scratch: Path, bucket: int) -> Path:
    """Where a bucket's rows wait until they are sorted."""
    return scratch / f"{bucket}.arrow"


def by_bucket(view: View, batch: pa.Table) -> Iterator[tuple[int, pa.Table]]:
    """Split rows by the bucket of their key."""
    bucket_of = BucketTransform(BUCKETS).pyarrow_transform(StringType() if view.text_key else LongType())
    buckets = bucket_of(batch[view.key].combine_chunks()).to_numpy()
    order = np.argsort(buckets, kind="stable")
    bounds = np.searchsorted(buckets[order], np.arange(BUCKETS + 1))
    for bucket in range(BUCKETS):
        yield bucket, batch.take(order[bounds[bucket] : bounds[bucket + 1]])


def scatter(view: View, days: Iterator[pa.Table], scratch: Path) -> pa.Schema:
    """Append every row to its bucket's scratch file; return the schema."""
    first = next(days)
    options = pa.ipc.IpcWriteOptions(compression="lz4")
    with ExitStack() as stack:
        writers = [
            stack.enter_context(pa.ipc.new_file(scratch_file(scratch, bucket), first.schema, options=options))
            for bucket in range(BUCKETS)
        ]
        for batch in chain([first], days):
            for bucket, rows in by_bucket(view, batch):
                writers[bucket].write_table(rows)
    return first.schema


def gather(table: Table, view: View, scratch: Path) -> Iterator[DataFile]:
    """Write each bucket's data files, and drop its scratch file."""
    for bucket in range(BUCKETS):
        path = scratch_file(scratch, bucket)
        with pa.ipc.open_file(path) as reader:
            rows = reader.read_all().combine_chunks()
        path.unlink()
        if len(rows):
            yield from write_bucket(table, view, bucket, rows)


def write_bucket(table: Table, view: View, bucket: int, rows: pa.Table) -> Iterator[DataFile]:
    """Sort one bucket's rows and write them to a few files of consecutive keys."""
    order = pc.sort_indices(rows, [(name, "ascending") for name in (view.key, "event_timestamp", "created")])
    groups = -(-len(rows) // GROUP_ROWS)
    per_file = -(-groups // FILES_A_BUCKET) * GROUP_ROWS
    for start in range(0, len(rows), per_file):
        yield write_file(table, view, bucket, rows, order.slice(start, per_file))


def write_file(table: Table, view: View, bucket: int, rows: pa.Table, order: pa.Array) -> DataFile:
    """Write one file in the given order, a row group at a time, and describe it."""
    [field] = table.spec().fields
    uri = f"{table.location()}/data/{field.name}={bucket}/{uuid.uuid4()}.parquet"
    path = Path(uri.removeprefix("file://"))
    path.parent.mkdir(parents=True, exist_ok=True)
    schema = with_field_ids(table, rows.schema)
    sorted_by = [(name, "ascending") for name in (view.key, "event_timestamp", "created")]
    options = {
        "compression": "snappy",
        "write_page_index": True,
        "max_rows_per_page": PAGE_ROWS,
        "dictionary_pagesize_limit": DICTIONARY_BYTES,
        "sorting_columns": pq.SortingColumn.from_ordering(schema, sorted_by),
    }
    with pq.ParquetWriter(path, schema, **options) as writer:
        for start in range(0, len(order), GROUP_ROWS):
            writer.write_table(rows.take(order.slice(start, GROUP_ROWS)), row_group_size=GROUP_ROWS)
    return describe(table, bucket, uri, path)


def with_field_ids(table: Table, schema: pa.Schema) -> pa.Schema:
    """The schema with the field ids of the Iceberg table."""
    ids = {field.name: str(field.field_id) for field in table.schema().fields}
    return pa.schema([field.with_metadata({"PARQUET:field_id": ids[field.name]}) for field in schema])


def describe(table: Table, bucket: int, uri: str, path: Path) -> DataFile:
    """A data file with the statistics of its footer."""
    statistics = data_file_statistics_from_parquet_metadata(
        parquet_metadata=pq.read_metadata(path),
        stats_columns=compute_statistics_plan(table.schema(), table.properties),
        parquet_column_mapping=parquet_path_to_id_mapping(table.schema()),
    )
    return DataFile.from_args(
        content=DataFileContent.DATA,
        file_path=uri,
        file_format=FileFormat.PARQUET,
        partition=Record(bucket),
        file_size_in_bytes=path.stat().st_size,
        sort_order_id=table.sort_order().order_id,
        spec_id=table.spec().spec_id,
        equality_ids=None,
        key_metadata=None,
        **statistics.to_serialized_dict(),
    )
