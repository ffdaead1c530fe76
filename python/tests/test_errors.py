"""Everything that can be wrong: the exception class of its code, and a message that names the culprit."""

from __future__ import annotations

import base64
import json
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.flight as flight
import pytest
from harness.client import Client, command, historical_request
from harness.frames import INSTANT, at, drivers
from harness.lab import Lab
from harness.warehouse import data_files

STATS = drivers((1, at(hours=-1), 0.1), (2, at(hours=-1), 0.2), extra={"conv_rate": pa.float64()})
FRAME = drivers((1, at()), (2, at()))
GOOD = ["driver_stats:conv_rate"]


def many_rows(seed: int) -> pa.Table:
    """A file's worth of rows that do not compress, so that damage in its middle hits data."""
    rng = random.Random(seed)
    count = 30_000
    columns = {
        "driver_id": pa.array([rng.randrange(1000) for _ in range(count)]),
        "event_timestamp": pa.array([at(minutes=-rng.randrange(10_000)) for _ in range(count)], INSTANT),
        "blob": pa.array([rng.randbytes(64) for _ in range(count)]),
    }
    return pa.table(columns)


def fill(lab: Lab) -> None:
    """A good view, and views that are broken in one way each."""
    lab.definitions.catalog = "default"
    lab.add("driver_stats", ["driver_id"], STATS)
    lab.definitions.service("drivers_v1", [{"view": "driver_stats"}])
    lab.definitions.view("no_table", "lab.no_such_table", ["driver_id"])
    lab.definitions.view("no_namespace", "nowhere.table", ["driver_id"])
    lab.definitions.view("no_column", "lab.driver_stats", ["driver_id"], features=["conv_rate", "conv_rite"])
    lab.definitions.view("no_key", "lab.driver_stats", ["rider_id"])
    lab.definitions.view("no_time", "lab.driver_stats", ["driver_id"], timestamp_field="event_time")
    lab.definitions.view("no_catalog", "lab.driver_stats", ["driver_id"], catalog="gone")
    lab.definitions.view("text_time", "lab.driver_stats", ["driver_id"], timestamp_field="conv_rate")
    for name in ("lost_file", "damaged_file", "damaged_footer", "lost_manifest"):
        lab.add(name, ["driver_id"], *(many_rows(seed) for seed in range(4)))


@pytest.fixture(scope="module")
def lab(start_lab: Callable[..., Lab], tmp_path_factory: pytest.TempPathFactory) -> Lab:
    """A server with one good and one unreachable catalog."""
    gone = tmp_path_factory.mktemp("gone") / "not" / "there"
    unreachable = {"type": "sql", "uri": f"sqlite:///{gone}/catalog.db", "warehouse": str(gone)}
    return start_lab(fill, catalogs_gone=unreachable)


@pytest.fixture
def client(lab: Lab) -> Iterator[Client]:
    """A connection to a server that must still answer correctly after the test."""
    yield lab.client
    assert lab.server.is_running()
    assert lab.client.historical(FRAME, GOOD)["conv_rate"].to_pylist() == [0.1, 0.2]


def upload_id(client: Client) -> str:
    """An upload that exists."""
    return client.upload(FRAME)["upload"]


UNKNOWN_NAMES: dict[str, tuple[list[str] | str, str]] = {
    "view": (["driver_stat:conv_rate"], r"`driver_stat` .*did you mean `driver_stats`"),
    "view far from all": (["zzz:conv_rate"], r"feature view `zzz` not found"),
    "feature": (["driver_stats:conv_rat"], r"`conv_rat` .*`driver_stats`.*did you mean `conv_rate`"),
    "key as feature": (["driver_stats:driver_id"], r"`driver_id`.*`driver_stats`"),
    "service": ("drivers_v2", r"`drivers_v2` .*did you mean `drivers_v1`"),
    "defined feature without column": (["no_column:conv_rite"], r"lab\.driver_stats.*`conv_rite`.*`conv_rate`"),
    "key column": (["no_key:conv_rate"], r"lab\.driver_stats.*`rider_id`.*`driver_id`"),
    "time column": (["no_time:conv_rate"], r"lab\.driver_stats.*`event_time`.*`event_timestamp`"),
    "table": (["no_table:conv_rate"], r"lab\.no_such_table.*default"),
    "namespace": (["no_namespace:conv_rate"], r"nowhere\.table"),
}


