"""Starts one server per module and source kind; shows its log beside a failure."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from components import registry_server, s3
from feast_lab import FeastLab
from harness.components import moto, postgres, seaweed

__all__ = ["moto", "postgres", "registry_server", "s3", "seaweed"]

KINDS = ["iceberg", "parquet"]
STARTED: list[FeastLab] = []


@pytest.fixture(scope="module", params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    """What the features of a module are stored in; tests that take it run once for each."""
    return str(request.param)


@pytest.fixture(scope="module")
def new_lab(murre_binary: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., FeastLab]]:
    """Make a lab in a directory of its own; its server is stopped when the module is done."""
    labs: list[FeastLab] = []

    def make(**options: Any) -> FeastLab:
        lab = FeastLab(tmp_path_factory.mktemp("feast"), **options)
        labs.append(lab)
        STARTED.append(lab)
        return lab

    yield make
    for lab in labs:
        lab.stop()
        STARTED.remove(lab)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """Add the log of the running servers to the report of a failed test."""
    report = yield
    if report.failed:
        for lab in STARTED:
            if lab._server is not None:
                report.sections.append((f"log of the server on port {lab.server.port}", lab.server.log()))
    return report
