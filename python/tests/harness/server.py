"""Starts the real server binary and stops it again; the only place that knows its command line and configuration."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import Any

from harness.definitions import to_section

START_SECONDS = 30
STOP_SECONDS = 30


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


def free_port() -> int:
    """A port that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def accepts_connections(port: int) -> bool:
    """Whether somebody listens on the port."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


class Server:
    """A running `murre` process, its port and its log."""

    def __init__(self, directory: Path, port: int, arguments: list[str]) -> None:
        """Start the binary with `arguments` in `directory` and wait until `port` answers."""
        self.port = port
        self.log_path = directory / "server.log"
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(
                [str(binary()), *arguments], cwd=directory, stdout=log, stderr=subprocess.STDOUT
            )

    @classmethod
    def serve(cls, directory: Path, sections: dict[str, dict[str, Any]]) -> Server:
        """Write murre.toml from `sections` into `directory` and serve it."""
        port = free_port()
        config = {"server": {"listen": f"127.0.0.1:{port}"}}
        for name, values in sections.items():
            config[name] = {**config.get(name, {}), **values}
        path = directory / "murre.toml"
        path.write_text("\n".join(to_section(f"[{name}]", values) for name, values in config.items()))
        server = cls(directory, port, ["serve", "--config", str(path)])
        server.wait_until_ready(START_SECONDS)
        return server

    @property
    def location(self) -> str:
        """Where Flight clients connect to."""
        return f"grpc://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        """The operating system's process id."""
        return self.process.pid

    def wait_until_ready(self, seconds: float) -> None:
        """Return when the port answers; raise with the log if the process ends or takes too long."""
        deadline = time.monotonic() + seconds
        while not accepts_connections(self.port):
            code = self.process.poll()
            if code is not None:
                raise RuntimeError(f"the server exited with code {code} before it listened:\n{self.log()}")
            if time.monotonic() > deadline:
                self.process.kill()
                raise RuntimeError(f"the server does not listen after {seconds} s:\n{self.log()}")
            time.sleep(0.05)

    def is_running(self) -> bool:
        """Whether the process is still there."""
        return self.process.poll() is None

    def stop(self) -> int:
        """Ask the server to drain and exit; return its exit code."""
        if self.is_running():
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise RuntimeError(f"the server did not stop within {STOP_SECONDS} s:\n{self.log()}") from None

    def log(self, last_bytes: int = 8_000) -> str:
        """The end of what the server wrote."""
        return self.log_path.read_bytes()[-last_bytes:].decode(errors="replace")
