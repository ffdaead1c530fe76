"""How one engine is measured: wall, CPU and peak memory of a process, and a digest of the answer."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

FEATURES = ["d1", "d2", "d3", "d4", "f1", "f2", "l1", "i1", "s1", "s2"]


@dataclass
class Measurement:
    """What one engine took for one dataframe."""

    engine: str
    entities: int
    wall_s: float
    cpu_s: float
    peak_mb: float
    checksum: str


def cpu_seconds(pid: int) -> float:
    """User and system time of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def peak_mb(pid: int) -> float:
    """Greatest resident memory of a process since it started or since `reset_peak`."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))


def reset_peak(pid: int) -> None:
    """Let the next `peak_mb` count from here."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def measure(engine: str, frame: pa.Table, pid: int, repeat: int, run: Callable[[], pa.Table]) -> Measurement:
    """Run once to warm up and `repeat` times to measure."""
    run()
    reset_peak(pid)
    walls, cpus = [], []
    for _ in range(repeat):
        result = None  # the previous result must not count as memory of this run
        cpu, wall = cpu_seconds(pid), time.perf_counter()
        result = run()
        walls.append(time.perf_counter() - wall)
        cpus.append(cpu_seconds(pid) - cpu)
    peak = peak_mb(pid)
    assert result is not None
    require_input_order(engine, frame, result)
    median = statistics.median
    return Measurement(engine, len(frame), median(walls), median(cpus), peak, checksum(result))


def require_input_order(engine: str, frame: pa.Table, result: pa.Table) -> None:
    """Every engine must return each entity row once, where it stood."""
    for name in frame.column_names:
        returned = result[name].cast(frame.schema.field(name).type)
        if returned != frame[name]:
            raise SystemExit(f"{engine}: column {name} of the result differs from the dataframe")


def checksum(result: pa.Table) -> str:
    """A digest of the rows' values that depends neither on their order nor on how columns are encoded."""
    import duckdb  # after the measured run, so that it does not count as its memory

    connection = duckdb.connect()
    connection.register("result", result)
    instant = "epoch_us(event_timestamp)"
    row = f"hash(driver_id::BIGINT, {instant}, {', '.join(FEATURES)})"
    counts = ", ".join(f"count({name})" for name in FEATURES)
    values = connection.execute(f"SELECT count(*), sum({row}::HUGEINT), {counts} FROM result").fetchone()
    return " ".join(map(str, values or ()))
