"""Python side of Murre, an Arrow Flight server for feature stores over Apache Iceberg.

Feast's own remote offline store works with Murre as it is. This package adds what that store lacks:

- `MurreOfflineStore`, an offline store over the same wire that evaluates on-demand feature views on the client, streams
  results, shows progress and sends join key maps.
- `MurreOnlineStore`, an online store that reads all views of a request in one round trip over channels that stay open.
- `IcebergSource`, a data source that `BatchFeatureView` takes, with `SavedDatasetIcebergStorage` and
  `IcebergLoggingDestination` beside it.
- `feast_murre.worker`, the process in which a Murre server evaluates on-demand feature views for other clients.

Names load when they are used: importing the package needs neither Feast nor pyarrow.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from feast_murre.iceberg_destinations import IcebergLoggingDestination, SavedDatasetIcebergStorage
    from feast_murre.iceberg_source import IcebergSource
    from feast_murre.offline_store import MurreOfflineStore, MurreOfflineStoreConfig
    from feast_murre.online_store import MurreOnlineStore, MurreOnlineStoreConfig
    from feast_murre.retrieval import MurreRetrievalJob

__version__ = "0.1.0"

__all__ = [
    "IcebergLoggingDestination",
    "IcebergSource",
    "MurreOfflineStore",
    "MurreOfflineStoreConfig",
    "MurreOnlineStore",
    "MurreOnlineStoreConfig",
    "MurreRetrievalJob",
    "SavedDatasetIcebergStorage",
    "__version__",
]

_HOMES = {
    "IcebergLoggingDestination": "feast_murre.iceberg_destinations",
    "IcebergSource": "feast_murre.iceberg_source",
    "MurreOfflineStore": "feast_murre.offline_store",
    "MurreOfflineStoreConfig": "feast_murre.offline_store",
    "MurreOnlineStore": "feast_murre.online_store",
    "MurreOnlineStoreConfig": "feast_murre.online_store",
    "MurreRetrievalJob": "feast_murre.retrieval",
    "SavedDatasetIcebergStorage": "feast_murre.iceberg_destinations",
}


def __getattr__(name: str) -> Any:
    """Load a public name from its module."""
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(home), name)
