"""Waiting for something to become true, in place of sleeping and hoping."""

from __future__ import annotations

import time
from collections.abc import Callable


def eventually(condition: Callable[[], bool], seconds: float = 20) -> float:
    """Ask until `condition` holds; return the seconds that it took, or fail when time is up."""
    start = time.monotonic()
    while not condition():
        assert time.monotonic() - start < seconds, f"not true after {seconds} s: {condition.__qualname__}"
        time.sleep(0.05)
    return time.monotonic() - start