@pytest.mark.parametrize("case", UNKNOWN_NAMES)
@pytest.mark.parametrize("call", ["get", "exchange", "info", "explain"])
def test_unknown_name(client: Client, case: str, call: str) -> None:
    features, message = UNKNOWN_NAMES[case]
    frame = FRAME.rename_columns(["rider_id", "event_timestamp"]) if case == "key column" else FRAME
    with pytest.raises(KeyError, match=message):
        ask(client, call, frame, features)


def ask(client: Client, call: str, frame: pa.Table, features: list[str] | str) -> object:
    """One request by one of the calls that take it."""
    if call == "exchange":
        return client.exchange(frame, features)
    request = historical_request(features, {"upload": client.upload(frame)["upload"]})
    return {"get": client.get, "info": client.info, "explain": client.explain}[call](request)


@pytest.mark.parametrize("call", ["get", "exchange", "info"])
def test_missing_key_column(client: Client, call: str) -> None:
    frame = FRAME.rename_columns(["driver", "event_timestamp"])
    with pytest.raises(pa.ArrowInvalid, match=r"`driver_id`.*`driver_stats`.*\[driver, event_timestamp\]"):
        ask(client, call, frame, GOOD)


@pytest.mark.parametrize("call", ["get", "exchange", "info"])
def test_no_timestamp_column(client: Client, call: str) -> None:
    frame = FRAME.select(["driver_id"]).append_column("event_time", pa.array(["2026-03-01", "2026-03-02"]))
    with pytest.raises(pa.ArrowInvalid, match=r"timestamp.*driver_id.*event_time"):
        ask(client, call, frame, GOOD)


def test_two_timestamp_columns_without_the_name(client: Client) -> None:
    frame = drivers((1, at(), at()), extra={"b": INSTANT}).rename_columns(["driver_id", "a", "b"])
    with pytest.raises(pa.ArrowInvalid, match=r"(?s)event_timestamp.*\ba\b.*\bb\b"):
        client.historical(frame, GOOD)


def test_event_timestamp_that_is_no_time(client: Client) -> None:
    frame = pa.table({"driver_id": [1], "event_timestamp": ["2026-03-01"]})
    with pytest.raises(pa.ArrowInvalid, match="event_timestamp"):
        client.historical(frame, GOOD)


def test_time_column_of_a_view_that_is_no_time(client: Client) -> None:
    with pytest.raises(pa.ArrowInvalid, match="conv_rate"):
        client.historical(FRAME, ["text_time:event_timestamp"])


def test_repeated_dataframe_column(client: Client) -> None:
    frame = pa.Table.from_arrays(
        [*FRAME.columns, FRAME["driver_id"]], names=["driver_id", "event_timestamp", "driver_id"]
    )
    with pytest.raises(pa.ArrowInvalid, match="driver_id"):
        client.historical(frame, GOOD)


WRONG_KEYS = {
    "string": pa.array(["1", "2"]),
    "fraction": pa.array([1.0, 1.5]),
    "boolean": pa.array([True, False]),
    "struct": pa.array([{"a": 1}, {"a": 2}]),
}


@pytest.mark.parametrize("kind", WRONG_KEYS)
@pytest.mark.parametrize("call", ["get", "exchange"])
def test_wrong_key_type(client: Client, kind: str, call: str) -> None:
    frame = FRAME.set_column(0, "driver_id", WRONG_KEYS[kind])
    with pytest.raises(pa.ArrowInvalid, match=r"(?i)`driver_id`.*int64"):
        ask(client, call, frame, GOOD)


