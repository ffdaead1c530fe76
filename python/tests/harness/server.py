"""Starts the real server binary and stops it again; the only place that knows its command line and configuration."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

from harness.definitions import to_section
from harness.process import Process, accepts_connections, free_port

__all__ = ["START_SECONDS", "Server", "accepts_connections", "binary", "free_port"]

START_SECONDS = 30


def binary() -> Path:
    """The server under test, from MURRE_BIN; there is no guessing, so that nobody tests yesterday's build."""
    name = os.environ.get("MURRE_BIN")
    if not name:
        raise RuntimeError(
            "MURRE_BIN is not set: build the server with `cargo build` in the repository's root "
            "and set MURRE_BIN to the path of the `murre` binary"
        )
    found = shutil.which(name)
    if found is None:
        raise RuntimeError(f"MURRE_BIN={name} is not an executable file")
    return Path(found).resolve()


class Server(Process):
    """A running `murre` process."""

    def __init__(self, directory: Path, port: int, arguments: list[str], **options: Any) -> None:
        """Start the binary with `arguments` in `directory`; `options` go to Popen."""
        self.directory, self.arguments, self.options = directory, arguments, options
        super().__init__([binary(), *arguments], port, directory / "server.log", cwd=directory, **options)

    @classmethod
    def serve(cls, directory: Path, sections: dict[str, dict[str, Any]], **options: Any) -> Server:
        """Write murre.toml from `sections` into `directory` and serve it; `options` go to Popen."""
        port = free_port()
        config = {"server": {"listen": f"127.0.0.1:{port}"}}
        for name, values in sections.items():
            config[name] = {**config.get(name, {}), **values}
        path = directory / "murre.toml"
        path.write_text("\n".join(to_section(f"[{name}]", values) for name, values in config.items()))
        server = cls(directory, port, ["serve", "--config", str(path)], **options)
        server.wait_until_ready(START_SECONDS)
        return server

    def start_again(self) -> Server:
        """Start the same once more, at the same port, after it has ended."""
        server = Server(self.directory, self.port, self.arguments, **self.options)
        server.wait_until_ready(START_SECONDS)
        return server

    @property
    def location(self) -> str:
        """Where Flight clients connect to."""
        return f"grpc://127.0.0.1:{self.port}"
