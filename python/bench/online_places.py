"""The stores that are measured: started, loaded, weighed and stopped. The only part that knows how to run them."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa
from harness.definitions import to_section
from harness.server import START_SECONDS, Server, accepts_connections, free_port
from online_data import PROJECT, VIEW, apply, definition, feast_rows, write_repo
from pyarrow import flight

FEAST_CHUNK = 5_000


def resident_bytes(pid: int) -> int:
    """Resident memory of a process, once it stops falling."""
    read = lambda: next(  # noqa: E731
        int(line.split()[1]) * 1024
        for line in Path(f"/proc/{pid}/status").read_text().splitlines()
        if line.startswith("VmRSS")
    )
    least, settled = read(), 0
    for _ in range(60):
        time.sleep(1)
        now = read()
        settled = settled + 1 if now >= least * 0.995 else 0
        least = min(now, least)
        # Allocators give pages back in their own time: jemalloc takes ten seconds.
        if settled == 12:
            break
    return least


def folder_bytes(folder: Path) -> int:
    """Size of all files below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


class FeastStore:
    """A feature repository whose online store is written through Feast's own interface."""

    def __init__(self, folder: Path, registry: Path, online_store: dict[str, Any]) -> None:
        """Write the repository and apply the definitions."""
        from feast import FeatureStore

        write_repo(folder, registry, online_store)
        apply(folder)
        self.folder = folder
        self.store = FeatureStore(repo_path=str(folder))
        self.view = self.store.get_feature_view(VIEW)

    def write(self, rows: Iterable[Any]) -> None:
        """Store rows that are ready for the online store, so that only its own work is measured."""
        rows = list(rows)
        provider = self.store._get_provider()
        for start in range(0, len(rows), FEAST_CHUNK):
            provider.online_write_batch(self.store.config, self.view, rows[start : start + FEAST_CHUNK], None)

    def load(self, table: pa.Table) -> None:
        """Store a table in pieces, so that its rows as Python objects stay few."""
        for start in range(0, len(table), 20 * FEAST_CHUNK):
            self.write(feast_rows(table.slice(start, 20 * FEAST_CHUNK)))


class Redis:
    """A redis-server of our own on a free port, without persistence."""

    def __init__(self, directory: Path) -> None:
        """Start it and wait until it answers."""
        from redis import Redis as Client

        self.port = free_port()
        arguments = ["--port", str(self.port), "--save", "", "--appendonly", "no", "--bind", "127.0.0.1"]
        with (directory / "redis.log").open("wb") as log:
            self.process = subprocess.Popen(["redis-server", *arguments], stdout=log, stderr=log, cwd=directory)
        while not accepts_connections(self.port):
            if self.process.poll() is not None:
                raise SystemExit(f"redis-server did not start:\n{(directory / 'redis.log').read_text()}")
            time.sleep(0.05)
        self.client = Client(port=self.port)

    def memory(self) -> dict[str, int]:
        """What Redis counts as used, and what the system does."""
        return {
            "used_bytes": int(self.client.info("memory")["used_memory"]),
            "resident_bytes": resident_bytes(self.process.pid),
        }

    def stop(self) -> None:
        """End it."""
        self.process.terminate()
        self.process.wait(30)


class Murre:
    """A server over a SQLite catalog, and its client for writes."""

    def __init__(self, directory: Path, registry: Path) -> None:
        """Prepare the folder; `start` starts the server."""
        self.directory = directory
        self.repo = directory / "server"
        self.registry = registry
        self.port = free_port()
        write_repo(self.repo, registry, {"type": "sqlite", "path": str(directory / "unused.db")})
        self.server: Server

    @property
    def warehouse(self) -> dict[str, Any]:
        """The catalog's settings."""
        return {
            "type": "sql",
            "uri": f"sqlite:///{self.directory / 'catalog.db'}",
            "warehouse": (self.directory / "warehouse").as_uri(),
        }

    def start(self) -> Murre:
        """Start the server, at the same port each time."""
        online = {"catalog": "default", "read_timeout_ms": 10_000, "cache_size": "2GiB"}
        sections = {"catalogs.default": self.warehouse, "online": online}
        config = self.directory / "murre.toml"
        config.write_text("\n".join(to_section(f"[{name}]", values) for name, values in sections.items()))
        flags = ["--feast-repo", str(self.repo), "--config", str(config), "--listen", f"127.0.0.1:{self.port}"]
        self.server = Server(self.directory, self.port, ["serve", *flags])
        self.server.wait_until_ready(START_SECONDS)
        return self

    def write(self, table: pa.Table, view: str = VIEW) -> dict[str, Any]:
        """One DoPut into the online table; what the server says about it."""
        write = {"feature_view": view, "to": "online", "definition": definition()}
        descriptor = flight.FlightDescriptor.for_command(json.dumps({"project": PROJECT, "write": write}))
        with flight.connect(self.server.location) as client:
            writer, reader = client.do_put(descriptor, table.schema)
            with writer:
                writer.write_table(table, 64 * 1024)
                writer.done_writing()
                reply = reader.read()
        return json.loads(reply.to_pybytes())

    def storage_bytes(self) -> int:
        """Size of all files of all tables, those of old snapshots with them."""
        return folder_bytes(self.directory / "warehouse")

    def stop(self) -> None:
        """Stop the server."""
        self.server.stop()
