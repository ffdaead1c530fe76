"""Every kind of catalog that Murre knows, each behind its own protocol: fixtures of the modules that run over them.

A module with fewer kinds has a fixture `kind` of its own.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.lab import Lab
from harness.warehouse import Warehouse

KINDS = ["sqlite", "postgres", "rest", "glue"]
Properties = dict[str, str]


def properties_of(kind: str, directory: Path, request: pytest.FixtureRequest) -> Properties | None:
    """A new catalog's properties; SQLite's are the warehouse's own."""
    name = f"lab_{uuid.uuid4().hex[:8]}"
    if kind == "sqlite":
        return None
    if kind == "rest":
        return {"type": "rest", **request.getfixturevalue("seaweed").properties()}
    amazon = request.getfixturevalue("moto")
    storage = {"warehouse": f"s3://lab/{name}", **amazon.s3()}
    if kind == "glue":
        return {"type": "glue", **storage, **amazon.glue()}
    return {"type": "sql", "uri": request.getfixturevalue("postgres").create_database(name), **storage}


@pytest.fixture(scope="module", params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    """The kind of catalog; tests that take it run once for each."""
    return str(request.param)


@pytest.fixture(scope="module")
def warehouse(kind: str, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Warehouse:
    """A catalog of the kind, opened by pyiceberg with the properties that Murre is given."""
    directory = tmp_path_factory.mktemp(kind)
    return Warehouse(directory, properties_of(kind, directory, request))


@pytest.fixture(scope="module")
def project(request: pytest.FixtureRequest) -> str:
    """A name for a module's project and namespace: some catalogs are shared by all modules."""
    return request.module.__name__.rpartition(".")[2]


@pytest.fixture(scope="module")
def start_over(start_lab: Callable[..., Lab], warehouse: Warehouse, project: str) -> Callable[..., Lab]:
    """Start a server over the catalog, once a function has filled its lab; sections add to its configuration."""

    def start(fill: Callable[[Lab], None], **sections: dict[str, object]) -> Lab:
        def fill_project(lab: Lab) -> None:
            lab.definitions.project = project
            fill(lab)

        return start_lab(fill_project, warehouse=warehouse, **sections)

    return start
