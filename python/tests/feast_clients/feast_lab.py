"""A feature repository that a server reads, and a Feast client beside it that knows the server as its offline store.

The server's folder holds the registry, the tables and the files; the client's folder only a `feature_store.yaml` and a
SQLite online store. Nothing of Feast is patched: what the tests drive is what `pip install feast` gives.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from feast import FeatureStore, FileSource
from feast.data_source import DataSource
from feast.infra.data_sources.contrib.iceberg_catalog.iceberg_source import IcebergSource
from harness.definitions import to_section
from harness.process import Process, free_port
from harness.server import START_SECONDS, Server
from harness.warehouse import Warehouse

UPSTREAM_SECONDS = 180


class FeastLab:
    """Add tables, `start`, `apply` definitions, then use `store` as any user of Feast would."""

    def __init__(
        self,
        directory: Path,
        *,
        registry: Any = None,
        offline_store: str = "remote",
        online_store: dict[str, Any] | None = None,
    ) -> None:
        """Prepare an empty repository.

        `registry` replaces the registry file, `offline_store` the client's type; `online_store` are options of Murre's
        online store, which takes the place of SQLite's.
        """
        self.directory = directory
        self.repo = directory / "repo"
        self.client = directory / "client"
        self.registry_path = self.repo / "data" / "registry.db"
        self.registry = str(self.registry_path) if registry is None else registry
        self.offline_store = offline_store
        self.online_store = online_store
        self.warehouse = Warehouse(self.repo / "iceberg")
        for folder in (self.registry_path.parent, self.client):
            folder.mkdir(parents=True, exist_ok=True)
        self._server: Server | UpstreamServer | None = None
        self.store: FeatureStore

    def iceberg(self, name: str, rows: pa.Table, **options: Any) -> IcebergSource:
        """Write `rows` to a new table and name it as a source; `options` go to the source."""
        self.warehouse.write(f"lab.{name}", rows)
        return self.iceberg_source(name, **options)

    def iceberg_source(self, name: str, table: str | None = None, **options: Any) -> IcebergSource:
        """A source over a table of the warehouse, which need not exist."""
        return IcebergSource(
            name=name,
            catalog_type="sql",
            catalog_name="default",
            endpoint=self.warehouse.uri,
            warehouse=self.warehouse.location,
            namespace="lab",
            table=table or name,
            **options,
        )

    def parquet(self, name: str, rows: pa.Table, **options: Any) -> FileSource:
        """Write `rows` to a Parquet file in the repository and name it as a source; `options` go to the source."""
        path = self.repo / "data" / f"{name}.parquet"
        pq.write_table(rows, path)
        return FileSource(name=name, path=str(path), **options)

    def source(self, kind: str, name: str, rows: pa.Table, **options: Any) -> DataSource:
        """A source of the given kind: `iceberg` or `parquet`."""
        add: Callable[..., DataSource] = {"iceberg": self.iceberg, "parquet": self.parquet}[kind]
        return add(name, rows, **options)

    def start(self, *arguments: str, host: str = "127.0.0.1", **sections: dict[str, Any]) -> FeastLab:
        """Serve the repository at `host`; `sections` become a configuration file.

        With UPSTREAM_ENGINE set, Feast's own server over that engine (`duckdb`, `dask`) takes Murre's place: it shows
        which expectations are Murre's alone.
        """
        if engine := os.environ.get("UPSTREAM_ENGINE"):
            return self.start_upstream(engine)
        self._write_yaml(self.repo, {})
        port = free_port()
        flags = ["--feast-repo", str(self.repo), "--listen", f"{host}:{port}", *arguments]
        if sections:
            config = self.directory / "murre.toml"
            config.write_text("\n".join(to_section(f"[{name}]", values) for name, values in sections.items()))
            flags += ["--config", str(config)]
        self._server = Server(self.directory, port, ["serve", *flags])
        self._server.wait_until_ready(START_SECONDS)
        return self._connect()

    def start_upstream(self, engine: str) -> FeastLab:
        """Serve the repository with Feast's own offline server over one of its engines instead."""
        self._write_yaml(self.repo, {"offline_store": {"type": engine}})
        self._server = UpstreamServer(self.directory, self.repo, free_port())
        self._server.wait_until_ready(UPSTREAM_SECONDS)
        return self._connect()

    def _connect(self) -> FeastLab:
        offline = {"type": self.offline_store, "host": "127.0.0.1", "port": self.server.port}
        online = {"type": "sqlite", "path": str(self.client / "online.db")}
        if self.online_store is not None:
            online = self.online_options(**self.online_store)
        self._write_yaml(self.client, {"offline_store": offline, "online_store": online})
        self.store = FeatureStore(repo_path=str(self.client))
        return self

    def online_options(self, **options: Any) -> dict[str, Any]:
        """The block of an online store over the running server."""
        own = {"type": "feast_murre.MurreOnlineStore", "host": "127.0.0.1", "port": self.server.port}
        return {**own, **options}

    def restart(self) -> None:
        """Kill the server and start it again, at the same port."""
        self.server.process.kill()
        self.server.process.wait()
        flags = ["--feast-repo", str(self.repo), "--listen", f"127.0.0.1:{self.server.port}"]
        self._server = Server(self.directory, self.server.port, ["serve", *flags])
        self._server.wait_until_ready(START_SECONDS)

    def _write_yaml(self, folder: Path, more: dict[str, Any]) -> None:
        settings = {
            "project": "lab",
            "registry": self.registry,
            "provider": "local",
            "entity_key_serialization_version": 3,
            **more,
        }
        (folder / "feature_store.yaml").write_text(yaml.safe_dump(settings))

    @property
    def server(self) -> Process:
        """The running server."""
        assert self._server is not None, "the lab is not started"
        return self._server

    def stop(self) -> None:
        """Stop the server if it was started."""
        if self._server is not None:
            self._server.stop()


class UpstreamServer(Process):
    """`feast serve_offline` of the installed Feast."""

    def __init__(self, directory: Path, repo: Path, port: int) -> None:
        """Start it on `port`."""
        command = [*feast_command(), "-c", repo, "serve_offline", "-h", "127.0.0.1", "-p", port]
        super().__init__(command, port, directory / "upstream.log", cwd=directory)


def feast_command() -> list[str]:
    """Feast's command line, of the environment that the tests run in."""
    return [str(Path(sys.executable).parent / "feast")]
