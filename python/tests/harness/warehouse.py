"""Iceberg tables in a catalog that Murre and pyiceberg share; by itself a SQLite catalog over the local disk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pyiceberg.catalog import load_catalog
from pyiceberg.schema import Schema
from pyiceberg.table import Table
from pyiceberg.transforms import Transform


class Warehouse:
    """A catalog by pyiceberg's properties, which are Murre's too, and its tables."""

    def __init__(self, directory: Path, properties: dict[str, str] | None = None) -> None:
        """Open the catalog, by default `catalog.db` in `directory` with files beside it."""
        self.directory = directory
        directory.mkdir(parents=True, exist_ok=True)
        self.properties = properties or {
            "type": "sql",
            "uri": f"sqlite:///{directory / 'catalog.db'}",
            "warehouse": (directory / "warehouse").as_uri(),
        }
        self.uri = self.properties.get("uri")
        self.location = self.properties.get("warehouse")
        self.catalog = load_catalog("default", **self.properties)

    def create(
        self,
        name: str,
        schema: Schema | pa.Schema,
        *,
        partition_by: dict[str, Transform[Any, Any]] | None = None,
        **options: Any,
    ) -> Table:
        """Create an empty table, partitioned by column to transform; `options` go to pyiceberg."""
        self.create_namespaces(name)
        table = self.catalog.create_table(name, schema, **options)
        if partition_by:
            with table.update_spec() as update:
                for column, transform in partition_by.items():
                    update.add_field(column, transform)
        return self.catalog.load_table(name)

    def create_namespaces(self, name: str) -> None:
        """Create the namespace of a table, and those around it."""
        levels = name.split(".")[:-1]
        for depth in range(1, len(levels) + 1):
            self.catalog.create_namespace_if_not_exists(tuple(levels[:depth]))

    def write(self, name: str, *batches: pa.Table, **options: Any) -> Table:
        """Create a table with the schema of the first batch and append each batch as a commit of its own."""
        table = self.create(name, batches[0].schema, **options)
        for batch in batches:
            table.append(batch)
        return self.catalog.load_table(name)

    def config(self) -> dict[str, Any]:
        """The `[catalogs.default]` section that lets a server use this warehouse."""
        return dict(self.properties)


def rows_by_partition(table: Table) -> dict[Any, pa.Table]:
    """The rows of every data file, by the one partition value that the file is said to have."""
    files = [task.file for task in table.scan().plan_files()]
    return {file.partition[0]: pq.read_table(table.io.new_input(file.file_path).open()) for file in files}


def data_files(table: Table) -> list[Path]:
    """The live data files of the current snapshot."""
    return [Path(task.file.file_path.removeprefix("file://")) for task in table.scan().plan_files()]
