"""One logical write, however often it has to be sent: its name stays, and its progress is told once.

A server that has committed a write answers a repetition of its name with the first outcome, so that a lost answer is
asked for again without rows being there twice.
"""

import time
import uuid
from collections.abc import Callable
from typing import Any, TypeVar

import pyarrow.flight as fl

Outcome = TypeVar("Outcome")

_FIRST_PAUSE_SECONDS = 0.25

_UNCLEAR = (fl.FlightUnavailableError, fl.FlightCancelledError, fl.FlightTimedOutError)
"""What a write may fail with after it was carried out."""


class LogicalWrite:
    """A write with a name of its own."""

    def __init__(self, progress: Callable[[int], Any] | None, retries: int) -> None:
        """Name it; `progress` hears about rows, `retries` is how often it is sent again."""
        self.idempotency_key = str(uuid.uuid4())
        self._progress = progress
        self._retries = retries
        self._told = 0
        self._sent = 0

    def run(self, send: Callable[[], Outcome]) -> Outcome:
        """Send it until its outcome is known; `send` is to use the key, and to tell `sent` about rows."""
        for attempt in range(self._retries + 1):
            self._sent = 0
            try:
                return send()
            except _UNCLEAR:
                if attempt == self._retries:
                    raise
                time.sleep(_FIRST_PAUSE_SECONDS * 2**attempt)
        raise AssertionError("unreachable")

    def sent(self, rows: int) -> None:
        """Pass on rows that were not passed on before."""
        self._sent += rows
        if self._progress is not None and self._sent > self._told:
            self._progress(self._sent - self._told)
            self._told = self._sent
