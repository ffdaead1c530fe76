"""The same retrieval through Feast's own server over DuckDB and over Dask, and through Murre, row by row.

Every expectation is what that server answered when docs/feast.md was written; a difference in either direction means
that the note there is out of date.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pandas as pd
import pytest
from drivers import DRIVER, STATS_SCHEMA, frame, plain, stats_source, view
from feast_lab import FeastLab
from harness.frames import at

ROWS = [
    ("match", 1, at(), 1),
    ("duplicate", 1, at(), 2),
    ("tie", 2, at(), 3),
    ("future only", 3, at(), 4),
    ("expired only", 4, at(), 5),
    ("null in the match", 5, at(), 6),
    ("unknown key", 9, at(), 7),
    ("null key", None, at(), 8),
]


def answers(lab: FeastLab) -> list[tuple[int, Any, Any]]:
    """(row, trips, city) of each row that came back, by the row's number."""
    lab.store.apply([DRIVER, view("stats", stats_source(lab, "parquet"), STATS_SCHEMA)])
    rows = frame(*(row[1:] for row in ROWS), columns=("driver_id", "event_timestamp", "row"))
    found = lab.store.get_historical_features(entity_df=rows, features=["stats:trips", "stats:city"]).to_df()
    found = found.sort_values("row")
    return list(zip(found["row"], plain(found["trips"]), plain(found["city"]), strict=True))


RIGHT = [
    (1, 30, "Rome"),
    (2, 30, "Rome"),
    (3, 70, "Bern"),
    (4, None, None),
    (5, None, None),
    (6, None, None),
    (7, None, None),
    (8, None, None),
]


def test_murre(new_lab: Callable[..., FeastLab]) -> None:
    assert answers(new_lab().start()) == RIGHT


@pytest.mark.parametrize("engine", ["duckdb", "dask"])
def test_upstream(new_lab: Callable[..., FeastLab], engine: str) -> None:
    found = answers(new_lab().start_upstream(engine))
    print(pd.DataFrame(found))
    assert found == RIGHT
