"""A progress bar for rows on the wire, where one is wanted and nobody brought their own."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

from feast_murre.wire import Progress

VARIABLE = "FEAST_MURRE_PROGRESS"
"""Environment variable that turns the bar on: anything but empty, `0` or `false`."""


def is_wanted(configured: bool) -> bool:
    """Whether the configuration or the environment asks for a bar."""
    return configured or os.environ.get(VARIABLE, "").lower() not in ("", "0", "false")


@contextmanager
def shown(title: str, progress: Progress | None, wanted: bool) -> Iterator[Progress | None]:
    """The given callable, or a bar if that is wanted, or nothing."""
    if progress is not None or not wanted:
        yield progress
        return
    from tqdm import tqdm

    with tqdm(desc=title, unit=" rows", unit_scale=True) as bar:
        yield bar.update
