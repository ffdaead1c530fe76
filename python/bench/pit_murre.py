"""Measures historical retrieval through Murre as its clients see it: upload, DoGet and the whole result in memory.

- `murre`: the request by itself; the server keeps no columns of earlier requests.
- `murre_again`: a later request for an unchanged table, with entity rows that were not asked for before.

CPU and peak memory are the server's, which is started for each measurement.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.flight as flight
from harness.client import Client
from harness.definitions import Definitions
from harness.server import Server
from harness.warehouse import Warehouse
from pit_layouts import table_of
from pit_measure import Case, Measurement, in_order, measure
from pit_views import TTL_DAYS, VIEWS

MURRE, MURRE_AGAIN = "murre", "murre_again"
Sections = dict[str, dict[str, Any]]


def parse_settings(settings: list[str]) -> Sections:
    """Settings such as `engine.threads=1` as sections of the configuration; what is not JSON is text."""
    sections: Sections = {}
    for setting in settings:
        path, _, text = setting.partition("=")
        section, _, key = path.rpartition(".")
        try:
            value = json.loads(text)
        except json.JSONDecodeError:
            value = text
        sections.setdefault(section, {})[key] = value
    return sections


def definitions(layout: str) -> str:
    """The views over the tables of a layout."""
    text = Definitions("bench")
    for view in VIEWS:
        options = {"ttl": f"{TTL_DAYS}d", "created_timestamp_column": "created", "features": list(view.features)}
        text.view(view.name, table_of(view, layout), [view.key], **options)
    return text.render()


@contextmanager
def served(warehouse: Warehouse, layout: str, sections: Sections) -> Iterator[Server]:
    """A server over a layout's tables."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        (directory / "features.toml").write_text(definitions(layout))
        registry = {"type": "toml", "path": str(directory / "features.toml")}
        server = Server.serve(directory, {"catalogs.default": warehouse.config(), "registry": registry, **sections})
        try:
            yield server
        finally:
            server.stop()


def measure_murre(
    warehouse: Warehouse, case: Case, frame_of: Callable[[int], pa.Table], repeat: int, sections: Sections
) -> Measurement:
    """Measure one of the two; `frame_of` gives dataframes by their offset, of which all engines answer 0."""
    again = case.engine == MURRE_AGAIN
    refs = [f"{view.name}:{feature}" for view in VIEWS[: case.views] for feature in view.features]
    offsets = [*range(repeat, 0, -1), 0] if again else [0] * (repeat + 1)
    with served(warehouse, case.layout, sections) as server:
        client = Client(server.location)
        frames = map(frame_of, offsets)
        try:
            return measure(case, frames, server.pid, lambda frame: client.historical(frame, refs), in_order)
        except flight.FlightError as refusal:
            return Measurement(case, failure=f"FAILED: {str(refusal).splitlines()[0]}")
