"""Servers that reach their catalog and their store through proxies, each of which can fail."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any
from urllib.parse import urlsplit

import pyarrow as pa
import pyarrow.flight as flight
import pytest

from harness.client import ipc
from harness.fault_proxy import Answer, Delay, Drop, Fault, FaultProxy, Proxy, Request
from harness.frames import at, drivers
from harness.lab import Lab
from harness.polling import eventually
from harness.tcp_proxy import TcpProxy
from harness.warehouse import Warehouse

# The key of a catalog's address among its properties.
CATALOG_ENDPOINT = {"sql": "uri", "rest": "uri", "glue": "glue.endpoint"}
DEFINITION = {"join_keys": [{"name": "driver_id", "type": "INT64"}]}
FOR_EVER = 3_600
RECOVERY_SECONDS = 5
FAULTS: dict[str, Callable[[Proxy], AbstractContextManager[None]]] = {
    "refused": lambda proxy: proxy.refusing(),
    "dropped": lambda proxy: proxy.failing(lambda _: Drop()),
    "500": lambda proxy: proxy.failing(lambda _: Answer(500)),
    "503": lambda proxy: proxy.failing(lambda _: Answer(503)),
    "silent": lambda proxy: proxy.failing(lambda _: Delay(FOR_EVER)),
}
# The documented bounds, and time for a busy machine.
BOUND_SECONDS = {**dict.fromkeys(FAULTS, 40), "refused": 10}
FRAME = drivers(*((key, at(hours=1)) for key in range(4)))
WANTED = [0, 10, 20, None]


def stats(first: int = 0, last: int = 3) -> pa.Table:
    """Ten trips more for each driver."""
    return drivers(*((key, at(), key * 10) for key in range(first, last)), extra={"trips": pa.int64()})


@dataclass
class Faulty:
    """A running server and the proxies that it depends on; the catalog's is one of TCP before PostgreSQL."""

    lab: Lab
    catalog: Any
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


def unavailable(fault: str, words: str, *asks: Callable[[], Any]) -> float:
    """Ask at once for what a fault denies; return the seconds until all are refused, in time and saying `words`."""

    def refused(ask: Callable[[], Any]) -> float:
        start = time.monotonic()
        with pytest.raises(flight.FlightUnavailableError, match=words):
            ask()
        return time.monotonic() - start

    with ThreadPoolExecutor(len(asks)) as threads:
        seconds = max(threads.map(refused, asks))
    assert seconds < BOUND_SECONDS[fault]
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


def check_catalog_outage(faulty: Faulty, fault: str, view: str) -> None:
    """A catalog that fails is named in time, not felt by what is pinned, and back soon; nobody has read `view`."""
    planned = faulty.lab.client.info({"historical": {"features": ["known:trips"], "entity": {"ipc": ipc(FRAME)}}})
    with FAULTS[fault](faulty.catalog):
        write = partial(faulty.write, "live", stats(9, 10))
        refused = unavailable(fault, "catalog `default`", lambda: faulty.trips(view), write)
        assert faulty.online("live", 0, 1, 2, 3) == WANTED
        assert faulty.lab.client.get_info(planned)["trips"].to_pylist() == WANTED
    recovered = eventually(lambda: works(lambda: faulty.trips(view)), RECOVERY_SECONDS)
    print(f"{fault}: refused after {refused:.1f} s, back after {recovered:.2f} s")
    assert faulty.trips(view) == WANTED
    eventually(lambda: works(lambda: faulty.write("live", stats())), RECOVERY_SECONDS)


def check_start_without_catalog(faulty: Faulty) -> None:
    """A server starts while its catalog is away, and serves when it is there."""
    with faulty.catalog.refusing():
        faulty.lab.restart()
        unavailable("refused", "catalog `default`", lambda: faulty.trips("known"))
    eventually(lambda: works(lambda: faulty.trips("known")), RECOVERY_SECONDS)
    assert faulty.online("live", 0, 1, 2, 3) == WANTED


def behind(properties: dict[str, str], key: str) -> Any:
    """A proxy before the service at an address of the properties, which then name the proxy."""
    address = urlsplit(properties[key])
    proxy = (FaultProxy if address.scheme == "http" else TcpProxy)(address.port or 80)
    properties[key] = properties[key].replace(f":{address.port}", f":{proxy.port}")
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
    catalog = behind(properties, CATALOG_ENDPOINT[properties["type"]])

    def fill(lab: Lab) -> None:
        for view in views:
            table = f"{lab.definitions.project}.{view}"
            warehouse.write(table, stats())
            lab.definitions.view(view, table, ["driver_id"])

    online = {"read_timeout_ms": 60_000}
    lab = start_over(fill, catalogs_default=properties, online=online, **(sections or {}))
    yield Faulty(lab, catalog, store)
    for proxy in (catalog, store):
        proxy.close()
