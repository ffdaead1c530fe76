"""Serves moto's AWS with the version check of Glue, which moto leaves out: commits would overwrite each other.

python -m harness.moto_glue -H 127.0.0.1 -p 5000
"""

from __future__ import annotations

import sys
import threading
from typing import Any

from moto.core.exceptions import JsonRESTError
from moto.glue.responses import GlueResponse
from moto.server import main

COMMITS = threading.Lock()
unchecked = GlueResponse.update_table


def update_table(response: GlueResponse) -> Any:
    """Refuse an update of another version than the table's newest, as AWS does."""
    with COMMITS:
        wanted = response.parameters.get("VersionId")
        name = response.parameters["TableInput"]["Name"]
        table = response.glue_backend.get_table(response.parameters["DatabaseName"], name)
        if wanted is not None and wanted != table.as_dict()["VersionId"]:
            raise JsonRESTError(
                "ConcurrentModificationException", f"Update table failed due to concurrent change: {name}"
            )
        return unchecked(response)


if __name__ == "__main__":
    GlueResponse.update_table = update_table
    main(sys.argv[1:])
