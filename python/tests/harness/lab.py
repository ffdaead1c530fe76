"""A warehouse, its definitions and a server over them: what one test module needs."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyiceberg.table import Table

from harness.client import Client
from harness.definitions import Definitions
from harness.server import Server, binary
from harness.warehouse import Warehouse


class Lab:
    """Fill `warehouse` and `definitions`, `start`, then ask `client`."""

    def __init__(self, directory: Path, warehouse: Warehouse | None = None) -> None:
        """Prepare an empty lab in a directory of its own, over a warehouse of its own unless there is one."""
        self.directory = directory
        self.warehouse = warehouse or Warehouse(directory / "data")
        self.definitions = Definitions()
        self.features_path = directory / "features.toml"
        self._server: Server | None = None
        self._client: Client | None = None
        self._sections: dict[str, dict[str, Any]] = {}
        #: Options of the server's process, for Popen.
        self.process: dict[str, Any] = {}

    def add(
        self, view: str, keys: list[str], *batches: pa.Table, write: dict[str, Any] | None = None, **options: Any
    ) -> Table:
        """Write a table `lab.<view>` and define a view over it; `options` go to the definitions."""
        table = self.warehouse.write(f"lab.{view}", *batches, **(write or {}))
        self.definitions.view(view, f"lab.{view}", keys, **options)
        return table

    def publish(self) -> None:
        """Write the definitions where the server reads them."""
        self.features_path.write_text(self.definitions.render())

    def start(self, **sections: dict[str, Any]) -> Lab:
        """Serve the lab; `sections` add to the configuration file, with `_` for a dot."""
        self.publish()
        config = {
            "catalogs.default": self.warehouse.config(),
            "registry": {"type": "toml", "path": str(self.features_path)},
            **{name.replace("_", "."): values for name, values in sections.items()},
        }
        self._sections = sections
        self._server = Server.serve(self.directory, config, **self.process)
        self._client = Client(self._server.location)
        return self

    def restart(self) -> Lab:
        """Stop the server and serve the same again."""
        self.stop()
        return self.start(**self._sections)

    def crash(self) -> None:
        """Kill the server and start it again over the same data, at the same port; clients are left to themselves."""
        self.server.crash()
        self._server = self.server.start_again()

    def command(self, *arguments: str) -> list[str]:
        """A command of the binary with the lab's configuration."""
        return [str(binary()), *arguments, "--config", str(self.directory / "murre.toml")]

    def run(self, *arguments: str) -> str:
        """Run a command of the binary with the lab's configuration, beside the server; what it prints."""
        command = self.command(*arguments)
        done = subprocess.run(command, cwd=self.directory, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise RuntimeError(f"{arguments} ended with {done.returncode}:\n{done.stderr}")
        return done.stdout

    @property
    def server(self) -> Server:
        """The running server."""
        if self._server is None:
            raise RuntimeError("the lab is not started")
        return self._server

    @property
    def client(self) -> Client:
        """A connection to the running server."""
        if self._client is None:
            raise RuntimeError("the lab is not started")
        return self._client

    def stop(self) -> None:
        """Stop the server if it was started."""
        if self._client is not None:
            self._client.flight.close()
        if self._server is not None:
            self._server.stop()
