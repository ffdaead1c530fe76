"""The README's Python lines work when pasted: they run here against `murre demo --serve`, unchanged.

The block is the first ```python fence after the heading "## Use it from Python".
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness.server import Server

README = Path(__file__).resolve().parents[2] / "README.md"
HEADING = "## Use it from Python"
MOST_LINES = 20
DEMO_PORT = 8815
DEMO_SECONDS = 240


def example() -> str:
    """The code that users paste."""
    text = README.read_text()
    found = re.search(rf"^{HEADING}\n.*?^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    assert found, f"{README} has no python block under {HEADING!r}"
    return found.group(1)


@pytest.fixture(scope="module")
def demo(murre_binary: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """`murre demo --serve` in an empty directory, at its default address."""
    server = Server(tmp_path_factory.mktemp("demo"), DEMO_PORT, ["demo", "--serve"])
    server.wait_until_ready(DEMO_SECONDS)
    yield server
    server.stop()


def test_example_is_short() -> None:
    assert len(example().splitlines()) <= MOST_LINES


def test_example_works_when_pasted(demo: Server) -> None:
    done = subprocess.run([sys.executable, "-c", example()], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr + demo.log()
    assert done.stdout.strip(), "the example shows nothing"
