"""No secret of a catalog or a store is told to anybody: not in logs at their chattiest, errors, plans or settings."""

from __future__ import annotations

import base64
import json
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import pyarrow as pa
import pyarrow.flight as flight
import pytest
from harness.client import historical_request, ipc
from harness.components import Moto
from harness.definitions import to_section
from harness.fault_proxy import Answer, Fault, Request
from harness.faulty import FRAME, WANTED, Faulty, faulty_server, stats
from harness.lab import Lab
from harness.server import binary
from harness.warehouse import Warehouse

SECRET_KEY = re.compile(r"(token|secret-access-key|credential|^header\..*)$")
SESSION = {key: f"{key}-5e0f4c" for key in ("s3.session-token", "glue.session-token")}
HEADER = {"header.X-Api-Key": "api-key-5e0f4c"}
TRACE = {"telemetry": {"log": "trace"}}
EXTRA = {"postgres": {"s3.session-token": SESSION["s3.session-token"]}, "rest": HEADER, "glue": SESSION}
# moto takes any key, so that Glue has none that is wrong.
WRONG = {
    ("postgres", "password"): {"uri": "postgresql://feast:wrong-5e0f4c@127.0.0.1:{port}/postgres"},
    ("rest", "credential"): {"credential": "test:wrong-5e0f4c"},
    ("rest", "token"): {"token": "wrong-5e0f4c", "credential": ""},
    ("rest", "authorization"): {"header.Authorization": "Bearer wrong-5e0f4c", "credential": ""},
    ("rest", "store"): {"s3.secret-access-key": "wrong-5e0f4c"},
}


@pytest.fixture(scope="module", params=["postgres", "rest", "glue"])
def kind(request: pytest.FixtureRequest) -> str:
    """The catalogs with secrets."""
    return str(request.param)


@pytest.fixture(scope="module")
def faulty(start_over: Callable[..., Lab], warehouse: Warehouse, kind: str) -> Iterator[Faulty]:
    """A server that logs everything."""
    with faulty_server(start_over, warehouse, ["known"], TRACE, **EXTRA[kind]) as faulty:
        yield faulty


def secrets_in(properties: dict[str, str]) -> set[str]:
    """The secrets among properties, in the forms that they travel in."""
    values = [value for key, value in properties.items() if SECRET_KEY.search(key)]
    values += [value.partition(":")[2] for value in values] + [urlsplit(properties.get("uri", "")).password or ""]
    found = {value.removeprefix("Bearer ") for value in values if value}
    return found | {base64.b64encode(value.encode()).decode() for value in found} | {quote(value) for value in found}


def all_secrets(faulty: Faulty, kind: str) -> set[str]:
    """The secrets of the server's settings, and the tokens that the catalog gave to it."""
    seen = getattr(faulty.catalog, "seen", [])  # PostgreSQL's own protocol is not read.
    sent = [request.headers.get("authorization", "") for request in seen]
    tokens = {value.removeprefix("Bearer ") for value in sent if value.startswith("Bearer ")}
    return tokens | secrets_in({**faulty.lab.warehouse.properties, **EXTRA[kind]})


def check_config(directory: Path) -> str:
    """What the command prints about the settings in force, and about those that are wrong."""
    command = [binary(), "check-config", "--config", directory / "murre.toml"]
    done = subprocess.run(command, cwd=directory, capture_output=True, text=True, check=False)
    return done.stdout + done.stderr


def errors_of(*asks: Callable[[], Any]) -> str:
    """The errors of requests that fail."""
    texts = []
    for ask in asks:
        with pytest.raises((flight.FlightError, pa.ArrowException, KeyError)) as caught:
            ask()
        texts.append(str(caught.value))
    return "\n".join(texts)


def told(faulty: Faulty, *more: str) -> str:
    """Everything that the server and its commands said."""
    return "\n".join([faulty.lab.server.log_path.read_text(), check_config(faulty.lab.directory), *more])


def assert_kept(secrets: set[str], text: str) -> None:
    """Fail with the lines around secrets that were told."""
    assert secrets
    lines = [line for line in text.splitlines() if any(secret in line for secret in secrets)]
    assert not lines, f"{len(lines)} lines tell a secret: {[line[:300] for line in lines[:5]]}"


