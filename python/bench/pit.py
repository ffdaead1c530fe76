"""Measures historical retrieval through Murre beside DuckDB, Polars and Feast on the same files; checks the answers.

    MURRE_BIN=../target/release/murre uv run python bench/pit.py --engines all

Data is made once under --dir, in every layout that is asked for. Peers run in a process each and get the file list and
the dataframe for free; Murre is measured through its client (pit_murre.py), Feast in its own environment
(pit_feast.py). Wall, CPU and peak memory are medians of --repeat runs after one that warms the page cache. --quick
shows that it works.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

import pyarrow as pa
from harness.warehouse import Warehouse, data_files
from pit_data import entity_frame
from pit_layouts import LAYOUTS, prepare, report, table_of
from pit_measure import Case, Measurement
from pit_murre import MURRE, MURRE_AGAIN, measure_murre, parse_settings
from pit_peers import FLOOR, PEERS
from pit_process import measure_apart
from pit_report import SKIPPED, show_all
from pit_views import VIEWS

# The setting with which a server keeps no columns of earlier requests.
NO_CACHE = 'tables.column_cache="0B"'
OWN = [MURRE, MURRE_AGAIN, *PEERS, FLOOR]
FEAST = ["feast_duckdb", "feast_dask", "feast_server"]
PYTHON_DIR = Path(__file__).resolve().parents[1]
FEAST_PYTHON = PYTHON_DIR / "feast067" / ".venv" / "bin" / "python"
# Entity rows beyond which an engine takes minutes or the machine's memory, and feature rows beyond which it does.
LIMITS = {"feast_duckdb": 1_000_000, "feast_server": 1_000_000, "feast_dask": 100_000}
ROWS_LIMITS = {"feast_dask": 10_000_000}
QUICK_LIMITS = {"feast_dask": 2_000}
QUICK = {"rows": 200_000, "entities": [2_000, 20_000], "repeat": 1}


class Bench:
    """The data, and how each engine is asked."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        """Make what data is missing."""
        self.arguments = arguments
        self.warehouse: Warehouse = prepare(arguments.dir, arguments.rows, arguments.seed, arguments.layouts)
        usual = QUICK_LIMITS if arguments.quick else LIMITS
        self.limits = {**usual, **{name: int(rows) for name, _, rows in (x.partition("=") for x in arguments.limit)}}

    def cases(self) -> Iterator[Case]:
        """Everything to measure, in order."""
        asked = self.arguments
        for layout in asked.layouts:
            for views in asked.views:
                for entities in asked.entities[: 1 if asked.quick and views > 1 else None]:
                    yield from (Case(engine, layout, views, entities) for engine in asked.engines)

    def reason_to_skip(self, case: Case) -> str | None:
        """Why a case is not measured."""
        limit, rows_limit = self.limits.get(case.engine), ROWS_LIMITS.get(case.engine)
        if limit is not None and case.entities > limit:
            return f"over its limit of {limit:,} entity rows (--limit {case.engine}=ROWS)"
        if rows_limit is not None and self.arguments.rows > rows_limit:
            return f"over its limit of {rows_limit:,} feature rows"
        if case.engine == "feast_dask" and case.views > 1:
            return "dask ends with a NotImplementedError when a second view is joined to these rows"
        if self.arguments.quick and case.engine in FEAST and case.layout != "day":
            return "quick runs ask Feast for the layout `day` only"
        return None

    def measure(self, case: Case) -> Measurement:
        """Measure one engine on one dataframe."""
        asked = self.arguments

        def frame_of(offset: int) -> pa.Table:
            return entity_frame(asked.dir, asked.rows, case.entities, asked.seed, offset=offset, views=case.views)

        if case.engine in (MURRE, MURRE_AGAIN):
            settings = asked.again_config if case.engine == MURRE_AGAIN else asked.murre_config
            return measure_murre(self.warehouse, case, frame_of, asked.repeat, parse_settings(settings))
        feast = case.engine in FEAST
        script = Path(__file__).with_name("pit_feast.py" if feast else "pit_peers.py")
        command = [str(asked.feast_python) if feast else sys.executable, str(script)]
        return measure_apart(command, case, frame_of(0), self.files(case), asked.repeat, asked.timeout)

    def files(self, case: Case) -> list[list[str]]:
        """The data files of each view that the case asks for."""
        tables = [self.warehouse.catalog.load_table(table_of(view, case.layout)) for view in VIEWS[: case.views]]
        return [[str(path) for path in data_files(table)] for table in tables]


def parse_arguments() -> argparse.Namespace:
    """The command line; numbers may contain underscores."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--rows", type=int, default=10_000_000, help="feature rows of the largest table, before 2 %% corrections")
    add("--entities", type=int, nargs="+", default=[10_000, 100_000, 1_000_000], help="sizes of the dataframes")
    add("--layouts", nargs="+", default=list(LAYOUTS), choices=LAYOUTS)
    add("--views", type=int, nargs="+", default=[1, 3], choices=range(1, len(VIEWS) + 1), help="views in a request")
    add("--engines", nargs="+", default=OWN, choices=[*OWN, *FEAST, "all"], help="default: all but Feast's")
    add("--murre-config", nargs="+", default=[NO_CACHE], metavar="KEY=VALUE", help=f"of `murre`; default {NO_CACHE}")
    add("--again-config", nargs="+", default=[], metavar="KEY=VALUE", help="settings of `murre_again`")
    add("--limit", action="append", default=[], metavar="ENGINE=ROWS", help="most entity rows that it is asked for")
    add("--feast-python", type=Path, default=FEAST_PYTHON, help="Python of an environment with Feast's DuckDB store")
    add("--timeout", type=float, default=1800, help="seconds for one peer and dataframe, all runs together")
    add("--dir", type=Path, help="where the data is kept; default data/bench-ROWS in the repository")
    add("--repeat", type=int, default=3)
    add("--seed", type=int, default=2)
    add("--prepare-only", action="store_true", help="make the data and stop")
    add("--quick", action="store_true", help="a small run that only shows that everything works")
    add("--json", type=Path, help="also write the measurements to this file, as they come")
    if parser.parse_args().quick:
        parser.set_defaults(**QUICK)
    return completed(parser.parse_args())


