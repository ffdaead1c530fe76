"""Real components beside the server: PostgreSQL, Amazon's S3 and Glue by moto, S3 and a REST catalog by SeaweedFS.

Each is started at its first use, on free ports of its own, and serves the whole test process.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.process import Process, free_port
from harness.seaweed import SeaweedFS

START_SECONDS = 120
REGION = "us-east-1"


def needs(component: str, why: str | None) -> None:
    """Skip without a real component, saying why; where MURRE_REQUIRE_ALL is set, as in CI, fail instead."""
    if why is None:
        return
    message = f"{component} cannot run here: {why}"
    if os.environ.get("MURRE_REQUIRE_ALL"):
        pytest.fail(message, pytrace=False)
    pytest.skip(message)


def beside_python(program: str) -> str:
    """The path of a program of this environment's packages."""
    found = shutil.which(program, path=str(Path(sys.executable).parent))
    needs(program, None if found else "its package is not installed")
    assert found is not None
    return found


class Postgres(Process):
    """A PostgreSQL server with a user `feast`, who has a password."""

    name = "PostgreSQL"
    password = "postgres-secret-5e0f4c"

    def __init__(self, directory: Path, binaries: Path) -> None:
        """Make a cluster in `directory` and start it."""
        user = "postgres" if os.geteuid() == 0 else None  # PostgreSQL refuses to run as root.
        data, port, secret = directory / "data", free_port(), directory / "password"
        secret.write_text(self.password)
        if user:
            shutil.chown(directory, user)
            shutil.chown(secret, user)
        flags = ["-U", "feast", "--auth=scram-sha-256", f"--pwfile={secret}", "--no-sync"]
        options: dict[str, Any] = {"user": user, "cwd": directory}
        log = directory / "postgres.log"
        initialize = Process([binaries / "initdb", "-D", data, *flags], port, log, **options)
        if initialize.process.wait(START_SECONDS) != 0:
            raise RuntimeError(f"initdb failed:\n{initialize.log()}")
        serve = [binaries / "postgres", "-D", data, "-p", port, "-h", "127.0.0.1", "-k", directory]
        super().__init__(serve, port, log, start_new_session=True, **options)

    def uri(self, database: str = "postgres", password: str | None = None) -> str:
        """The address of a database, as SQLAlchemy writes it."""
        return f"postgresql+psycopg://feast:{password or self.password}@127.0.0.1:{self.port}/{database}"

    def create_database(self, name: str) -> str:
        """Create a database; its address."""
        import psycopg

        with psycopg.connect(self.uri().replace("+psycopg", ""), autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{name}"')
        return self.uri(name)


def postgres_binaries() -> Path | None:
    """The folder with `initdb`; packages of Debian keep it out of the path."""
    found = shutil.which("initdb")
    folders = [Path(found).resolve().parent] if found else sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    return folders[-1] if folders else None


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A running PostgreSQL."""
    binaries = postgres_binaries()
    needs("PostgreSQL", None if binaries else "initdb is not installed")
    assert binaries is not None
    # Not below pytest's folder, which only its own user may enter.
    with tempfile.TemporaryDirectory(prefix="murre-pg-") as folder:
        server = Postgres(Path(folder), binaries)
        server.wait_until_ready(START_SECONDS)
        yield server
        server.stop_session()


class Moto(Process):
    """S3 with a bucket `lab`, and Glue with its version check."""

    name = "moto"
    access_key, secret = "test", "moto-secret-5e0f4c"

    def __init__(self, directory: Path) -> None:
        """Start it on a free port."""
        port = free_port()
        command = [sys.executable, "-m", "harness.moto_glue", "-H", "127.0.0.1", "-p", port]
        super().__init__(
            command, port, directory / "moto.log", cwd=Path(__file__).parent.parent, start_new_session=True
        )

    @property
    def endpoint(self) -> str:
        """The address of every service."""
        return f"http://127.0.0.1:{self.port}"

    def client(self, service: str) -> Any:
        """Amazon's own client of a service."""
        import boto3

        keys = {"aws_access_key_id": self.access_key, "aws_secret_access_key": self.secret}
        return boto3.client(service, endpoint_url=self.endpoint, region_name=REGION, **keys)

    def s3(self) -> dict[str, str]:
        """What pyiceberg and Murre need to know of its S3."""
        return {
            "s3.endpoint": self.endpoint,
            "s3.access-key-id": self.access_key,
            "s3.secret-access-key": self.secret,
            "s3.region": REGION,
            "s3.path-style-access": "true",
        }

    def glue(self) -> dict[str, str]:
        """What pyiceberg and Murre need to know of its Glue."""
        return {
            "glue.endpoint": self.endpoint,
            "glue.access-key-id": self.access_key,
            "glue.secret-access-key": self.secret,
            "glue.region": REGION,
        }


@pytest.fixture(scope="session")
def moto(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Moto]:
    """A running moto with a bucket."""
    beside_python("moto_server")
    server = Moto(tmp_path_factory.mktemp("moto"))
    server.wait_until_ready(START_SECONDS)
    server.client("s3").create_bucket(Bucket="lab")
    yield server
    server.stop_session()


@pytest.fixture(scope="session")
def seaweed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SeaweedFS]:
    """A running SeaweedFS with a table bucket."""
    server = SeaweedFS(tmp_path_factory.mktemp("weed"), beside_python("weed"))
    server.wait_until_ready(START_SECONDS)
    server.wait_for_bucket(START_SECONDS)
    yield server
    server.stop_session()