def test_secrets_that_work_are_not_told(faulty: Faulty, kind: str) -> None:
    faulty.write("live", stats())
    assert faulty.trips("known") == WANTED
    assert faulty.online("live", 0, 1, 2, 3) == WANTED
    plan = faulty.lab.client.explain(historical_request(["known:trips"], {"ipc": ipc(FRAME)}))
    errors = errors_of(lambda: faulty.trips("nothing"), lambda: faulty.online("nothing", 1))
    text = told(faulty, plan, errors)
    assert "TRACE" in text
    assert "[redacted]" in text
    assert_kept(all_secrets(faulty, kind), text)


def echo(request: Request) -> Fault:
    """An error that repeats what was sent, as those of S3 about tokens and signatures do."""
    sent = f"{request.headers} {request.body.decode(errors='replace')}"
    error = {"message": f"bad request: {sent}", "type": "BadRequestException", "code": 400}
    return Answer(400, json.dumps({"error": error, "message": sent}).encode())


def test_secrets_that_a_server_repeats_are_not_told(faulty: Faulty, kind: str) -> None:
    with faulty.catalog.failing(echo), faulty.store.failing(echo):
        faulty.lab.restart()
        errors = errors_of(lambda: faulty.trips("known"), lambda: faulty.write("live", stats()))
    assert_kept(all_secrets(faulty, kind), told(faulty, errors))


@pytest.mark.parametrize(("kind", "field"), WRONG, indirect=["kind"], scope="module")
def test_secrets_that_are_wrong_are_not_told(
    start_over: Callable[..., Lab], warehouse: Warehouse, kind: str, field: str
) -> None:
    port = urlsplit(warehouse.properties["uri"]).port
    wrong = {key: value.format(port=port) or None for key, value in WRONG[kind, field].items()}
    with faulty_server(start_over, warehouse, [f"wrong_{field}"], TRACE, **wrong) as refused:
        errors = errors_of(lambda: refused.trips(f"wrong_{field}"), lambda: refused.write("wrong", stats()))
        assert re.search("catalog `default`|storage", errors)
        assert_kept({"wrong-5e0f4c"}, told(refused, errors))


@pytest.mark.parametrize("kind", ["glue"], indirect=True, scope="module")
def test_secrets_of_a_role_are_not_told(
    start_over: Callable[..., Lab], warehouse: Warehouse, moto: Moto, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", moto.endpoint)
    role = {"client.role-arn": "arn:aws:iam::123456789012:role/features", "client.region": "us-east-1"}
    keys = {"client.access-key-id": moto.access_key, "client.secret-access-key": moto.secret}
    own = {name: None for name in warehouse.properties if name.endswith(("access-key-id", "secret-access-key"))}
    with faulty_server(start_over, warehouse, ["by_role"], TRACE, **own, **keys, **role) as faulty:
        assert faulty.trips("by_role") == WANTED
        lent = {request.headers["x-amz-security-token"] for request in faulty.catalog.seen + faulty.store.seen}
        assert_kept(lent | {moto.secret}, told(faulty))


def test_secrets_in_faulty_settings_are_not_told(tmp_path: Path) -> None:
    uri = "postgresql://feast:wrong-5e0f4c@host:port/db?sslpassword=wrong-5e0f4c"
    keys = ["s3.secret-access-key", "s3.session-token", "glue.secret-access-key", "glue.session-token", "header.A"]
    secret = dict.fromkeys([*keys, "token", "credential", "nonsense"], "wrong-5e0f4c\n")
    settings = {"type": "sql", "uri": uri, **secret}
    (tmp_path / "murre.toml").write_text(to_section("[catalogs.default]", settings))
    text = check_config(tmp_path)
    assert "nonsense" in text
    assert_kept({"wrong-5e0f4c"}, text)


def test_a_secret_comes_from_the_environment(
    start_over: Callable[..., Lab], warehouse: Warehouse, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = {"rest": "credential"}.get(kind, "s3.secret-access-key")
    monkeypatch.setenv("LAB_SECRET", warehouse.properties[key])
    with faulty_server(start_over, warehouse, ["from_env"], TRACE, **{key: "${LAB_SECRET}"}) as faulty:
        assert faulty.trips("from_env") == WANTED
        assert_kept(secrets_in(warehouse.properties), told(faulty))
        monkeypatch.delenv("LAB_SECRET")
        assert "LAB_SECRET" in check_config(faulty.lab.directory)
