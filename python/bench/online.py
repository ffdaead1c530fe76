"""Measures online reads and writes through Murre against Feast on Redis and SQLite, raw Redis, and DuckDB on the files.

    cd python && MURRE_BIN=../target/release/murre uv run --project bench python bench/online.py --out ../data/online

Needs a release build and `redis-server` on the PATH, which is started on a free port without persistence. All stores
hold the same entities; answers are compared first. Every client runs in a process of its own; clients take turns within
each round, and figures are medians over the rounds. --quick is a small run that only shows that everything works.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

import numpy as np
import online_cold
import online_writes
from online_data import COLD_VIEW, rows
from online_measure import Clients, Latency, middle, summary
from online_places import FeastStore, Murre, Redis, resident_bytes
from online_readers import READERS, Places, values
from online_report import markdown

LOAD_ROWS = 500_000
WRITER_ROWS = 100
WRITER_PAUSE = 0.2
MURRE_READERS = ("murre_doget", "murre_exchange", "feast_murre")


def say(text: str) -> None:
    """Progress, beside the results."""
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


class Bench:
    """The stores of one run and what was found."""

    def __init__(self, asked: argparse.Namespace, directory: Path) -> None:
        """Nothing is started yet."""
        self.asked = asked
        self.directory = directory
        self.registry = directory / "registry.db"
        self.places: Places = {}
        self.found: dict[str, Any] = {"entities": asked.entities, "memory": {}, "storage": {}, "load_rows_per_s": {}}
        self.feast: dict[str, FeastStore] = {}
        self.murre: Murre | None = None
        self.redis: Redis | None = None

    def readers(self, *, but: tuple[str, ...] = ()) -> list[str]:
        """The readers that were asked for."""
        return [name for name in self.asked.readers if name not in but]

    def tables(self) -> Iterator[Any]:
        """All entities, in pieces."""
        for start in range(0, self.asked.entities, LOAD_ROWS):
            yield rows(np.arange(start, min(start + LOAD_ROWS, self.asked.entities)))

    def _loaded(self, name: str, load: Callable[[Any], Any]) -> None:
        say(f"loading {self.asked.entities:,} entities into {name}")
        took = 0.0
        for table in self.tables():
            start = time.perf_counter()
            load(table)
            took += time.perf_counter() - start
        self.found["load_rows_per_s"][name] = self.asked.entities / took

    def start_redis(self) -> None:
        """Start and load Redis through Feast."""
        self.redis = Redis(self.directory)
        before = self.redis.memory()
        config = {"type": "redis", "connection_string": f"127.0.0.1:{self.redis.port}"}
        store = self._feast("feast_redis", config)
        self.places["redis_port"] = self.redis.port
        self._loaded("redis", store.load)
        after = self.redis.memory()
        each = {name: (after[name] - before[name]) / self.asked.entities for name in before}
        self.found["memory"]["redis"] = {"before": before, "after": after, "per_entity": each}

    def start_sqlite(self) -> None:
        """Make and load Feast's SQLite store."""
        path = self.directory / "online.db"
        store = self._feast("feast_sqlite", {"type": "sqlite", "path": str(path)})
        self._loaded("sqlite", store.load)
        self.found["storage"]["sqlite"] = path.stat().st_size / self.asked.entities

    def start_murre(self) -> None:
        """Start and load Murre; weigh it before, and after a restart with all entities in memory."""
        self.murre = Murre(self.directory, self.registry).start()
        self._loaded("murre", self.murre.write)
        self.found["storage"]["murre"] = self.murre.storage_bytes() / self.asked.entities
        loaded = resident_bytes(self.murre.server.pid)
        self.murre.stop()
        self.murre.start()
        self.places["murre"] = self.murre.server.location
        before = resident_bytes(self.murre.server.pid)
        read = READERS["murre_doget"](self.places)
        for start in range(0, self.asked.entities, 10_000):
            read(list(range(start, min(start + 10_000, self.asked.entities))))
        after = resident_bytes(self.murre.server.pid)
        each = (after - before) / self.asked.entities
        memory = {"after_writing": loaded, "restarted": before, "all_in_memory": after, "per_entity": each}
        self.found["memory"]["murre"] = memory
        if "feast_murre" in self.asked.readers:
            config = {"type": "feast_murre.MurreOnlineStore", "host": "127.0.0.1", "port": self.murre.port}
            self._feast("feast_murre", config)

    def _feast(self, name: str, online_store: dict[str, Any]) -> FeastStore:
        store = FeastStore(self.directory / name, self.registry, online_store)
        self.feast[name] = store
        self.places[name] = str(store.folder)
        return store

    def compare(self) -> None:
        """All readers must give the same values, for entities known and unknown."""
        keys = [0, 1, self.asked.entities // 2, self.asked.entities - 1, self.asked.entities + 7]
        answers = {name: values(name, READERS[name](self.places)(keys)) for name in self.readers(but=("redis_raw",))}
        first = next(iter(answers), None)
        for name, answer in answers.items():
            if answer != answers[first]:
                raise SystemExit(f"{name} answers {answer}, {first} answers {answers[first]}")

    def warm(self, count: int) -> list[dict[str, Any]]:
        """Latency of every reader and batch size, with so many clients at once."""
        clients = {name: Clients(name, self.places, count) for name in self.readers()}
        measured: dict[tuple[str, int], list[Latency]] = {}
        for number in range(self.asked.rounds):
            say(f"{count} clients, round {number + 1} of {self.asked.rounds}")
            for batch in self.asked.batches:
                for name, group in clients.items():
                    took = group.run(batch, self.asked.seconds, number + 1, self.asked.entities)
                    measured.setdefault((name, batch), []).append(took)
        for group in clients.values():
            group.stop()
        return [{"reader": n, "batch": b, "clients": count, **asdict(middle(m))} for (n, b), m in measured.items()]

    def during_writes(self) -> list[dict[str, Any]]:
        """One client's reads while small writes go on, against the same reads without."""
        found = []
        for name in self.readers(but=("feast_sqlite",)):
            murre = self.murre if name in MURRE_READERS else None
            write = murre.write if murre else online_writes.write_feast(self.feast["feast_redis"])
            clients = Clients(name, self.places, 1)
            for batch in (batch for batch in self.asked.batches if batch <= 10):
                still, busy, writes = [], [], 0
                for number in range(self.asked.rounds):
                    seconds = self.asked.seconds * 2
                    still.append(clients.run(batch, seconds, number + 50, self.asked.entities))
                    writer = online_writes.Writer(write, self.asked.entities, WRITER_ROWS, WRITER_PAUSE)
                    busy.append(clients.run(batch, seconds, number + 90, self.asked.entities))
                    writes += writer.stop()
                line = {"reader": name, "batch": batch, "writes": writes}
                found.append({**line, "still": asdict(middle(still)), "busy": asdict(middle(busy))})
            clients.stop()
        return found

    def writes(self) -> dict[str, Any]:
        """Rows a second of one large write until it is visible, for each way to write."""
        count = min(self.asked.write_rows, self.asked.entities)
        ways: dict[str, Callable[[Any], float]] = {}
        if "feast_redis" in self.feast:
            ways["feast_redis"] = lambda table: online_writes.feast_prepared(self.feast["feast_redis"], table)
            ways["feast_redis_dataframe"] = lambda table: online_writes.feast_frame(self.feast["feast_redis"], table)
        if (murre := self.murre) is not None:
            ways["murre"] = lambda table: online_writes.murre_put(murre, table)
        if "feast_murre" in self.feast:
            ways["feast_murre"] = lambda table: online_writes.feast_prepared(self.feast["feast_murre"], table)
            ways["feast_murre_dataframe"] = lambda table: online_writes.feast_frame(self.feast["feast_murre"], table)
        took: dict[str, list[float]] = {}
        for number in range(self.asked.rounds):
            say(f"writes of {count:,} rows, round {number + 1} of {self.asked.rounds}")
            for name, way in ways.items():
                took.setdefault(name, []).append(way(rows(np.arange(count), next(online_writes.Generations))))
        return {name: count / float(np.median(seconds)) for name, seconds in took.items()}

    def cold(self) -> dict[str, Any]:
        """Single keys in buckets that nobody read before."""
        murre = self.murre
        assert murre is not None
        online_cold.load(murre, self.asked.entities)
        ours, loads, theirs, first = [], [], [], []
        for number in range(self.asked.rounds):
            say(f"cold reads, round {number + 1} of {self.asked.rounds}")
            files, right, entity_keys = online_cold.pick(murre, self.asked.entities, self.asked.cold_keys, number)
            once, again = online_cold.measure_murre(murre, list(right))
            first.append(once[0] / 1000)
            ours += once[1:]
            loads += again
            theirs += online_cold.measure_duckdb(right, entity_keys)
        cold = {"files": files, "first_read_ms": float(np.median(first)), "view": COLD_VIEW}
        for name, micros in (("murre", ours), ("murre_load", loads), ("duckdb", theirs)):
            cold[name] = asdict(summary(micros, sum(micros) / 1e6))
        return cold

    def run(self) -> dict[str, Any]:
        """Everything that was asked for."""
        asked, names = self.asked, self.asked.readers
        if {"redis_raw", "feast_redis"} & set(names):
            self.start_redis()
        if "feast_sqlite" in names:
            self.start_sqlite()
        if set(MURRE_READERS) & set(names):
            self.start_murre()
        self.compare()
        self.found["warm"] = [line for count in asked.clients for line in self.warm(count)]
        self.found["during_writes"] = self.during_writes()
        self.found["write_rows_per_s"] = self.writes()
        if self.murre is not None:
            self.found["storage"]["murre_after_all_writes"] = self.murre.storage_bytes() / asked.entities
            self.found["cold"] = self.cold()
        return self.found

    def stop(self) -> None:
        """Stop what was started."""
        for store in (self.redis, self.murre):
            if store is not None:
                with contextlib.suppress(AttributeError):
                    store.stop()


def parse_arguments() -> argparse.Namespace:
    """The command line; numbers may contain underscores."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--entities", type=int, default=1_000_000)
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 10, 100, 1000])
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--readers", nargs="+", default=list(READERS), choices=list(READERS))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0, help="of reads in one measurement")
    parser.add_argument("--write-rows", type=int, default=100_000)
    parser.add_argument("--cold-keys", type=int, default=100, help="cold reads in one round, each in another bucket")
    parser.add_argument("--out", type=Path, help="write OUT.json and OUT.md")
    parser.add_argument("--dir", type=Path, help="where the stores live; default a temporary folder")
    parser.add_argument("--quick", action="store_true", help="few entities, one short round")
    asked = parser.parse_args()
    if asked.quick:
        asked.entities, asked.rounds, asked.seconds = min(asked.entities, 5_000), 1, 0.2
        asked.write_rows, asked.cold_keys, asked.clients, asked.batches = 2_000, 8, [1, 2], [1, 10, 100]
    return asked


def main() -> None:
    """Run, print, save."""
    asked = parse_arguments()
    with tempfile.TemporaryDirectory(prefix="murre-online-") as temporary:
        directory = asked.dir.resolve() if asked.dir else Path(temporary)
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir(parents=True)
        bench = Bench(asked, directory)
        try:
            found = bench.run()
        finally:
            bench.stop()
    text = markdown(found)
    print(text)
    if asked.out:
        asked.out.parent.mkdir(parents=True, exist_ok=True)
        asked.out.with_suffix(".json").write_text(json.dumps(found, indent=2))
        asked.out.with_suffix(".md").write_text(text)


if __name__ == "__main__":
    main()
