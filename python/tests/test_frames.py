"""What entity dataframes may look like, and that they come back row by row as they went up."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from harness.client import Client
from harness.frames import INSTANT, at, drivers, table
from harness.lab import Lab
from harness.reference import naive_join, plain, rows_of

FEATURES = drivers(
    (1, at(hours=-2), 0.1),
    (1, at(hours=-1), 0.2),
    (2, at(hours=-3), 0.3),
    (2, at(), 0.4),
    (3, at(hours=5), 0.5),
    (None, at(hours=-1), 0.6),
    (1, None, 0.7),
    extra={"conv_rate": pa.float64()},
)
REF = ["stats:conv_rate"]


@pytest.fixture(scope="module")
def lab(start_lab: Callable[..., Lab]) -> Lab:
    """A small view with a ttl, the same without one, and one whose event time has no zone."""

    def fill(lab: Lab) -> None:
        lab.add("stats", ["driver_id"], FEATURES, ttl="2h")
        lab.definitions.view("all_time", "lab.stats", ["driver_id"])
        naive = table(
            {"driver_id": pa.int64(), "event_timestamp": pa.timestamp("us"), "conv_rate": pa.float64()},
            *((row["driver_id"], row["event_timestamp"], row["conv_rate"]) for row in naive_rows()),
        )
        lab.add("naive", ["driver_id"], naive, ttl="2h")

    return start_lab(fill)


def naive_rows() -> list[dict[str, Any]]:
    """The features with event times that lost their zone."""
    strip = [row["event_timestamp"] and row["event_timestamp"].replace(tzinfo=None) for row in FEATURES.to_pylist()]
    return [{**row, "event_timestamp": time} for row, time in zip(FEATURES.to_pylist(), strip, strict=True)]


def expect(frame: pa.Table) -> list[dict[str, Any]]:
    """What the view answers for a frame."""
    return naive_join(frame, FEATURES, ["driver_id"], ["conv_rate"], ttl=timedelta(hours=2))


def test_order_duplicates_and_extra_columns_are_kept(lab: Lab) -> None:
    frame = drivers(
        (3, at(), "a", 1),
        (2, at(), "b", 2),
        (1, at(), None, 3),
        (2, at(), "b", 2),
        (2, at(), "b", None),
        (None, at(), "e", 6),
        (9, at(), "f", 7),
        (1, at(hours=-1), "g", 8),
        (1, at(hours=1), "h", 9),
        (1, at(hours=1, microseconds=1), "i", 9),
        extra={"label": pa.string(), "weight": pa.int16()},
    ).select(["label", "event_timestamp", "weight", "driver_id"])
    result = lab.client.historical(frame, REF)
    assert result.column_names == ["label", "event_timestamp", "weight", "driver_id", "conv_rate"]
    assert rows_of(result) == expect(frame)
    assert result.schema.field("weight").type == pa.int16()


def test_the_window_includes_both_ends(lab: Lab) -> None:
    frame = drivers(*((2, at(microseconds=offset)) for offset in (-1, 0, 1, 7_200_000_000, 7_200_000_001)))
    assert lab.client.historical(frame, REF)["conv_rate"].to_pylist() == [None, 0.4, 0.4, 0.4, None]


def test_no_rows_give_no_rows_and_the_schema(lab: Lab) -> None:
    frame = drivers(extra={"label": pa.string()})
    for result in (lab.client.historical(frame, REF), lab.client.exchange(frame, REF)):
        assert len(result) == 0
        assert result.column_names == ["driver_id", "event_timestamp", "label", "conv_rate"]
        assert result.schema.field("conv_rate").type == pa.float64()


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
@pytest.mark.parametrize("zone", [None, "UTC", "Europe/Berlin", "+05:30", "America/St_Johns"])
@pytest.mark.parametrize("view", ["stats", "naive"])
def test_units_and_zones_mean_the_same_instant(lab: Lab, unit: str, zone: str | None, view: str) -> None:
    instants = [at(hours=-2), at(hours=-1), at(), at(seconds=-1), at(hours=1), at(hours=7)]
    plain_frame = drivers(*((key, time) for key in (1, 2, 3) for time in instants))
    times = plain_frame["event_timestamp"].cast(pa.timestamp(unit, tz="UTC")).cast(pa.timestamp(unit, tz=zone or "UTC"))
    if zone is None:
        times = times.cast(pa.timestamp(unit))
    frame = plain_frame.set_column(1, "event_timestamp", times)
    assert rows_of(lab.client.historical(frame, [f"{view}:conv_rate"])) == expect(plain_frame)


def test_zone_is_kept_as_an_instant(lab: Lab) -> None:
    berlin = ZoneInfo("Europe/Berlin")
    local = [datetime(2026, 3, 29, 1, 30, tzinfo=berlin), datetime(2026, 10, 25, 2, 30, tzinfo=berlin, fold=1)]
    frame = pa.table({"driver_id": [1, 1], "event_timestamp": pa.array(local, pa.timestamp("us", tz="Europe/Berlin"))})
    result = lab.client.historical(frame, REF)
    assert plain(result["event_timestamp"].to_pylist()) == plain(local)


def test_nanoseconds_are_compared_exactly(lab: Lab) -> None:
    base = pa.scalar(at(), INSTANT).cast(pa.timestamp("ns", tz="UTC")).value
    two_hours = 7_200_000_000_000
    times = pa.array([base - 1, base, base + two_hours, base + two_hours + 1]).cast(pa.timestamp("ns", tz="UTC"))
    frame = pa.table({"driver_id": [2] * 4, "event_timestamp": times})
    result = lab.client.historical(frame, REF)
    assert result["conv_rate"].to_pylist() == [None, 0.4, 0.4, None]
    assert result["event_timestamp"].cast(pa.timestamp("ns", tz="UTC")) == pa.chunked_array([times])


def test_null_event_time_matches_nothing(lab: Lab) -> None:
    frame = drivers((1, None), (2, at()), (1, None))
    result = lab.client.historical(frame, REF)
    assert result["conv_rate"].to_pylist() == [None, 0.4, None]
    assert result["event_timestamp"].to_pylist()[0] is None


def test_dates_are_midnight(lab: Lab) -> None:
    frame = pa.table({"driver_id": [2, 2, 1], "event_timestamp": [at(days=1).date(), at().date(), at(days=1).date()]})
    with_times = frame.set_column(1, "event_timestamp", frame["event_timestamp"].cast(pa.timestamp("us")).cast(INSTANT))
    result = lab.client.historical(frame, ["all_time:conv_rate"])
    assert result["event_timestamp"] == frame["event_timestamp"]
    expected = naive_join(with_times, FEATURES, ["driver_id"], ["conv_rate"])
    assert result["conv_rate"].to_pylist() == [row["conv_rate"] for row in expected]
    assert result["conv_rate"].to_pylist()[0] == 0.4


def test_naive_event_time_comes_back_as_utc(lab: Lab) -> None:
    frame = pa.table({"driver_id": [2], "event_timestamp": pa.array([at().replace(tzinfo=None)], pa.timestamp("ms"))})
    assert lab.client.historical(frame, REF).schema.field("event_timestamp").type == pa.timestamp("ms", tz="UTC")


def test_the_only_datetime_column_is_the_event_time(lab: Lab) -> None:
    frame = drivers((2, at()), (1, at())).rename_columns(["driver_id", "seen_at"])
    result = lab.client.historical(frame, REF)
    assert result.column_names == ["driver_id", "seen_at", "conv_rate"]
    assert result["conv_rate"].to_pylist() == [0.4, 0.2]


def test_event_timestamp_wins_over_other_datetime_columns(lab: Lab) -> None:
    frame = drivers((2, at(), at(hours=-3)), extra={"a_time": INSTANT}).select(
        ["a_time", "event_timestamp", "driver_id"]
    )
    assert lab.client.historical(frame, REF)["conv_rate"].to_pylist() == [0.4]


def pandas_frame() -> pd.DataFrame:
    """Three entity rows as pandas users have them."""
    return pd.DataFrame(
        {"driver_id": [1, 2, 3], "event_timestamp": pd.to_datetime([at()] * 3), "label": ["a", "b", "c"]}
    )


@pytest.mark.parametrize(
    "frame",
    [
        pandas_frame(),
        pandas_frame().iloc[[2, 0, 1]],
        pandas_frame().set_index(pd.Index([10, 20, 30], name="row")),
        pandas_frame().set_index(pd.MultiIndex.from_tuples([(1, "x"), (2, "y"), (3, "z")])),
        pandas_frame().rename_axis("position"),
    ],
    ids=["range", "shuffled", "named", "multi", "named range"],
)
def test_pandas_index_is_not_data(lab: Lab, frame: pd.DataFrame) -> None:
    uploaded = pa.Table.from_pandas(frame)
    result = lab.client.historical(uploaded, REF)
    assert result.column_names == ["driver_id", "event_timestamp", "label", "conv_rate"]
    back = result.to_pandas()
    assert list(back.columns) == result.column_names
    assert list(back["driver_id"]) == list(frame["driver_id"])
    assert list(back["label"]) == list(frame["label"])


def test_pandas_index_that_is_a_join_key_or_the_time_is_data(lab: Lab) -> None:
    frame = pandas_frame().set_index(["driver_id", "event_timestamp"])
    result = lab.client.historical(pa.Table.from_pandas(frame), REF)
    assert sorted(result.column_names) == ["conv_rate", "driver_id", "event_timestamp", "label"]
    assert result["conv_rate"].to_pylist() == [0.2, 0.4, None]
    assert "driver_id" in result.to_pandas().columns


def test_pandas_categories_and_missing_strings(lab: Lab) -> None:
    frame = pandas_frame()
    frame["label"] = frame["label"].astype("category")
    frame["note"] = [None, None, None]
    result = lab.client.historical(pa.Table.from_pandas(frame), REF)
    assert result["label"].to_pylist() == ["a", "b", "c"]
    assert result["note"].to_pylist() == [None] * 3
    assert result["conv_rate"].to_pylist() == [0.2, 0.4, None]


EXTRA: dict[str, pa.Array] = {
    "list": pa.array([[1], None, []], pa.list_(pa.int64())),
    "struct": pa.array([{"a": 1}, None, {"a": None}], pa.struct([("a", pa.int64())])),
    "map": pa.array([[("a", 1)], None, []], pa.map_(pa.string(), pa.int64())),
    "dictionary": pa.array(["a", None, "a"]).dictionary_encode(),
    "string_view": pa.array(["a", None, "b" * 100], pa.string_view()),
    "large_list": pa.array([[1], None, []], pa.large_list(pa.int64())),
    "fixed_size_list": pa.array([[1, 2], None, [3, 4]], pa.list_(pa.int64(), 2)),
    "decimal256": pa.array([1, None, 2], pa.decimal256(50, 2)),
    "half": pa.array(np.array([1, 2, 3], np.float16)),
    "duration": pa.array([timedelta(seconds=1), None, timedelta(0)], pa.duration("us")),
    "null": pa.nulls(3),
    "boolean": pa.array([True, None, False]),
    "time": pa.array([1, None, 2], pa.time32("s")),
}


@pytest.mark.parametrize("kind", EXTRA)
def test_extra_columns_of_any_type_come_back(lab: Lab, kind: str) -> None:
    frame = drivers((2, at()), (1, at()), (3, at())).append_column("extra", EXTRA[kind])
    result = lab.client.historical(frame, REF)
    assert result["extra"].to_pylist() == EXTRA[kind].to_pylist()
    assert result["conv_rate"].to_pylist() == [0.4, 0.2, None]


def test_run_end_encoding_is_refused_by_name(lab: Lab) -> None:
    runs = pa.RunEndEncodedArray.from_arrays([2, 3], pa.array(["a", None]))
    frame = drivers((2, at()), (1, at()), (3, at())).append_column("extra", runs)
    with pytest.raises(pa.ArrowInvalid, match=r"column `extra`: run-end encoding.*not supported"):
        lab.client.historical(frame, REF)


def test_many_batches_keep_their_order(lab: Lab) -> None:
    frame = drivers(*((i % 5, at(minutes=i % 240 - 60)) for i in range(5_000)))
    upload = lab.client.upload(frame, max_chunksize=7)
    assert upload["rows"] == 5_000
    result = lab.client.get({"historical": {"features": REF, "entity": {"upload": upload["upload"]}}})
    assert rows_of(result) == expect(frame)


def test_slices_and_empty_batches(lab: Lab) -> None:
    whole = drivers(*((i % 5, at(minutes=i)) for i in range(100)))
    frame = pa.concat_tables([whole.slice(13, 5), whole.slice(0, 0), whole.slice(90)])
    assert rows_of(lab.client.historical(frame, REF)) == expect(frame)


def large_frame(rows: int) -> pa.Table:
    """One chunk of rows with a payload that brings a row to 50 bytes."""
    keys = pa.array(np.arange(rows) % 5)
    times = pa.array(np.full(rows, at().timestamp() * 1e6, np.int64)).cast(INSTANT)
    payload = pa.array(np.arange(rows)).cast(pa.string()).cast(pa.binary())
    filler = pa.array(np.random.default_rng(1).random((rows, 3)).ravel()[: rows * 3]).to_numpy().reshape(rows, 3)
    columns = {f"x{i}": pa.array(np.ascontiguousarray(filler[:, i])) for i in range(3)}
    return pa.table({"driver_id": keys, "event_timestamp": times, **columns, "payload": payload})


def test_one_batch_of_200_mb(lab: Lab) -> None:
    frame = large_frame(4_200_000)
    assert frame.nbytes > 200_000_000
    assert frame["driver_id"].num_chunks == 1
    client = Client(lab.server.location)
    upload = client.upload(frame)
    assert upload["rows"] == len(frame)
    result = client.get({"historical": {"features": REF, "entity": {"upload": upload["upload"]}}})
    assert result.select(frame.column_names).cast(frame.schema) == frame
    by_key = {0: None, 1: 0.2, 2: 0.4, 3: None, 4: None}
    assert result["conv_rate"].slice(4_199_990).to_pylist() == [by_key[i % 5] for i in range(4_199_990, 4_200_000)]
    assert result["conv_rate"].null_count == len(frame) * 3 // 5