ENTITY = {"upload": "ID"}
MALFORMED: dict[str, tuple[bytes | dict[str, Any], str]] = {
    "json": (b'{"historical": {"features": ["driver_stats:conv_rate"], "entity": }', r"(?i)json|expected"),
    "truncated json": (b'{"historical": {"feat', r"(?i)json|EOF"),
    "nothing": (b"", "(?i)ticket|request"),
    "empty object": (b"{}", "historical"),
    "protobuf": (b"\xff\xff\xff\xff", "(?i)protobuf|request|ticket"),
    "text": (b"SELECT 1", "(?i)protobuf|request|ticket"),
    "empty features": ({"historical": {"features": [], "entity": ENTITY}}, "features"),
    "no features": ({"historical": {"entity": ENTITY}}, "features"),
    "both selections": (
        {"historical": {"features": GOOD, "feature_service": "drivers_v1", "entity": ENTITY}},
        "feature_service",
    ),
    "ref without feature": ({"historical": {"features": ["driver_stats"], "entity": ENTITY}}, "`driver_stats`"),
    "ref without view": ({"historical": {"features": [":conv_rate"], "entity": ENTITY}}, "`:conv_rate`"),
    "features as text": (
        {"historical": {"features": "driver_stats:conv_rate", "entity": ENTITY}},
        "features|sequence|array",
    ),
    "unknown field": ({"historical": {"feature": GOOD, "entity": ENTITY}}, "`feature`"),
    "unknown request": ({"historic": {}}, "`historic`"),
    "no entity": ({"historical": {"features": GOOD}}, "entity"),
    "empty entity": ({"historical": {"features": GOOD, "entity": {}}}, "entity"),
    "two entities": (
        {"historical": {"features": GOOD, "entity": {"upload": "a", "ipc": ""}}},
        "entity|multiple|upload|ipc",
    ),
    "bad time": (
        {"historical": {"features": GOOD, "entity": {"range": {"start": "yesterday", "end": "2026-01-01T00:00:00Z"}}}},
        "start|time",
    ),
    "no end": ({"historical": {"features": GOOD, "entity": {"range": {"start": "2026-01-01T00:00:00Z"}}}}, "end"),
    "ipc that is not base64": ({"historical": {"features": GOOD, "entity": {"ipc": "%%%"}}}, "(?i)ipc|base64"),
    "ipc that is not arrow": (
        {"historical": {"features": GOOD, "entity": {"ipc": base64.b64encode(b"no arrow here").decode()}}},
        "(?i)ipc|arrow",
    ),
}


@pytest.mark.parametrize("case", MALFORMED)
@pytest.mark.parametrize("call", ["do_get", "get_flight_info", "get_schema"])
def test_malformed_request(client: Client, case: str, call: str) -> None:
    request, message = MALFORMED[case]
    text = request if isinstance(request, bytes) else json.dumps(request).encode()
    with pytest.raises(pa.ArrowInvalid, match=message):
        send(client, call, text)


def send(client: Client, call: str, text: bytes) -> object:
    """The bytes as a ticket or as a descriptor's command."""
    if call == "do_get":
        return client.flight.do_get(flight.Ticket(text)).read_all()
    return getattr(client.flight, call)(flight.FlightDescriptor.for_command(text))


def test_upload_is_not_a_ticket(client: Client) -> None:
    with pytest.raises(pa.ArrowInvalid, match="upload_entities"):
        client.get({"upload_entities": {}})


def test_historical_is_not_an_upload(client: Client) -> None:
    writer, _ = client.flight.do_put(command({"historical": {"features": GOOD}}), FRAME.schema)
    writer.done_writing()
    with pytest.raises(pa.ArrowInvalid, match=r"upload_entities|historical"):
        writer.close()


@pytest.mark.parametrize("upload", ["unknown", "", "../../etc/passwd", "a/b", "0" * 10_000])
def test_unknown_upload(client: Client, upload: str) -> None:
    with pytest.raises((KeyError, pa.ArrowInvalid), match="upload"):
        client.get(historical_request(GOOD, {"upload": upload}))


