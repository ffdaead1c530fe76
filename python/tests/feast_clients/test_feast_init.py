"""The repository that `feast init` makes runs on Murre with one block of its feature_store.yaml changed.

Its own `test_workflow.py` is run as it is: apply, training frames, materialization, online features, a push to both
stores, teardown. It asks for on-demand features, so either the server or the client has to evaluate them.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd
import pytest
import yaml
from feast import FeatureStore
from feast_lab import feast_command
from harness.server import START_SECONDS, Server, free_port

SECONDS = 240


def run(command: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a command in a folder, with the environment's `feast` first in the path."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        command, cwd=folder, env={**os.environ, "PATH": path}, capture_output=True, text=True, timeout=SECONDS
    )


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The feature repository, as made."""
    folder = tmp_path_factory.mktemp("init")
    done = run([*feast_command(), "init", "taxi"], folder)
    assert done.returncode == 0, done.stderr
    return folder / "taxi" / "feature_repo"


@pytest.fixture
def serve(murre_binary: str, tmp_path: Path) -> Iterator[Callable[..., Server]]:
    """Serve a repository; arguments follow those that every user gives."""
    servers: list[Server] = []

    def start(repo: Path, *arguments: str) -> Server:
        port = free_port()
        flags = ["--feast-repo", str(repo), "--listen", f"127.0.0.1:{port}", *arguments]
        servers.append(Server(tmp_path, port, ["serve", *flags]))
        servers[-1].wait_until_ready(START_SECONDS)
        return servers[-1]

    yield start
    for server in servers:
        server.stop()


def copy_with_block(made: Path, folder: Path, kind: str) -> Callable[[int], Path]:
    """A copy of the repository; the function returned puts the one block into its feature_store.yaml."""
    repo = folder / "feature_repo"
    subprocess.run(["cp", "-r", str(made), str(repo)], check=True)

    def change(port: int) -> Path:
        path = repo / "feature_store.yaml"
        block = {"offline_store": {"type": kind, "host": "127.0.0.1", "port": port}}
        path.write_text(path.read_text() + yaml.safe_dump(block))
        return repo

    return change


def test_its_own_workflow_with_the_servers_evaluator(made: Path, tmp_path: Path, serve: Callable[..., Server]) -> None:
    change = copy_with_block(made, tmp_path, "remote")
    config = tmp_path / "murre.toml"
    config.write_text(f'[on_demand]\npython = "{sys.executable}"\n')
    server = serve(tmp_path / "feature_repo", "--config", str(config))
    check_workflow(change(server.port), server)


def test_its_own_workflow_with_murres_client(made: Path, tmp_path: Path, serve: Callable[..., Server]) -> None:
    change = copy_with_block(made, tmp_path, "feast_murre.MurreOfflineStore")
    server = serve(tmp_path / "feature_repo")
    check_workflow(change(server.port), server)


def check_workflow(repo: Path, server: Server) -> None:
    """Run `test_workflow.py` and look at what it printed."""
    done = run([sys.executable, "test_workflow.py"], repo)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-6000:] + server.log()
    for step in (
        "feast apply",
        "Historical features for training",
        "batch scoring",
        "Online features again",
        "teardown",
    ):
        assert step in done.stdout
    after_push = done.stdout.partition("Online features again")[2]
    # What was pushed to both stores: 1.0 + 1000 for the driver that was pushed.
    assert "1001.0" in after_push, done.stdout[-2000:]


def test_apply_train_materialize_and_read(made: Path, tmp_path: Path, serve: Callable[..., Server]) -> None:
    """Without on-demand features nothing but the block is needed, neither on the server nor on the client."""
    change = copy_with_block(made, tmp_path, "remote")
    server = serve(tmp_path / "feature_repo")
    repo = change(server.port)
    done = run([*feast_command(), "apply"], repo)
    assert done.returncode == 0, done.stdout + done.stderr + server.log()
    store = FeatureStore(repo_path=str(repo))
    stats = pd.read_parquet(repo / "data" / "driver_stats.parquet")
    newest = stats.sort_values(["event_timestamp", "created"]).groupby("driver_id").tail(1).set_index("driver_id")
    end = stats["event_timestamp"].max().to_pydatetime()
    names = ["conv_rate", "acc_rate", "avg_daily_trips"]
    features = [f"driver_hourly_stats:{name}" for name in names]

    rows = pd.DataFrame({"driver_id": [1001, 1002, 1003], "event_timestamp": [end] * 3, "label": [1, 5, 3]})
    frame = store.get_historical_features(entity_df=rows, features=features).to_df()
    assert list(frame.columns) == ["driver_id", "event_timestamp", "label", *names]
    for name in names:
        assert frame[name].tolist() == newest.loc[[1001, 1002, 1003], name].tolist()

    done = run([*feast_command(), "materialize-incremental", end.isoformat()], repo)
    assert done.returncode == 0, done.stdout + done.stderr + server.log()
    online = store.get_online_features(features=features, entity_rows=[{"driver_id": 1001}, {"driver_id": 1004}])
    found = online.to_dict()
    assert found["avg_daily_trips"] == newest.loc[[1001, 1004], "avg_daily_trips"].tolist()
    assert found["conv_rate"] == pytest.approx(newest.loc[[1001, 1004], "conv_rate"].tolist())
