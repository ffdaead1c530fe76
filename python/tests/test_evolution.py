"""Tables whose schema, partitioning or snapshots changed read as pyiceberg reads them."""

from __future__ import annotations

import random
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from harness.frames import INSTANT, at, drivers, table
from harness.lab import Lab
from harness.reference import naive_join, rows_of
from harness.warehouse import data_files
from pyiceberg.table import Table
from pyiceberg.transforms import (
    BucketTransform,
    DayTransform,
    HourTransform,
    IdentityTransform,
    MonthTransform,
    TruncateTransform,
)
from pyiceberg.types import DecimalType, DoubleType, LongType, StringType, TimestamptzType

POINT = pa.struct([("x", pa.float32()), ("y", pa.int32())])
TYPES: dict[str, pa.DataType] = {
    "driver_id": pa.int32(),
    "event_timestamp": INSTANT,
    "count": pa.int32(),
    "rate": pa.float32(),
    "price": pa.decimal128(9, 2),
    "city": pa.string(),
    "point": POINT,
    "path": pa.list_(POINT),
    "tags": pa.map_(pa.string(), POINT),
}
FRAME = drivers(*((key, at(minutes=minute)) for key in range(12) for minute in range(-30, 700, 61)))


def value(rng: random.Random, kind: pa.DataType) -> Any:
    """A random value, a fifth of them null."""
    if rng.random() < 0.2:
        return None
    if pa.types.is_struct(kind):
        return {field.name: value(rng, field.type) for field in kind}
    if pa.types.is_map(kind):
        return [(key, value(rng, kind.item_type)) for key in rng.sample("abc", rng.randrange(3))]
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return [value(rng, kind.value_type) for _ in range(rng.randrange(3))]
    if pa.types.is_timestamp(kind):
        return at(minutes=rng.randrange(600))
    if pa.types.is_decimal(kind):
        return Decimal(rng.randrange(-10_000, 10_000)).scaleb(-kind.scale)
    if pa.types.is_floating(kind):
        return rng.randrange(-1000, 1000) / 8
    if pa.types.is_integer(kind):
        return rng.randrange(-1000, 1000)
    return rng.choice(["amsterdam", "berlin", "", "Zürich"])


def rows(schema: pa.Schema, seed: int, count: int = 60) -> pa.Table:
    """Random rows of a schema, over twelve keys and ten hours."""
    rng = random.Random(seed)
    columns = {field.name: [value(rng, field.type) for _ in range(count)] for field in schema}
    key, time = schema.names[schema.get_field_index("driver_id")], "event_timestamp"
    columns[key] = [rng.randrange(12) for _ in range(count)]
    columns[time] = [at(minutes=rng.randrange(600), seconds=seed, microseconds=i) for i in range(count)]
    return pa.table([pa.array(columns[field.name], field.type) for field in schema], schema=schema)


def start_table(lab: Lab, name: str, **write: Any) -> Table:
    """A table of the first schema with one commit."""
    schema = pa.schema(list(TYPES.items()))
    lab.definitions.view(name, f"lab.{name}", ["driver_id"])
    created = lab.warehouse.create(f"lab.{name}", schema, **write)
    created.append(rows(schema, 1))
    return created


def append(table: Table, seed: int) -> None:
    """A commit of random rows in the table's present schema."""
    current = table.refresh().schema().as_arrow()
    table.append(rows(without_metadata(current), seed))


def without_metadata(schema: pa.Schema) -> pa.Schema:
    """The schema as users write it, without field ids."""
    return pa.schema([pa.field(field.name, field.type) for field in schema])


def add_columns(table: Table) -> None:
    with table.update_schema() as update:
        update.add_column("bonus", LongType())
        update.add_column("note", StringType())
        update.move_first("note")
    append(table, 2)


def rename_columns(table: Table) -> None:
    with table.update_schema() as update:
        update.rename_column("city", "town").rename_column("count", "trips")
    append(table, 2)


def swap_names(table: Table) -> None:
    with table.update_schema() as update:
        update.add_column("other_city", StringType())
    append(table, 2)
    for old, new in (("city", "spare"), ("other_city", "city"), ("spare", "other_city")):
        with table.refresh().update_schema() as update:
            update.rename_column(old, new)
    append(table, 3)


def promote(table: Table) -> None:
    with table.update_schema() as update:
        update.update_column("count", LongType())
        update.update_column("rate", DoubleType())
        update.update_column("price", DecimalType(18, 2))
        update.update_column("driver_id", LongType())
        update.update_column(("point", "y"), LongType())
        update.update_column(("path", "element", "x"), DoubleType())
    append(table, 2)