def test_unreachable_catalog(client: Client) -> None:
    with pytest.raises(flight.FlightUnavailableError, match="`gone`"):
        client.historical(FRAME, ["no_catalog:conv_rate"])


def test_good_and_bad_views_together_fail_as_a_whole(client: Client) -> None:
    with pytest.raises(KeyError, match="no_such_table"):
        client.historical(FRAME, [*GOOD, "no_table:conv_rate"])


LABELS = drivers(*((key % 1000, at(minutes=-key)) for key in range(9_000)))


def files_of(lab: Lab, view: str) -> list[Path]:
    """The data files of a view's table."""
    return sorted(data_files(lab.warehouse.catalog.load_table(f"lab.{view}")))


@pytest.fixture
def request_of(lab: Lab, client: Client) -> Callable[[str], dict[str, Any]]:
    """A request on a view with enough rows to need all files."""

    def request(view: str) -> dict[str, Any]:
        return historical_request([f"{view}:blob"], {"upload": client.upload(LABELS)["upload"]})

    return request


def test_missing_data_file(lab: Lab, client: Client, request_of: Callable[[str], dict[str, Any]]) -> None:
    request = request_of("lost_file")
    assert len(client.get(request)) == len(LABELS)
    lost = files_of(lab, "lost_file")[2]
    lost.rename(lost.with_suffix(".away"))
    with pytest.raises(KeyError, match=rf"(?s){lost.name}.*lab\.lost_file|lab\.lost_file.*{lost.name}"):
        client.get(request)
    lost.with_suffix(".away").rename(lost)
    assert len(client.get(request)) == len(LABELS)


def test_damaged_data_reaches_the_client_as_an_error(
    lab: Lab, client: Client, request_of: Callable[[str], dict[str, Any]]
) -> None:
    request = request_of("damaged_file")
    assert len(client.get(request)) == len(LABELS)
    damaged = files_of(lab, "damaged_file")[-1]
    size = damaged.stat().st_size
    with damaged.open("r+b") as file:
        file.seek(size // 2)
        file.write(b"\xa5" * (size // 4))
    with pytest.raises(flight.FlightInternalError, match="request id"):
        client.get(request)
    assert damaged.name in lab.server.log()


@pytest.mark.parametrize("damage", ["truncated", "empty", "not parquet", "lying length"])
def test_damaged_footer_is_an_error(
    lab: Lab, client: Client, request_of: Callable[[str], dict[str, Any]], damage: str
) -> None:
    path = files_of(lab, "damaged_footer")[0]
    whole = path.read_bytes()
    lying = whole[:-8] + (2**31 - 1).to_bytes(4, "little") + b"PAR1"
    path.write_bytes(
        {"truncated": whole[:-100], "empty": b"", "not parquet": b"x" * len(whole), "lying length": lying}[damage]
    )
    with pytest.raises(flight.FlightInternalError, match="request id"):
        client.get(request_of("damaged_footer"))
    path.write_bytes(whole)


def test_missing_manifest(lab: Lab, client: Client, request_of: Callable[[str], dict[str, Any]]) -> None:
    metadata = (
        Path(lab.warehouse.catalog.load_table("lab.lost_manifest").location().removeprefix("file://")) / "metadata"
    )
    for manifest in metadata.glob("*.avro"):
        shutil.move(manifest, manifest.with_suffix(".away"))
    with pytest.raises((KeyError, flight.FlightInternalError), match=r"\.avro|request id"):
        client.get(request_of("lost_manifest"))


def test_a_client_that_stops_reading_leaves_the_server_well(client: Client) -> None:
    for _ in range(5):
        request = historical_request(["damaged_footer:blob"], {"upload": client.upload(LABELS)["upload"]})
        reader = client.flight.do_get(flight.Ticket(json.dumps(request).encode()))
        reader.read_chunk()
        reader.cancel()
