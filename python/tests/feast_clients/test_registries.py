"""Registries of every kind, and a registry file that is missing, changes or is torn while the server runs."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml
from conftest import needs
from drivers import DRIVER, STATS_SCHEMA, TIMES, ask_server, frame, plain, stats_source, stats_table, view
from feast import FeatureStore, FileSource
from feast.errors import FeatureViewNotFoundException
from feast_lab import UPSTREAM_SECONDS, FeastLab, feast_command
from harness.frames import at
from harness.server import Server, accepts_connections, free_port


def trips(store: FeatureStore, name: str = "stats") -> list[object]:
    found = store.get_historical_features(entity_df=frame((1, at()), (2, at())), features=[f"{name}:trips"])
    return plain(found.to_df()["trips"])


def test_the_registry_file_may_come_later(new_lab: Callable[..., FeastLab]) -> None:
    lab = new_lab().start()
    assert not lab.registry_path.exists()
    stats = view("stats", stats_source(lab, "iceberg"), STATS_SCHEMA)
    with pytest.raises(FeatureViewNotFoundException):
        ask_server(lab.store, stats, "trips", frame((1, at())))
    lab.store.apply([DRIVER, stats])
    assert trips(lab.store) == [30, 70]


def test_changes_are_seen_by_the_next_request(new_lab: Callable[..., FeastLab]) -> None:
    lab = new_lab().start()
    source = stats_source(lab, "iceberg")
    for index in range(5):
        lab.store.apply([DRIVER, view(f"stats_{index}", source, STATS_SCHEMA)])
        assert trips(lab.store, f"stats_{index}") == [30, 70]
    removed = lab.store.get_feature_view("stats_0")
    lab.store.apply([], objects_to_delete=[removed], partial=False)
    with pytest.raises(FeatureViewNotFoundException):
        ask_server(lab.store, removed, "trips", frame((1, at())))


@pytest.mark.parametrize("kept", [0.0, 0.5, 0.99], ids=["empty", "half", "almost"])
def test_while_the_file_is_torn_the_last_good_one_counts(new_lab: Callable[..., FeastLab], kept: float) -> None:
    lab = new_lab().start()
    stats = view("stats", stats_source(lab, "iceberg"), STATS_SCHEMA)
    lab.store.apply([DRIVER, stats])
    assert trips(lab.store) == [30, 70]
    whole = lab.registry_path.read_bytes()
    lab.registry_path.write_bytes(whole[: int(len(whole) * kept)])
    assert plain(ask_server(lab.store, stats, "trips", frame((1, at())))["trips"]) == [30]
    lab.registry_path.write_bytes(whole)
    lab.store.apply([view("another", stats_source(lab, "iceberg", "another_source"), STATS_SCHEMA)])
    assert trips(lab.store, "another") == [30, 70]


def check(lab: FeastLab) -> None:
    """Apply and read twice, so that a stale answer would show."""
    source = stats_source(lab, "iceberg")
    lab.store.apply([DRIVER, view("stats", source, STATS_SCHEMA)])
    assert trips(lab.store) == [30, 70]
    lab.store.apply([view("later", source, STATS_SCHEMA)])
    assert trips(lab.store, "later") == [30, 70]


def test_sqlite(new_lab: Callable[..., FeastLab], tmp_path: Path) -> None:
    registry = {"registry_type": "sql", "path": f"sqlite:///{tmp_path / 'registry.sqlite'}"}
    lab = new_lab(registry=registry)
    # Murre never creates Feast's tables: the client does.
    check(lab.start())


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
    server = RegistryServer(tmp_path, free_port())
    server.wait_until_ready(UPSTREAM_SECONDS)
    yield server
    server.process.kill()
    server.process.wait()


def test_a_registry_server(new_lab: Callable[..., FeastLab], registry_server: Server) -> None:
    registry = {"registry_type": "remote", "path": f"localhost:{registry_server.port}"}
    check(new_lab(registry=registry).start())


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
    binaries = postgres_binaries()
    needs("PostgreSQL", None if binaries else "initdb is not installed")
    assert binaries is not None
    with tempfile.TemporaryDirectory(prefix="murre-pg-") as folder:
        server = Postgres(Path(folder), free_port(), binaries)
        server.wait_until_ready(60)
        yield server
        server.process.send_signal(signal.SIGINT)  # "Fast": does not wait for clients.
        server.process.wait(60)


def test_postgresql(new_lab: Callable[..., FeastLab], postgres: Server) -> None:
    path = f"postgresql+psycopg://feast@127.0.0.1:{postgres.port}/postgres"
    check(new_lab(registry={"registry_type": "sql", "path": path}).start())


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


def test_registry_and_files_on_s3(new_lab: Callable[..., FeastLab], s3: str, tmp_path: Path) -> None:
    import boto3
    import pyarrow.parquet as pq

    pq.write_table(stats_table(), tmp_path / "stats.parquet")
    boto3.client("s3", endpoint_url=s3).upload_file(str(tmp_path / "stats.parquet"), "lab", "data/stats.parquet")
    lab = new_lab(registry="s3://lab/registry.pb").start()
    check(lab)
    source = FileSource(name="s3_source", path="s3://lab/data/stats.parquet", s3_endpoint_override=s3, **TIMES)
    lab.store.apply([view("from_s3", source, STATS_SCHEMA)])
    assert trips(lab.store, "from_s3") == [30, 70]
