"""Real components beside the server, each a fixture: a registry server, and an S3 that the whole process uses."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from feast_lab import UPSTREAM_SECONDS, feast_command
from harness.components import REGION, Moto
from harness.process import Process, free_port


class RegistryServer(Process):
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
        command = [*feast_command(), "-c", directory, "serve_registry", "-p", port]
        super().__init__(command, port, directory / "registry.log")


@pytest.fixture
def registry_server(tmp_path: Path) -> Iterator[RegistryServer]:
    """Feast's registry server over an empty registry file."""
    server = RegistryServer(tmp_path, free_port())
    server.wait_until_ready(UPSTREAM_SECONDS)
    yield server
    server.process.kill()
    server.process.wait()


@pytest.fixture
def s3(moto: Moto, monkeypatch: pytest.MonkeyPatch) -> str:
    """The endpoint of an S3 that has a bucket `lab`; all of this process and its children use it."""
    for name, value in {
        "AWS_ENDPOINT_URL": moto.endpoint,
        "FEAST_S3_ENDPOINT_URL": moto.endpoint,
        "AWS_ACCESS_KEY_ID": moto.access_key,
        "AWS_SECRET_ACCESS_KEY": moto.secret,
        "AWS_REGION": REGION,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_ALLOW_HTTP": "true",
    }.items():
        monkeypatch.setenv(name, value)
    return moto.endpoint
