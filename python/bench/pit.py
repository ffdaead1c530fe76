"""Measures historical retrieval through Murre against DuckDB and Polars on the same files, and checks equal answers.

    MURRE_BIN=../target/release/murre uv run python bench/pit.py --rows 10_000_000 --entities 10_000 100_000 1_000_000

The data is made once under --dir. Murre is measured as its clients see it: upload, DoGet and the whole result in
memory. Peers run in a process each and get the file list and the dataframe for free. Wall, CPU and peak memory are
medians of --repeat runs after one that warms the page cache; Murre's CPU and peak are the server's.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

import pyarrow as pa
import pyarrow.parquet as pq
from harness.client import Client
from harness.definitions import Definitions
from harness.server import Server
from harness.warehouse import Warehouse, data_files
from pit_data import TABLE, TTL_DAYS, entity_frame, prepare, report
from pit_measure import FEATURES, Measurement, measure
from pit_peers import PEERS

TTL_US = TTL_DAYS * 86_400_000_000


def measure_murre(warehouse: Warehouse, frames: list[pa.Table], repeat: int) -> list[Measurement]:
    """Measure a server that is started for this and stopped again."""
    definitions = Definitions("bench")
    definitions.view(
        "driver_stats", TABLE, ["driver_id"], ttl=f"{TTL_DAYS}d", created_timestamp_column="created", features=FEATURES
    )
    refs = [f"driver_stats:{name}" for name in FEATURES]
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        (directory / "features.toml").write_text(definitions.render())
        registry = {"type": "toml", "path": str(directory / "features.toml")}
        server = Server.serve(directory, {"catalogs.default": warehouse.config(), "registry": registry})
        try:
            client = Client(server.location)
            return [
                measure("murre", frame, server.pid, repeat, lambda frame=frame: client.historical(frame, refs))
                for frame in frames
            ]
        finally:
            server.stop()


def measure_peer(engine: str, frame: pa.Table, warehouse: Warehouse, repeat: int) -> Measurement:
    """Measure a peer in a process of its own, so that its peak memory is its own."""
    files = [str(path) for path in data_files(warehouse.catalog.load_table(TABLE))]
    with tempfile.NamedTemporaryFile(suffix=".parquet") as handed_over:
        pq.write_table(frame, handed_over.name)
        arguments = [engine, handed_over.name, json.dumps(files), str(TTL_US), str(repeat)]
        script = Path(__file__).with_name("pit_peers.py")
        output = subprocess.run([sys.executable, script, *arguments], check=True, stdout=subprocess.PIPE, text=True)
    return Measurement(**json.loads(output.stdout))


def show(measurements: list[Measurement]) -> bool:
    """Print a table; return whether all answers to one dataframe are equal."""
    print(f"{'engine':<14}{'entity rows':>12}{'wall s':>9}{'cpu s':>9}{'peak MB':>9}  answer")
    equal = True
    for entities in dict.fromkeys(m.entities for m in measurements):
        group = [m for m in measurements if m.entities == entities]
        for m in group:
            same = m.checksum == group[0].checksum
            equal &= same
            verdict = "equal" if same else f"DIFFERS from {group[0].engine}: {m.checksum} / {group[0].checksum}"
            print(f"{m.engine:<14}{m.entities:>12,}{m.wall_s:>9.2f}{m.cpu_s:>9.2f}{m.peak_mb:>9.0f}  {verdict}")
    return equal


def parse_arguments() -> argparse.Namespace:
    """The command line; numbers may contain underscores."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=10_000_000, help="feature rows, before 2 %% corrections")
    parser.add_argument("--entities", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--engines", nargs="+", default=["murre", *PEERS], choices=["murre", *PEERS])
    parser.add_argument("--dir", type=Path, help="where the data is kept; default data/bench-ROWS in the repository")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--seed", type=int, default=2)
    parser.add_argument("--prepare-only", action="store_true", help="make the data and stop")
    parser.add_argument("--json", type=Path, help="also write the measurements to this file")
    arguments = parser.parse_args()
    root = Path(__file__).resolve().parents[2]
    arguments.dir = (arguments.dir or root / "data" / f"bench-{arguments.rows}").resolve()
    return arguments


def main() -> int:
    """Prepare, measure, show."""
    arguments = parse_arguments()
    warehouse = prepare(arguments.dir, arguments.rows, arguments.seed)
    if arguments.prepare_only:
        return 0
    frames = [entity_frame(arguments.dir, arguments.rows, n, arguments.seed) for n in arguments.entities]
    measurements = []
    if "murre" in arguments.engines:
        measurements += measure_murre(warehouse, frames, arguments.repeat)
    for frame in frames:
        for engine in arguments.engines:
            if engine != "murre":
                report(f"{engine}, {len(frame):,} entity rows")
                measurements.append(measure_peer(engine, frame, warehouse, arguments.repeat))
    if arguments.json:
        arguments.json.write_text(json.dumps([asdict(m) for m in measurements], indent=2))
    return 0 if show(measurements) else 1


if __name__ == "__main__":
    sys.exit(main())
