"""A Feast repository whose offline store is a fake Murre. Where Feast is not installed there is nothing to test."""

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

if find_spec("feast") is None:
    collect_ignore_glob = ["test_*.py"]
else:
    from fake_murre import FakeMurre
    from feast import FeatureStore
    from repository import store_of

    @pytest.fixture
    def murre() -> Iterator[FakeMurre]:
        """A running server."""
        with FakeMurre() as server:
            yield server

    @pytest.fixture
    def store(murre: FakeMurre, tmp_path: Path) -> FeatureStore:
        """A feature store with the definitions of `repository`, applied."""
        return store_of(murre.port, tmp_path)
