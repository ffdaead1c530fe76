"""Entity dataframes given as SQL: refused by default, one read-only SELECT where allowed."""

from __future__ import annotations

from collections.abc import Callable

import pyarrow as pa
import pytest
from drivers import DRIVER, STATS_SCHEMA, plain, stats_source, view
from feast import FeatureStore, Field
from feast.errors import FeastError
from feast.types import Int64
from feast_lab import FeastLab
from harness.frames import INSTANT, at, table
from pyarrow.flight import FlightError

SELECT = "SELECT driver_id, event_timestamp, fare FROM lab.rides WHERE fare > 1 ORDER BY fare DESC"


def fill(lab: FeastLab) -> FeastLab:
    """Apply a view and a table of rides to choose entity rows from."""
    rows = table(
        {"driver_id": pa.int64(), "event_timestamp": INSTANT, "fare": pa.int64()},
        (1, at(), 3), (1, at(), 1), (2, at(), 4), (9, at(), 2),
    )  # fmt: skip
    rides = lab.iceberg("rides", rows, timestamp_field="event_timestamp")
    stats = view("stats", stats_source(lab, "iceberg"), STATS_SCHEMA)
    lab.store.apply([DRIVER, stats, view("rides", rides, [Field(name="fare", dtype=Int64)])])
    return lab


@pytest.fixture(scope="module")
def allowed(new_lab: Callable[..., FeastLab]) -> FeatureStore:
    return fill(new_lab().start(entity_sql={"enabled": True})).store


def ask(store: FeatureStore, query: str) -> list[object]:
    found = store.get_historical_features(entity_df=query, features=["stats:trips"]).to_df()
    return plain(found["trips"])


def test_refused_by_default(new_lab: Callable[..., FeastLab]) -> None:
    lab = fill(new_lab().start())
    with pytest.raises(Exception, match=r"entity_sql\.enabled"):
        ask(lab.store, SELECT)


def test_a_select_over_a_table(allowed: FeatureStore) -> None:
    assert ask(allowed, SELECT) == [70, 30, None]


def test_a_select_over_a_view(allowed: FeatureStore) -> None:
    assert ask(allowed, "SELECT DISTINCT driver_id, event_timestamp FROM rides WHERE driver_id = 1") == [30]


@pytest.mark.parametrize(
    "query",
    [
        "SELECT 1; SELECT 2",
        "DROP TABLE lab.rides",
        "INSERT INTO lab.rides SELECT * FROM lab.rides",
        "COPY (SELECT 1) TO '/tmp/stolen.parquet'",
        "CREATE EXTERNAL TABLE x STORED AS CSV LOCATION '/etc/passwd'",
        "SELECT * FROM '/etc/passwd'",
        "SELECT * FROM lab.no_such_table",
        "SELECT * FROM information_schema.tables",
        "SET datafusion.execution.batch_size = 1",
    ],
)
def test_nothing_else(allowed: FeatureStore, query: str) -> None:
    with pytest.raises((ValueError, KeyError, FlightError, FeastError)):
        ask(allowed, query)
    assert ask(allowed, SELECT) == [70, 30, None]
