"""Tokens and vended credentials of a REST catalog that expire while the server runs: nobody notices."""

from __future__ import annotations

import itertools
import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from harness.client import ipc
from harness.fault_proxy import Answer, Fault, Request
from harness.faulty import FRAME, WANTED, Faulty, faulty_server, stats
from harness.frames import at, drivers
from harness.lab import Lab
from harness.polling import eventually
from harness.warehouse import Warehouse

ACCESS = ["s3.access-key-id", "s3.secret-access-key"]
EXPIRED = Answer(400, b"<Error><Code>ExpiredToken</Code><Message>expired</Message></Error>", "application/xml")
REVOKED = Answer(401, b'{"error":{"message":"expired","type":"NotAuthorizedException","code":401}}')
FILES = 12


@pytest.fixture(scope="module", params=["rest"])
def kind(request: pytest.FixtureRequest) -> str:
    """The only catalog with tokens and vended credentials."""
    return str(request.param)


@pytest.fixture(scope="module")
def faulty(start_over: Callable[..., Lab], warehouse: Warehouse) -> Iterator[Faulty]:
    """A server that knows its store's address and no credentials for it."""
    views = ["known", "other", "third", "many", "soon"]
    none: dict[str, Any] = dict.fromkeys(ACCESS)
    delegation = {"header.X-Iceberg-Access-Delegation": "vended-credentials"}
    with faulty_server(start_over, warehouse, views, **none, **delegation) as faulty:
        vend(faulty, warehouse.properties)
        table = warehouse.catalog.load_table(f"{faulty.lab.definitions.project}.many")
        for file in range(FILES):
            table.append(stats(100 * file, 100 * file + 3))
        assert faulty.trips("known") == WANTED
        faulty.write("live", stats())
        yield faulty


def lends(request: Request) -> bool:
    """Whether a request's answer brings credentials."""
    return request.method == "GET" and ("/tables/" in request.path or "/credentials" in request.path)


def vend(faulty: Faulty, properties: dict[str, str], **more: str) -> None:
    """Let the catalog hand out its store's credentials with each table, which SeaweedFS does not."""
    access = {**{key: properties[key] for key in ACCESS}, **more}

    def rewrite(request: Request, body: bytes) -> bytes:
        if b'"metadata-location"' not in body:
            return body
        loaded = json.loads(body)
        loaded["config"] = {**loaded.get("config", {}), **access}
        return json.dumps(loaded).encode()

    faulty.catalog.rewrite = rewrite


def is_token(request: Request) -> bool:
    return request.path.endswith("/oauth/tokens")


@dataclass
class Revoked:
    """Refuses some tokens."""

    tokens: set[str | None]
    refused: int = 0

    def decide(self, request: Request) -> Fault:
        """The answer to a request."""
        if is_token(request) or request.headers.get("authorization") not in self.tokens:
            return None
        self.refused += 1
        return REVOKED


def test_a_token_that_is_refused_is_replaced(faulty: Faulty) -> None:
    # SeaweedFS gives the same token all through a second.
    second = int(time.time())
    eventually(lambda: int(time.time()) > second)
    revoked = Revoked({request.headers.get("authorization") for request in faulty.catalog.seen} - {None})
    fetched = sum(map(is_token, faulty.catalog.seen))
    with faulty.catalog.failing(revoked.decide):
        assert faulty.trips("other") == WANTED
        faulty.write("live", stats(5, 6))
    assert revoked.refused > 0
    assert 1 <= sum(map(is_token, faulty.catalog.seen)) - fetched <= 2
    assert faulty.written("live") == [0, 1, 2, 5]


@dataclass
class Expired:
    """From some moment on, refuses the credentials that were lent before it."""

    faulty: Faulty
    begins: Callable[[], bool]
    refused: int = 0
    loads_before: int | None = None
    lock: threading.Lock = field(default_factory=threading.Lock)

    def decide(self, _: Request) -> Fault:
        """The answer to a request to the store."""
        with self.lock:
            if self.loads_before is None and self.begins():
                self.loads_before = self.loads()
            if self.loads_before is None or self.loads() > self.loads_before:
                return None
            self.refused += 1
            return EXPIRED

    def loads(self) -> int:
        """How often credentials were lent."""
        return sum(map(lends, self.faulty.catalog.seen))


def at_request(number: int) -> Callable[[], bool]:
    """Whether as many requests have come."""
    counted = itertools.count()
    return lambda: next(counted) >= number


@pytest.mark.parametrize(("view", "after"), [("third", 0), ("many", 5)], ids=["at the start", "in mid-stream"])
def test_vended_credentials_that_expire_are_replaced(faulty: Faulty, view: str, after: int) -> None:
    expired = Expired(faulty, at_request(after))
    keys = [100 * file + driver for file in range(FILES if view == "many" else 1) for driver in range(3)]
    frame = drivers(*((key, at()) for key in keys))
    with faulty.store.failing(expired.decide):
        joined = faulty.lab.client.historical(frame, [f"{view}:trips"])
    assert expired.refused > 0
    assert joined["trips"].to_pylist() == [key * 10 for key in keys]


def test_writes_survive_expired_credentials(faulty: Faulty) -> None:
    expired = Expired(faulty, at_request(1))
    with faulty.store.failing(expired.decide):
        faulty.write("late", stats())
        faulty.write("late", stats(5, 7))
    assert expired.refused > 0
    assert faulty.written("late") == [0, 1, 2, 5, 6]


def test_credentials_are_replaced_before_they_expire(faulty: Faulty) -> None:
    expiry = time.time() + 3
    vend(faulty, faulty.lab.warehouse.properties, **{"s3.session-token-expires-at-ms": str(int(expiry * 1000))})
    planned = faulty.lab.client.info({"historical": {"features": ["soon:trips"], "entity": {"ipc": ipc(FRAME)}}})
    loads = sum(map(lends, faulty.catalog.seen))
    vend(faulty, faulty.lab.warehouse.properties)
    eventually(lambda: time.time() > expiry)
    expired = Expired(faulty, lambda: sum(map(lends, faulty.catalog.seen)) == loads)
    with faulty.store.failing(expired.decide):
        assert faulty.lab.client.get_info(planned)["trips"].to_pylist() == WANTED
    assert expired.refused == 0
    assert sum(map(lends, faulty.catalog.seen)) > loads
