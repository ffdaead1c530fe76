"""The wire contract through stock pyarrow: the JSON texts exactly as they are documented."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pyarrow.flight as flight
import pytest
from harness.client import Client, command, historical_request
from harness.frames import at, drivers
from harness.lab import Lab
from harness.reference import rows_of

STATS = drivers(
    (1, at(hours=-2), 0.1, 10),
    (1, at(hours=-1), 0.2, 20),
    (2, at(hours=-1), 0.3, None),
    (3, at(days=-9), 0.4, 40),
    extra={"conv_rate": pa.float64(), "trips": pa.int64()},
)
PROFILE = pa.table(
    {
        "customer_id": ["a", "b"],
        "event_timestamp": STATS["event_timestamp"].slice(0, 2),
        "age": pa.array([30, 40], pa.int32()),
    }
)
FRAME = drivers(
    (2, at(), "a"), (1, at(), "b"), (9, at(), None), (1, at(hours=-1), "a"), extra={"customer_id": pa.string()}
)
ANSWER = {"conv_rate": [0.3, 0.2, None, 0.2], "age": [30, 40, None, 30]}


def fill(lab: Lab) -> None:
    """Two views over two tables."""
    lab.add("driver_stats", ["driver_id"], STATS, ttl="7d")
    lab.add(
        "driver_daily", ["driver_id"], STATS.rename_columns(["driver_id", "event_timestamp", "conv_daily", "trips"])
    )
    lab.add("customer_profile", ["customer_id"], PROFILE)
    lab.definitions.service(
        "drivers_v1", [{"view": "driver_stats", "features": ["conv_rate"]}, {"view": "customer_profile"}]
    )


@pytest.fixture(scope="module")
def lab(start_lab: Callable[..., Lab]) -> Lab:
    """The server that the wire tests share."""
    return start_lab(fill)


@pytest.fixture
def client(lab: Lab) -> Client:
    """A connection."""
    return lab.client


def answer(table: pa.Table) -> dict[str, list[object]]:
    """The feature columns."""
    return {name: table[name].to_pylist() for name in ANSWER}


def do_get(client: Client, ticket: str) -> pa.Table:
    """DoGet with the literal text as the ticket."""
    return client.flight.do_get(flight.Ticket(ticket.encode())).read_all()


def test_upload_then_get(client: Client) -> None:
    writer, reader = client.flight.do_put(flight.FlightDescriptor.for_command(b'{"upload_entities": {}}'), FRAME.schema)
    writer.write_table(FRAME)
    writer.done_writing()
    reply = json.loads(reader.read().to_pybytes())
    writer.close()
    assert set(reply) == {"upload", "rows", "expires_at"}
    assert reply["rows"] == 4
    assert isinstance(reply["rows"], int)
    expires = datetime.fromisoformat(reply["expires_at"])
    assert datetime.now(UTC) < expires < datetime.now(UTC) + timedelta(days=1)
    ticket = (
        '{"historical": {"features": ["driver_stats:conv_rate", "customer_profile:age"], '
        f'"full_feature_names": false, "entity": {{"upload": "{reply["upload"]}"}}}}}}'
    )
    result = do_get(client, ticket)
    assert result.column_names == ["driver_id", "event_timestamp", "customer_id", "conv_rate", "age"]
    assert rows_of(result.select(FRAME.column_names)) == rows_of(FRAME)
    assert answer(result) == ANSWER
    assert answer(do_get(client, ticket)) == ANSWER


def test_upload_ids_cannot_be_guessed(client: Client) -> None:
    ids = {client.upload(FRAME)["upload"] for _ in range(20)}
    assert len(ids) == 20
    assert all(len(text) >= 32 and re.fullmatch(r"[0-9A-Za-z_-]+", text) for text in ids)


def test_inline_dataframe(client: Client) -> None:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, FRAME.schema) as writer:
        writer.write_table(FRAME, max_chunksize=2)
    text = base64.b64encode(sink.getvalue().to_pybytes()).decode()
    features = '["driver_stats:conv_rate", "customer_profile:age"]'
    ticket = f'{{"historical": {{"features": {features}, "entity": {{"ipc": "{text}"}}}}}}'
    assert answer(do_get(client, ticket)) == ANSWER


def test_exchange(client: Client) -> None:
    text = b'{"historical": {"features": ["driver_stats:conv_rate", "customer_profile:age"]}}'
    writer, reader = client.flight.do_exchange(flight.FlightDescriptor.for_command(text))
    with writer:
        writer.begin(FRAME.schema)
        for batch in FRAME.to_batches(max_chunksize=1):
            writer.write_batch(batch)
        writer.done_writing()
        result = reader.read_all()
    assert result.column_names == ["driver_id", "event_timestamp", "customer_id", "conv_rate", "age"]
    assert answer(result) == ANSWER


def test_exchange_by_service(client: Client) -> None:
    assert answer(client.exchange(FRAME, "drivers_v1")) == ANSWER


def test_full_feature_names(client: Client) -> None:
    refs = ["customer_profile:age", "driver_stats:conv_rate"]
    result = client.historical(FRAME, refs, full_feature_names=True)
    assert result.column_names[3:] == ["customer_profile__age", "driver_stats__conv_rate"]


def test_features_are_grouped_by_view_in_the_order_asked_for(client: Client) -> None:
    refs = ["driver_stats:trips", "customer_profile:age", "driver_stats:conv_rate"]
    assert client.historical(FRAME, refs).column_names[3:] == ["trips", "conv_rate", "age"]


def test_project_is_checked(client: Client) -> None:
    upload = client.upload(FRAME)["upload"]
    request = historical_request(["driver_stats:trips"], {"upload": upload})
    assert len(client.get({**request, "project": "tests"})) == 4
    with pytest.raises(KeyError, match=r"`other`.*`tests`"):
        client.get({**request, "project": "other"})


def test_flight_info_plans_without_running(client: Client) -> None:
    request = historical_request(
        ["driver_stats:conv_rate", "customer_profile:age"], {"upload": client.upload(FRAME)["upload"]}
    )
    info = client.info(request)
    assert info.total_records == 4
    assert info.descriptor.command == json.dumps(request).encode()
    assert len(info.endpoints) >= 1
    result = client.get_info(info)
    assert info.schema == result.schema
    assert answer(result) == ANSWER
    assert client.flight.get_schema(command(request)).schema == result.schema


def test_flight_info_does_not_read_data(lab: Lab, client: Client) -> None:
    request = historical_request(
        ["driver_stats:conv_rate"], {"range": {"start": "2026-01-01T00:00:00Z", "end": "2027-01-01T00:00:00Z"}}
    )
    info = client.info(request)
    assert info.total_records == -1
    assert info.schema.names == ["driver_id", "event_timestamp", "conv_rate"]


def test_ticket_is_self_contained(lab: Lab, client: Client) -> None:
    request = historical_request(["driver_stats:conv_rate"], {"upload": client.upload(FRAME)["upload"]})
    ticket = client.info(request).endpoints[0].ticket.ticket
    other = Client(lab.server.location)
    assert other.flight.do_get(flight.Ticket(ticket)).read_all() == client.get(request)


def test_list_flights_by_prefix(client: Client) -> None:
    names = [info.descriptor.path for info in client.flight.list_flights()]
    assert sorted(names) == [[b"customer_profile"], [b"driver_daily"], [b"driver_stats"]]
    found = list(client.flight.list_flights(b"driver_"))
    assert sorted(info.descriptor.path for info in found) == [[b"driver_daily"], [b"driver_stats"]]
    assert list(client.flight.list_flights(b"nothing")) == []


def test_view_schema_by_path(client: Client) -> None:
    by_path = client.flight.get_schema(flight.FlightDescriptor.for_path("driver_stats")).schema
    assert {"driver_id", "conv_rate", "trips"} <= set(by_path.names)
    assert by_path.field("trips").type == pa.int64()
    listed = next(iter(client.flight.list_flights(b"driver_stats")))
    assert listed.schema == by_path


def test_actions_are_what_is_listed(client: Client) -> None:
    listed = {action.type for action in client.flight.list_actions()}
    assert "explain" in listed
    with pytest.raises(KeyError, match="explain"):
        list(client.flight.do_action(flight.Action("persist", b"")))


def test_explain_counts_what_was_pruned(client: Client) -> None:
    request = historical_request(["driver_stats:conv_rate"], {"upload": client.upload(FRAME)["upload"]})
    text = client.explain(request)
    assert "driver_stats" in text
    assert re.search(r"files: 1 total", text)
    assert re.search(r"row groups: \d+ total", text)
    assert re.search(r"rows: \d+ scanned", text)
    assert "matched" in text


@pytest.mark.parametrize("method", ["do_get", "do_exchange"])
def test_calls_at_the_same_time_do_not_disturb_each_other(client: Client, method: str) -> None:
    def ask(number: int) -> list[object]:
        frame = drivers((1 + number % 3, at()))
        if method == "do_exchange":
            return client.exchange(frame, ["driver_stats:conv_rate"])["conv_rate"].to_pylist()
        return client.historical(frame, ["driver_stats:conv_rate"])["conv_rate"].to_pylist()

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(ask, range(60)))
    assert answers == [[[0.2], [0.3], [None]][number % 3] for number in range(60)]


def test_compressed_uploads(client: Client) -> None:
    for codec in ("lz4", "zstd"):
        options = flight.FlightCallOptions(write_options=pa.ipc.IpcWriteOptions(compression=codec))
        writer, reader = client.flight.do_put(command({"upload_entities": {}}), FRAME.schema, options=options)
        with writer:
            writer.write_table(FRAME)
            writer.done_writing()
            upload = json.loads(reader.read().to_pybytes())["upload"]
        request = historical_request(["driver_stats:conv_rate", "customer_profile:age"], {"upload": upload})
        assert answer(client.get(request)) == ANSWER


def test_sigterm_ends_the_server_cleanly(start_lab: Callable[..., Lab]) -> None:
    lab = start_lab(fill)
    assert answer(lab.client.historical(FRAME, "drivers_v1")) == ANSWER
    assert lab.server.stop() == 0
