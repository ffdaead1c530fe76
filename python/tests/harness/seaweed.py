"""SeaweedFS: an S3 and, over a table bucket of it, Iceberg's REST catalog with OAuth2."""

from __future__ import annotations

import os
import time
from pathlib import Path

from pyiceberg.catalog import load_catalog
from pyiceberg.exceptions import NoSuchNamespaceError, RESTError

from harness.process import Process, free_port

# Every port is chosen: what it would listen on by itself lies 10,000 above another, or belongs to another process.
PORTS = ["master", "volume", "filer", "admin", "s3"]
MORE_PORTS = ["s3.port.lance", "filer.port.public", "volume.port.public"]


class SeaweedFS(Process):
    """An S3 with a table bucket `lab` and the Iceberg REST catalog over it."""

    name = "SeaweedFS"
    access_key, secret = "test", "weed-secret-5e0f4c"

    def __init__(self, directory: Path, weed: str) -> None:
        """Start it on free ports."""
        port, self.s3_port = free_port(), free_port()
        ports = {flag: free_port() for flag in [f"{part}.port" for part in PORTS] + MORE_PORTS}
        ports |= {f"{part}.port.grpc": free_port() for part in PORTS}
        flags = {
            "dir": directory / "data",
            "ip": "127.0.0.1",
            "ip.bind": "127.0.0.1",
            "tableBucket": "lab",
            "master.telemetry": "false",
            "webdav": "false",
            **ports,
            "s3.port": self.s3_port,
            "s3.port.iceberg": port,
        }
        (directory / "data").mkdir()
        keys = {"AWS_ACCESS_KEY_ID": self.access_key, "AWS_SECRET_ACCESS_KEY": self.secret}
        command = [weed, "mini", *(f"-{name}={value}" for name, value in flags.items())]
        log = directory / "weed.log"
        super().__init__(command, port, log, env={**os.environ, **keys}, start_new_session=True)

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
            "credential": f"{self.access_key}:{self.secret}",
            **self.s3(),
        }

    def s3(self) -> dict[str, str]:
        """What pyiceberg and Murre need to know of its S3."""
        return {
            "s3.endpoint": f"http://127.0.0.1:{self.s3_port}",
            "s3.access-key-id": self.access_key,
            "s3.secret-access-key": self.secret,
            "s3.region": "us-east-1",
            "s3.path-style-access": "true",
        }
