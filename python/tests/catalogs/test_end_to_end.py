"""What a team does, once on every catalog: two servers over the same tables, from the first write to compaction."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from harness.client import historical_request
from harness.frames import at, drivers
from harness.lab import Lab
from harness.polling import eventually
from harness.reference import naive_join, rows_of

KEY = ["driver_id"]
FEATURES = ["rate", "trips"]
TYPES = {"rate": pa.float64(), "trips": pa.int64()}
DEFINITION = {
    "join_keys": [{"name": "driver_id", "type": "INT64"}],
    "features": [{"name": "rate", "type": "DOUBLE"}, {"name": "trips", "type": "INT64"}],
}
FRAME = drivers(*((key, at(minutes=minute)) for key in range(25) for minute in range(-70, 300, 45)))


def stats(hour: int, count: int = 20) -> pa.Table:
    """A row for each driver at one hour."""
    return drivers(*((key, at(hours=hour), key / 8, hour * 1_000 + key) for key in range(count)), extra=TYPES)


@pytest.fixture(scope="module")
def labs(start_over: Callable[..., Lab], project: str) -> list[Lab]:
    """Two servers with the same definitions, over tables that are yet to be made."""

    def fill(lab: Lab) -> None:
        for view in ("stats", "imported"):
            lab.definitions.view(view, f"{project}.{view}", KEY, ttl="2h")
        features = [{"view": "stats", "features": FEATURES}]
        lab.definitions.service("all", features)

    sections: dict[str, dict[str, Any]] = {"online": {"partition_count": 4, "read_timeout_ms": 60_000}}
    return [start_over(fill, **sections) for _ in range(2)]


def online(lab: Lab, view: str, *drivers: int, **options: Any) -> list[Any]:
    request = {
        "features": [f"{view}:trips"],
        "entity_keys": {"driver_id": list(drivers)},
        "ignore_ttl": True,
        **options,
    }
    return lab.client.get({"online": request})["trips"].to_pylist()


def test_features_of_the_past(labs: list[Lab], project: str) -> None:
    writer, reader = labs
    for hour in range(4):
        writer.client.write("stats", stats(hour), to="offline", definition=DEFINITION)
    source = writer.warehouse.catalog.load_table(f"{project}.stats").scan().to_arrow()
    assert len(source) == 80
    wanted = naive_join(FRAME, source, KEY, FEATURES, ttl=at(hours=2) - at())
    assert rows_of(reader.client.historical(FRAME, [f"stats:{name}" for name in FEATURES])) == wanted
    assert rows_of(reader.client.exchange(FRAME, "all")) == wanted
    upload = reader.client.upload(FRAME)
    planned = reader.client.info(historical_request("all", {"upload": upload["upload"]}))
    assert rows_of(reader.client.get_info(planned)) == wanted


def test_latest_features(labs: list[Lab], project: str) -> None:
    writer, reader = labs
    writer.client.write("live", stats(0), definition=DEFINITION)
    answer = writer.client.write("live", stats(1, 5), definition=DEFINITION)
    wanted = [1_000, 1_004, 5, 19, None]
    assert online(reader, "live", 0, 4, 5, 19, 20, token=answer["token"]) == wanted
    eventually(lambda: online(writer, "live", 0, 4, 5, 19, 20) == wanted)
    assert "25 rows → 20" in writer.run("maintain", "compact", "--feature-view", "live")
    table = writer.warehouse.catalog.load_table(f"online.{project}_live")
    assert table.current_snapshot().summary.operation.value == "replace"
    assert sorted(table.scan().to_arrow()["trips"].to_pylist()) == [*range(5, 20), *range(1_000, 1_005)]
    reader.restart()
    assert online(reader, "live", 0, 4, 5, 19, 20) == wanted
    writer.client.write("live", stats(2, 1), definition=DEFINITION)
    eventually(lambda: online(reader, "live", 0, 1) == [2_000, 1_001])


def test_imported_features(labs: list[Lab], project: str, tmp_path: Path) -> None:
    writer, reader = labs
    pq.write_table(stats(0), tmp_path / "stats.parquet")
    writer.run("import", str(tmp_path / "stats.parquet"), "--feature-view", "imported")
    source = writer.warehouse.catalog.load_table(f"{project}.imported").scan().to_arrow()
    wanted = naive_join(FRAME, source, KEY, FEATURES, ttl=at(hours=2) - at())
    assert len(source) == 20
    assert rows_of(reader.client.historical(FRAME, [f"imported:{name}" for name in FEATURES])) == wanted
