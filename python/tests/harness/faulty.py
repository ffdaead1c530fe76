"""Servers that reach their catalog and their store through proxies, each of which can fail."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import pyarrow as pa
import pyarrow.flight as flight
import pytest

from harness.fault_proxy import Answer, Delay, Drop, Fault, FaultProxy, Request
from harness.frames import at, drivers
from harness.lab import Lab
from harness.warehouse import Warehouse

# The key of a catalog's address among its properties.
CATALOG_ENDPOINT = {"rest": "uri", "glue": "glue.endpoint"}
DEFINITION = {"join_keys": [{"name": "driver_id", "type": "INT64"}]}
FOR_EVER = 3_600
BOUND_SECONDS = 45
RECOVERY_SECONDS = 5
FAULTS: dict[str, Callable[[FaultProxy], AbstractContextManager[None]]] = {
    "refused": lambda proxy: proxy.refusing(),
    "dropped": lambda proxy: proxy.failing(lambda _: Drop()),
    "500": lambda proxy: proxy.failing(lambda _: Answer(500)),
    "503": lambda proxy: proxy.failing(lambda _: Answer(503)),
    "silent": lambda proxy: proxy.failing(lambda _: Delay(FOR_EVER)),
}
FRAME = drivers(*((key, at(hours=1)) for key in range(4)))
WANTED = [0, 10, 20, None]


def stats(first: int = 0, last: int = 3) -> pa.Table:
    """Ten trips more for each driver."""
    return drivers(*((key, at(), key * 10) for key in range(first, last)), extra={"trips": pa.int64()})


@dataclass
class Faulty:
    """A running server and the proxies that it depends on."""

    lab: Lab
    catalog: FaultProxy
    store: FaultProxy

    def trips(self, view: str) -> list[int | None]:
        """A point-in-time join."""
        return self.lab.client.historical(FRAME, [f"{view}:trips"])["trips"].to_pylist()

    def online(self, view: str, *drivers: int) -> list[int | None]:
        """A read of latest values."""
        request = {"online": {"features": [f"{view}:trips"], "entity_keys": {"driver_id": list(drivers)}}}
        return self.lab.client.get(request)["trips"].to_pylist()

    def write(self, view: str, rows: pa.Table, **options: Any) -> dict[str, Any]:
        """An online write."""
        return self.lab.client.write(view, rows, definition=DEFINITION, **options)

    def written(self, view: str) -> list[int]:
        """The drivers in an online table, as pyiceberg reads them without proxies."""
        table = self.lab.warehouse.catalog.load_table(f"online.{self.lab.definitions.project}_{view}")
        return sorted(table.scan().to_arrow()["driver_id"].to_pylist())


def works(ask: Callable[[], Any]) -> bool:
    """Whether a request is answered."""
    try:
        ask()
    except (flight.FlightError, pa.ArrowException, KeyError):
        return False
    return True


def unavailable(ask: Callable[[], Any], words: str) -> float:
    """Ask for what cannot be had now; return the seconds until the refusal, which must say `words` and be in time."""
    start = time.monotonic()
    with pytest.raises(flight.FlightUnavailableError, match=words):
        ask()
    seconds = time.monotonic() - start
    assert seconds < BOUND_SECONDS
    return seconds


def first(count: int, fault: Fault, wanted: Callable[[Request], bool] = lambda _: True) -> Callable[[Request], Fault]:
    """A fault of the first requests of a kind only."""
    hit: list[Request] = []

    def decide(request: Request) -> Fault:
        if wanted(request) and len(hit) < count:
            hit.append(request)
            return fault
        return None

    return decide


def behind(properties: dict[str, str], key: str) -> FaultProxy:
    """A proxy before the service at an address of the properties, which then name the proxy."""
    proxy = FaultProxy(urlsplit(properties[key]).port or 80)
    properties[key] = proxy.endpoint
    return proxy


@contextmanager
def faulty_server(
    start_over: Callable[..., Lab],
    warehouse: Warehouse,
    views: list[str],
    sections: dict[str, dict[str, Any]] | None = None,
    **changes: str | None,
) -> Iterator[Faulty]:
    """Serve views over tables of their own; `changes` are properties for the server alone, None removes one."""
    properties = {**warehouse.config(), **changes}
    store = behind(properties, "s3.endpoint")
    endpoint = CATALOG_ENDPOINT.get(properties["type"])
    catalog = behind(properties, endpoint) if endpoint else None

    def fill(lab: Lab) -> None:
        for view in views:
            table = f"{lab.definitions.project}.{view}"
            warehouse.write(table, stats())
            lab.definitions.view(view, table, ["driver_id"])

    online = {"read_timeout_ms": 60_000}
    lab = start_over(fill, catalogs_default=properties, online=online, **(sections or {}))
    yield Faulty(lab, catalog or store, store)
    for proxy in filter(None, (catalog, store)):
        proxy.close()
