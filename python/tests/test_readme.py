"""The documentation's Python lines work when pasted: they run here against `murre demo --serve`, unchanged.

An example is the first ```python fence after its heading.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness.server import Server

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md", "## Use it from Python")
ONLINE_STORE = (ROOT / "docs" / "online-store.md", "## Write and read")
MOST_LINES = 20
DEMO_PORT = 8815
DEMO_SECONDS = 240
MOST_READS = 20


def example(page: Path, heading: str) -> str:
    """The code that users paste."""
    text = page.read_text()
    found = re.search(rf"^{heading}\n.*?^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    assert found, f"{page} has no python block under {heading!r}"
    return found.group(1)


def run(code: str) -> subprocess.CompletedProcess[str]:
    """Run pasted code."""
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)


def run_until_in_time(code: str) -> subprocess.CompletedProcess[str]:
    """Run pasted code whose first read may take too long, as its page says."""
    for _ in range(MOST_READS):
        done = run(code)
        if "FlightTimedOutError" not in done.stderr:
            break
    return done


@pytest.fixture(scope="module")
def demo(murre_binary: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """`murre demo --serve` in an empty directory, at its default address."""
    server = Server(tmp_path_factory.mktemp("demo"), DEMO_PORT, ["demo", "--serve"])
    server.wait_until_ready(DEMO_SECONDS)
    yield server
    server.stop()


def test_example_is_short() -> None:
    assert len(example(*README).splitlines()) <= MOST_LINES


def test_example_works_when_pasted(demo: Server) -> None:
    done = run(example(*README))
    assert done.returncode == 0, done.stderr + demo.log()
    assert done.stdout.strip(), "the example shows nothing"


def test_online_example_works_when_pasted(demo: Server) -> None:
    code = example(*ONLINE_STORE)
    done = run_until_in_time(code)
    assert done.returncode == 0, done.stderr + demo.log()
    shown = [line.split()[1:] for line in done.stdout.splitlines()[1:]]
    assert shown == [["1002", "0.48"], ["1001", "0.61"], ["7", "NaN"]]
    again = run_until_in_time(code + 'print(written["replayed"])\n')
    assert again.stdout == done.stdout + "True\n", again.stderr + demo.log()
