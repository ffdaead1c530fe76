"""Iceberg tables on the local disk in a SQLite catalog, all of them written by pyiceberg."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.schema import Schema
from pyiceberg.table import Table
from pyiceberg.transforms import Transform


class Warehouse:
    """A directory with `catalog.db` and the tables' files."""

    def __init__(self, directory: Path) -> None:
        """Open the warehouse, creating it when it is new."""
        self.directory = directory
        directory.mkdir(parents=True, exist_ok=True)
        self.uri = f"sqlite:///{directory / 'catalog.db'}"
        self.location = (directory / "warehouse").as_uri()
        self.catalog = SqlCatalog("default", uri=self.uri, warehouse=self.location)

    def create(
        self,
        name: str,
        schema: Schema | pa.Schema,
        *,
        partition_by: dict[str, Transform[Any, Any]] | None = None,
        **options: Any,
    ) -> Table:
        """Create an empty table, partitioned by column to transform; `options` go to pyiceberg."""
        self.catalog.create_namespace_if_not_exists(name.rpartition(".")[0])
        table = self.catalog.create_table(name, schema, **options)
        if partition_by:
            with table.update_spec() as update:
                for column, transform in partition_by.items():
                    update.add_field(column, transform)
        return self.catalog.load_table(name)

    def write(self, name: str, *batches: pa.Table, **options: Any) -> Table:
        """Create a table with the schema of the first batch and append each batch as a commit of its own."""
        table = self.create(name, batches[0].schema, **options)
        for batch in batches:
            table.append(batch)
        return self.catalog.load_table(name)

    def config(self) -> dict[str, Any]:
        """The `[catalogs.default]` section that lets a server read this warehouse."""
        return {"type": "sql", "uri": self.uri, "warehouse": self.location}


def data_files(table: Table) -> list[Path]:
    """The live data files of the current snapshot."""
    return [Path(task.file.file_path.removeprefix("file://")) for task in table.scan().plan_files()]
