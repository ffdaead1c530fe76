"""How one engine is measured: wall, CPU and peak memory of a process, and what its answer is worth."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
from pit_views import VIEWS, features_of, typed_columns


@dataclass(frozen=True)
class Case:
    """What is measured: an engine, on a layout, for a dataframe."""

    engine: str
    layout: str
    views: int
    entities: int


@dataclass(frozen=True)
class Answer:
    """A digest of an answer; for an engine that loses rows, that of the right answer and how its own differs."""

    checksum: str = ""
    lost: int = 0
    wrong: int = 0


@dataclass
class Measurement:
    """What one engine took for one dataframe: medians, and every wall time."""

    case: Case
    wall_s: float = 0.0
    cpu_s: float = 0.0
    peak_mb: float = 0.0
    answer: Answer = Answer()
    walls_s: list[float] = field(default_factory=list)
    failure: str = ""


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


def measure(
    case: Case,
    frames: Iterable[pa.Table],
    pid: int,
    run: Callable[[pa.Table], pa.Table],
    judge: Callable[[Case, pa.Table, pa.Table], Answer],
) -> Measurement:
    """Run the first dataframe to warm up, measure the others, and judge the answer to the last."""
    remaining = iter(frames)
    run(next(remaining))
    reset_peak(pid)
    walls, cpus = [], []
    for frame in remaining:
        result = None  # the previous result must not count as memory of this run
        cpu, wall = cpu_seconds(pid), time.perf_counter()
        result = run(frame)
        walls.append(time.perf_counter() - wall)
        cpus.append(cpu_seconds(pid) - cpu)
    peak = peak_mb(pid)
    median = statistics.median
    return Measurement(case, median(walls), median(cpus), peak, judge(case, frame, result), walls)


def in_order(case: Case, frame: pa.Table, result: pa.Table) -> Answer:
    """The answer of an engine that must return each entity row once, where it stood."""
    for name in frame.column_names:
        returned = result[name].cast(frame.schema.field(name).type)
        if returned != frame[name]:
            raise SystemExit(f"{case.engine}: column {name} of the result differs from the dataframe")
    return any_order(case, frame, result)


def any_order(case: Case, frame: pa.Table, result: pa.Table) -> Answer:
    """The answer of an engine that promises no order."""
    return Answer(checksum(case, result), lost=len(frame) - len(result))


def no_answer(case: Case, frame: pa.Table, result: pa.Table) -> Answer:
    """For what only reads."""
    return Answer()


def checksum(case: Case, result: pa.Table) -> str:
    """A digest of the rows' values that depends neither on their order nor on how columns are encoded."""
    import duckdb  # after the measured run, so that it does not count as its memory

    views = list(VIEWS[: case.views])
    connection = duckdb.connect()
    connection.register("result", result)
    counts = ", ".join(f"count({name})" for name in features_of(views))
    row = f"hash({', '.join(typed_columns(views))})"
    values = connection.execute(f"SELECT count(*), sum({row}::HUGEINT), {counts} FROM result").fetchone()
    return " ".join(map(str, values or ()))


def rows_not_in(case: Case, result: pa.Table, reference: pa.Table) -> int:
    """How many rows of an answer are not in the right one."""
    import duckdb

    columns = ", ".join(typed_columns(list(VIEWS[: case.views])))
    connection = duckdb.connect()
    connection.register("result", result)
    connection.register("reference", reference)
    query = f"SELECT count(*) FROM (SELECT {columns} FROM result EXCEPT ALL SELECT {columns} FROM reference)"
    [(count,)] = connection.execute(query).fetchall()
    return int(count)
