"""Runs `murre maintain` beside a server, as a schedule does, and kills some of the runs."""

from __future__ import annotations

import itertools
import subprocess
import threading
from random import Random

from pyiceberg.exceptions import CommitFailedException

from harness.lab import Lab

# What a run prints about a failure.
WORDS = 2_000
KILLED_SHARE = 0.5
MOST_SECONDS = 1.0
PAUSE_SECONDS = 0.1
RUN_SECONDS = 60


# Iceberg's own properties of what expiry keeps; only `expire --force-younger` goes below an hour.
SHORT_HISTORY = {"history.expire.max-snapshot-age-ms": "5000", "history.expire.min-snapshots-to-keep": "1"}


def shorten_history(lab: Lab, table: str) -> None:
    """Let a table's snapshots expire soon."""
    try:
        with lab.warehouse.catalog.load_table(table).transaction() as change:
            change.set_properties(SHORT_HISTORY)
    except CommitFailedException:  # The server wrote at the same time.
        shorten_history(lab, table)


def offered(lab: Lab, verb: str) -> bool:
    """Whether the binary has a command."""
    asked = lab.command("maintain", *verb.split(), "--help")
    return subprocess.run(asked, capture_output=True, check=False).returncode == 0


class Maintainer:
    """Runs commands in turn until it is told to stop; what is not killed must succeed."""

    def __init__(self, lab: Lab, commands: list[str], chance: Random) -> None:
        """`commands` are what follows `murre maintain`."""
        self.lab, self.commands, self.chance = lab, commands, chance
        self.killed, self.finished = 0, 0

    def run_until(self, stopped: threading.Event) -> None:
        """Run one after the other."""
        for command in itertools.cycle(self.commands):
            if stopped.wait(PAUSE_SECONDS):
                return
            self.run(command)

    def run(self, command: str) -> None:
        """Run one, or kill it some time after it began."""
        arguments = self.lab.command("maintain", *command.split())
        seconds = self.chance.uniform(0, MOST_SECONDS) if self.chance.random() < KILLED_SHARE else RUN_SECONDS
        try:
            done = subprocess.run(arguments, capture_output=True, text=True, timeout=seconds, check=False)
        except subprocess.TimeoutExpired:  # Which `run` kills it upon.
            assert seconds < RUN_SECONDS, f"maintain {command} takes more than {RUN_SECONDS} s"
            self.killed += 1
            return
        told = (done.stdout + done.stderr)[-WORDS:]
        assert done.returncode == 0, f"maintain {command} ended with {done.returncode}:\n{told}"
        self.finished += 1