def completed(arguments: argparse.Namespace) -> argparse.Namespace:
    """The arguments with what follows from them."""
    if "all" in arguments.engines:
        arguments.engines = [*OWN, *FEAST]
    if set(FEAST) & set(arguments.engines) and not arguments.feast_python.exists():
        raise SystemExit(f"{arguments.feast_python} is missing: `uv sync --project feast067`, or give --feast-python")
    default = PYTHON_DIR.parent / "data" / f"bench-{arguments.rows}"
    arguments.dir = (arguments.dir or default).resolve()
    return arguments


def run(bench: Bench) -> list[Measurement]:
    """Measure every case, and keep what there is as it comes."""
    measurements: list[Measurement] = []
    for case in bench.cases():
        label = f"{case.layout}, {case.views} views, {case.entities:,} entity rows: {case.engine}"
        reason = bench.reason_to_skip(case)
        measurement = Measurement(case, failure=f"{SKIPPED}: {reason}") if reason else bench.measure(case)
        report(f"{label}: {measurement.failure or f'{measurement.wall_s:.2f} s'}")
        measurements.append(measurement)
        if bench.arguments.json:
            write_json(bench.arguments, measurements)
    return measurements


def write_json(arguments: argparse.Namespace, measurements: list[Measurement]) -> None:
    """Write what was asked for and what there is so far."""
    names = ("rows", "seed", "repeat", "murre_config", "again_config")
    run = {name: getattr(arguments, name) for name in names}
    text = json.dumps({**run, "measurements": [asdict(m) for m in measurements]}, indent=2)
    arguments.json.write_text(text + "\n")


def main() -> int:
    """Prepare, measure, show."""
    arguments = parse_arguments()
    bench = Bench(arguments)
    if arguments.prepare_only:
        return 0
    return 0 if show_all(run(bench)) else 1


if __name__ == "__main__":
    sys.exit(main())