def drop_and_add_again(table: Table) -> None:
    with table.update_schema() as update:
        update.delete_column("city").delete_column("count")
    append(table, 2)
    with table.refresh().update_schema() as update:
        update.add_column("city", StringType()).add_column("count", StringType())
    append(table, 3)


def reorder(table: Table) -> None:
    with table.update_schema() as update:
        update.move_first("city").move_after("event_timestamp", "price").move_before("count", "city")
    append(table, 2)


def nested_add(table: Table) -> None:
    with table.update_schema() as update:
        update.add_column(("point", "z"), DoubleType())
        update.add_column(("path", "label"), StringType())
        update.add_column(("tags", "seen_at"), TimestamptzType())
    append(table, 2)


def nested_drop_rename(table: Table) -> None:
    with table.update_schema() as update:
        update.rename_column(("point", "x"), "longitude").delete_column(("point", "y"))
        update.rename_column("path.element.y", "rank")
        update.delete_column("tags.value.x")
    append(table, 2)
    with table.refresh().update_schema() as update:
        update.add_column(("point", "y"), StringType())
        update.move_first(("point", "y"))
    append(table, 3)


def overwrite(table: Table) -> None:
    append(table, 2)
    schema = without_metadata(table.refresh().schema().as_arrow())
    table.overwrite(rows(schema, 3))
    append(table, 4)
    table.refresh().overwrite(rows(schema, 5, 10), overwrite_filter="driver_id < 6")


def roll_back(table: Table) -> None:
    kept = table.refresh().current_snapshot()
    append(table, 2)
    assert kept is not None
    table.refresh().manage_snapshots().rollback_to_snapshot(kept.snapshot_id).commit()


def all_rows_deleted(table: Table) -> None:
    table.delete("true")


def change_partitioning(table: Table) -> None:
    with table.update_spec() as update:
        update.add_field("event_timestamp", DayTransform(), "by_day")
    append(table, 2)
    with table.refresh().update_spec() as update:
        update.remove_field("by_day").add_field("driver_id", BucketTransform(4), "by_bucket")
    append(table, 3)
    with table.refresh().update_spec() as update:
        update.add_field("event_timestamp", HourTransform(), "by_hour").add_field(
            "city", TruncateTransform(2), "by_city"
        )
    append(table, 4)


def promote_bucketed_key(table: Table) -> None:
    with table.update_schema() as update:
        update.update_column("driver_id", LongType())
    append(table, 2)


def merge_manifests(table: Table) -> None:
    for seed in range(2, 9):
        append(table, seed)


def without_null_lists(table: pa.Table) -> pa.Table:
    """pyiceberg 0.12 reads null lists and maps of files without field ids as empty ones, so there are none."""
    for i, name in enumerate(table.column_names):
        if pa.types.is_list(table.schema.field(i).type) or pa.types.is_map(table.schema.field(i).type):
            values = [[] if value is None else value for value in table[name].to_pylist()]
            table = table.set_column(i, name, pa.array(values, table.schema.field(i).type))
    return table


def loose_files(table: Table, count: int) -> list[str]:
    """Parquet files without field ids, as tools other than Iceberg's write them."""
    directory = Path(table.location().removeprefix("file://")) / "loose"
    directory.mkdir(parents=True, exist_ok=True)
    paths = []
    for seed in range(count):
        path = directory / f"{seed}.parquet"
        pq.write_table(without_null_lists(rows(pa.schema(list(TYPES.items())), 20 + seed)), path, row_group_size=25)
        paths.append(path.as_uri())
    return paths


def add_files(table: Table) -> None:
    table.add_files(loose_files(table, 2))


def add_files_then_evolve(table: Table) -> None:
    table.add_files(loose_files(table, 2))
    with table.refresh().update_schema() as update:
        update.rename_column("city", "town").update_column("count", LongType())
        update.add_column("extra", StringType())
        update.rename_column(("point", "x"), "longitude")
    append(table, 3)


