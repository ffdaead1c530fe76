"""A program that the tests start beside themselves, with a port that answers and a log that explains failures."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import Any

STOP_SECONDS = 30


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


class Process:
    """A running program, its port and its log."""

    name = "the server"

    def __init__(self, command: list[Any], port: int, log_path: Path, **options: Any) -> None:
        """Start `command`, which is to listen on `port`; `options` go to Popen."""
        self.port = port
        self.log_path = log_path
        with log_path.open("ab") as log:
            arguments = [str(part) for part in command]
            self.process = subprocess.Popen(arguments, stdout=log, stderr=subprocess.STDOUT, **options)

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
                raise RuntimeError(f"{self.name} exited with code {code} before it listened:\n{self.log()}")
            if time.monotonic() > deadline:
                self.process.kill()
                raise RuntimeError(f"{self.name} does not listen after {seconds} s:\n{self.log()}")
            time.sleep(0.05)

    def is_running(self) -> bool:
        """Whether the process is still there."""
        return self.process.poll() is None

    def stop(self) -> int:
        """Ask the program to end; return its exit code."""
        if self.is_running():
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise RuntimeError(f"{self.name} did not stop within {STOP_SECONDS} s:\n{self.log()}") from None

    def crash(self) -> None:
        """End the program as a machine does that loses its power."""
        self.process.kill()
        self.process.wait(STOP_SECONDS)

    def stop_session(self) -> None:
        """End a program that was started with `start_new_session`, and the programs that it started."""
        if self.is_running():
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(STOP_SECONDS)

    def log(self, last_bytes: int = 8_000) -> str:
        """The end of what the program wrote."""
        return self.log_path.read_bytes()[-last_bytes:].decode(errors="replace")
