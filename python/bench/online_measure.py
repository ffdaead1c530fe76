"""Runs readers in processes of their own and sums up what they took."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

READERS = Path(__file__).with_name("online_readers.py")


@dataclass
class Latency:
    """Milliseconds of requests and requests a second, by one or several clients at once."""

    p50: float
    p95: float
    p99: float
    per_second: float
    requests: int


def summary(micros: list[int], seconds: float) -> Latency:
    """What so many requests in so many seconds amount to."""
    ordered = sorted(micros)
    at = lambda share: ordered[min(len(ordered) - 1, int(share * len(ordered)))] / 1000  # noqa: E731
    return Latency(at(0.5), at(0.95), at(0.99), len(ordered) / seconds, len(ordered))


def middle(rounds: list[Latency]) -> Latency:
    """The median of each figure over the rounds."""
    pick = lambda name: statistics.median(getattr(one, name) for one in rounds)  # noqa: E731
    return Latency(pick("p50"), pick("p95"), pick("p99"), pick("per_second"), sum(one.requests for one in rounds))


class Clients:
    """Processes that read with the same reader at the same time."""

    def __init__(self, reader: str, places: dict[str, Any], count: int) -> None:
        """Start `count` processes and wait until all are connected."""
        command = [sys.executable, str(READERS), reader, json.dumps(places)]
        pipe = subprocess.PIPE
        self.reader = reader
        self.processes = [subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) for _ in range(count)]
        for process in self.processes:
            self._line(process)

    def run(self, batch: int, seconds: float, seed: int, entities: int) -> Latency:
        """Let all of them read at once, each other keys."""
        start = time.perf_counter()
        for number, process in enumerate(self.processes):
            order = {"batch": batch, "seconds": seconds, "seed": seed * 1000 + number, "entities": entities}
            assert process.stdin is not None
            process.stdin.write(json.dumps(order) + "\n")
            process.stdin.flush()
        answers = [json.loads(self._line(process)) for process in self.processes]
        longest = max(sum(answer) for answer in answers) / 1e6
        return summary([one for answer in answers for one in answer], min(longest, time.perf_counter() - start))

    def stop(self) -> None:
        """End the processes."""
        for process in self.processes:
            assert process.stdin is not None
            process.stdin.close()
            process.wait(30)

    def _line(self, process: subprocess.Popen[str]) -> str:
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            raise SystemExit(f"the process of reader {self.reader} ended with code {process.wait()}")
        return line