SMALL_PAGES = {
    "write.parquet.row-group-limit": "16",
    "write.parquet.page-row-limit": "4",
    "write.parquet.dict-size-bytes": "64",
}
MERGING = {"commit.manifest-merge.enabled": "true", "commit.manifest.min-count-to-merge": "2"}
CASES: dict[str, tuple[Callable[[Table], None], dict[str, Any]]] = {
    "add_columns": (add_columns, {}),
    "rename_columns": (rename_columns, {}),
    "swap_names": (swap_names, {}),
    "promote": (promote, {}),
    "drop_and_add_again": (drop_and_add_again, {}),
    "reorder": (reorder, {}),
    "nested_add": (nested_add, {}),
    "nested_drop_rename": (nested_drop_rename, {}),
    "overwrite": (overwrite, {}),
    "roll_back": (roll_back, {}),
    "all_rows_deleted": (all_rows_deleted, {}),
    "change_partitioning": (change_partitioning, {}),
    "promote_bucketed_key": (promote_bucketed_key, {"partition_by": {"driver_id": BucketTransform(4)}}),
    "promote_identity_key": (promote_bucketed_key, {"partition_by": {"driver_id": IdentityTransform()}}),
    "by_month": (add_columns, {"partition_by": {"event_timestamp": MonthTransform()}}),
    "add_files": (add_files, {}),
    "add_files_then_evolve": (add_files_then_evolve, {}),
    "small_pages": (add_columns, {"properties": SMALL_PAGES}),
    "version_1": (add_columns, {"properties": {"format-version": "1"}}),
    "merged_manifests": (merge_manifests, {"properties": MERGING}),
    "uncompressed": (add_columns, {"properties": {"write.parquet.compression-codec": "uncompressed"}}),
    "snappy": (add_columns, {"properties": {"write.parquet.compression-codec": "snappy"}}),
    "gzip": (add_columns, {"properties": {"write.parquet.compression-codec": "gzip"}}),
    "lz4": (add_columns, {"properties": {"write.parquet.compression-codec": "lz4"}}),
    "brotli": (add_columns, {"properties": {"write.parquet.compression-codec": "brotli"}}),
}


def build(lab: Lab) -> None:
    """Write every case's table."""
    for name, (change, write) in CASES.items():
        change(start_table(lab, name, **write))
    rename_keys(lab)
    lab.warehouse.create("lab.empty", pa.schema(list(TYPES.items())))
    lab.definitions.view("empty", "lab.empty", ["driver_id"])


def rename_keys(lab: Lab) -> None:
    """A table whose key and event time got their names late."""
    first = table(
        {"id": pa.int64(), "at": INSTANT, "speed": pa.float64()}, *((k, at(minutes=k), k / 2) for k in range(12))
    )
    renamed = lab.warehouse.write(
        "lab.renamed_keys", first, partition_by={"at": DayTransform(), "id": BucketTransform(3)}
    )
    with renamed.update_schema() as update:
        update.rename_column("id", "driver_id").rename_column("at", "event_timestamp")
    later = first.rename_columns(["driver_id", "event_timestamp", "speed"])
    shifted = pa.array([at(days=1)] * 12, INSTANT)
    renamed.refresh().append(later.set_column(1, "event_timestamp", shifted))
    lab.definitions.view("renamed_keys", "lab.renamed_keys", ["driver_id"])


@pytest.fixture(scope="module")
def lab(start_lab: Callable[..., Lab]) -> Lab:
    """All cases in one server."""
    return start_lab(build)


def features_of(table: Table) -> list[str]:
    """Every column that is neither key nor time."""
    return [name for name in table.schema().as_arrow().names if name not in ("driver_id", "event_timestamp")]


@pytest.mark.parametrize("name", [*CASES, "renamed_keys", "empty"])
def test_evolved_table_reads_as_pyiceberg_reads_it(lab: Lab, name: str) -> None:
    table = lab.warehouse.catalog.load_table(f"lab.{name}")
    features = features_of(table)
    source = table.scan().to_arrow()
    by_id = [field.name for field in sorted(table.schema().fields, key=lambda field: field.field_id)]
    assert not has_ties(source), "the reference does not order nested values"
    expected = naive_join(FRAME, source, ["driver_id"], features, ties=by_id)
    assert rows_of(lab.client.historical(FRAME, [f"{name}:{feature}" for feature in features])) == expected


def has_ties(source: pa.Table) -> bool:
    """Whether two rows have one key and event time."""
    pairs = source.select(["driver_id", "event_timestamp"])
    return len(pairs.group_by(pairs.column_names).aggregate([])) < len(pairs)


def test_fixtures_are_what_they_claim(lab: Lab) -> None:
    pages = lab.warehouse.catalog.load_table("lab.small_pages")
    assert all(pq.ParquetFile(path).num_row_groups > 1 for path in data_files(pages))
    loose = lab.warehouse.catalog.load_table("lab.add_files")
    assert loose.name_mapping() is not None
    assert lab.warehouse.catalog.load_table("lab.version_1").format_version == 1
    assert len(lab.warehouse.catalog.load_table("lab.change_partitioning").specs()) > 3
