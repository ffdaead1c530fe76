"""Runs a measurement in a process of its own, so that its peak memory is its own and its end is not ours.

The parent writes the dataframe and a task to files and reads the measurement from the child's standard output. The
child offers itself to the kernel first when memory runs out.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pit_measure import Answer, Case, Measurement
from pit_views import VIEWS, Source


@dataclass(frozen=True)
class Task:
    """What a child is to measure; `files` are the data files of each view."""

    case: Case
    frame: str
    files: list[list[str]]
    repeat: int

    @property
    def sources(self) -> list[Source]:
        """The views of the request with their files."""
        return list(zip(VIEWS, self.files, strict=False))

    def read_frame(self) -> pa.Table:
        """The dataframe, in memory."""
        return pq.read_table(self.frame)


def from_dict(values: dict[str, Any]) -> Measurement:
    """A measurement from its JSON."""
    return Measurement(**{**values, "case": Case(**values["case"]), "answer": Answer(**values["answer"])})


def measure_apart(
    command: list[str], case: Case, frame: pa.Table, files: list[list[str]], repeat: int, timeout: float
) -> Measurement:
    """Measure with a script that calls `child_task`; one that fails or takes too long is a measurement too."""
    with tempfile.TemporaryDirectory() as name:
        handed_over, task = Path(name) / "frame.parquet", Path(name) / "task.json"
        pq.write_table(frame, handed_over)
        task.write_text(json.dumps(asdict(Task(case, str(handed_over), files, repeat))))
        try:
            output = subprocess.run([*command, str(task)], capture_output=True, text=True, timeout=timeout)
        except subprocess.TimeoutExpired:
            return Measurement(case, failure=f"FAILED: took over {timeout:.0f} s")
    if output.returncode:
        print(output.stderr, file=sys.stderr)
        return Measurement(case, failure=f"FAILED with code {output.returncode}: {last_error(output.stderr)}")
    return from_dict(json.loads(output.stdout.splitlines()[-1]))


def last_error(text: str) -> str:
    """The last line of a traceback that names an error."""
    lines = [line for line in text.splitlines() if "Error: " in line and not line.startswith(" ")]
    return lines[-1] if lines else "no error message"


def child_task() -> Task:
    """The task that the command line names."""
    Path("/proc/self/oom_score_adj").write_text("1000")
    values = json.loads(Path(sys.argv[1]).read_text())
    return Task(**{**values, "case": Case(**values["case"])})


def child_result(measurement: Measurement) -> None:
    """Hand the measurement to the parent."""
    print("\n" + json.dumps(asdict(measurement)))
