"""The results as markdown: figures, ratios to Feast's SDK on Redis, and the goals that they are held against."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

BASE = "feast_redis"


def table(heads: list[str], lines: list[list[str]]) -> str:
    """A markdown table."""
    rule = "|".join(["---"] * len(heads))
    return "\n".join([f"| {' | '.join(heads)} |", f"|{rule}|", *(f"| {' | '.join(line)} |" for line in lines)])


def warm_line(found: dict[str, Any], reader: str, batch: int, clients: int) -> dict[str, Any] | None:
    """One measurement."""
    same = lambda line: (line["reader"], line["batch"], line["clients"]) == (reader, batch, clients)  # noqa: E731
    return next((line for line in found["warm"] if same(line)), None)


def warm(found: dict[str, Any], clients: int) -> str:
    """Latencies of so many clients, and how they relate to the base's."""
    lines = []
    for line in (line for line in found["warm"] if line["clients"] == clients):
        base = warm_line(found, BASE, line["batch"], clients)
        ratio = lambda name: f"{line[name] / base[name]:.2f}" if base else "-"  # noqa: B023, E731
        times = (f"{line[name]:.2f}" for name in ("p50", "p95", "p99"))
        ratios = (ratio(name) for name in ("p50", "p99", "per_second"))
        lines.append([str(line["batch"]), line["reader"], *times, f"{line['per_second']:,.0f}", *ratios])
    heads = ["keys", "client", "p50 ms", "p95", "p99", "requests/s", "p50 ratio", "p99 ratio", "requests/s ratio"]
    return table(heads, lines)


def ratio(found: dict[str, Any], reader: str, base: str, figure: str, batch: int, clients: int = 1) -> float | None:
    """One figure of a reader over the same figure of another."""
    ours, theirs = warm_line(found, reader, batch, clients), warm_line(found, base, batch, clients)
    return ours[figure] / theirs[figure] if ours and theirs else None


def goals(found: dict[str, Any]) -> Iterator[tuple[str, float | None, str, float]]:
    """What is aimed at: name, found, comparison, bound."""
    most = max((line["clients"] for line in found["warm"]), default=1)
    yield "one DoGet of 1 key, p99 / Feast on Redis", ratio(found, "murre_doget", BASE, "p99", 1), "<=", 1.2
    for batch in (1, 10):
        value = ratio(found, "murre_exchange", BASE, "p99", batch)
        yield f"DoExchange of {batch}, p99 / Feast on Redis", value, "<=", 1.0
    for batch, bound in ((100, 0.6), (1000, 0.15)):
        for reader in ("murre_doget", "murre_exchange"):
            value = ratio(found, reader, "redis_raw", "p50", batch)
            yield f"{reader} of {batch}, p50 / raw redis-py", value, "<=", bound
    for batch in sorted({line["batch"] for line in found["warm"]}):
        for figure in ("p50", "p99"):
            value = ratio(found, "feast_murre", BASE, figure, batch)
            yield f"Feast SDK on Murre of {batch}, {figure} / Feast on Redis", value, "<=", 1.0
    value = ratio(found, "murre_exchange", BASE, "per_second", 10, most)
    yield f"{most} clients x 10 keys, DoExchange, requests/s / Feast on Redis", value, ">=", 3.5
    yield from store_goals(found)


def store_goals(found: dict[str, Any]) -> Iterator[tuple[str, float | None, str, float]]:
    """The goals beside warm reads."""
    if cold := found.get("cold"):
        value = cold["murre"]["p50"] / cold["duckdb"]["p50"]
        yield "cold single key, p50 / DuckDB on the right files", value, "<=", 0.5
        value = cold["murre_load"]["p50"] / cold["duckdb"]["p50"]
        yield "loading a cold bucket, p50 / DuckDB's single key on the right files", value, "<=", 0.5
        yield f"cold single key with {cold['files']:,} files, p99 in ms", cold["murre"]["p99"], "<=", 100
    for line in found["during_writes"]:
        if "murre" in line["reader"]:
            value = line["busy"]["p99"] / line["still"]["p99"]
            yield f"{line['reader']} of {line['batch']} during writes, p99 / without", value, "<=", 3.0
    speeds = found["write_rows_per_s"]
    if "murre" in speeds and BASE in speeds:
        yield "rows/s written until visible / Feast into Redis", speeds["murre"] / speeds[BASE], ">=", 10
    memory = found["memory"]
    if "murre" in memory and "redis" in memory:
        redis = memory["redis"]["per_entity"]["used_bytes"]
        yield "server memory per entity / Redis's used memory", memory["murre"]["per_entity"] / redis, "<=", 0.35


def goal_table(found: dict[str, Any]) -> str:
    """Every goal that could be measured, and whether it is met."""
    lines = []
    for name, value, comparison, bound in goals(found):
        if value is not None:
            met = value <= bound if comparison == "<=" else value >= bound
            lines.append([name, f"{value:.2f}", f"{comparison} {bound}", "met" if met else "**missed**"])
    return table(["goal", "found", "aim", ""], lines)


def during_writes(found: dict[str, Any]) -> str:
    """Reads with and without a writer."""
    lines = [
        [line["reader"], str(line["batch"]), str(line["writes"])]
        + [f"{line[state][name]:.2f}" for name in ("p50", "p99") for state in ("still", "busy")]
        for line in found["during_writes"]
    ]
    heads = ["client", "keys", "writes", "p50 ms without", "p50 during", "p99 ms without", "p99 during"]
    return table(heads, lines)


def stores(found: dict[str, Any]) -> str:
    """Memory, storage and write speed."""
    lines = []
    for name, memory in found["memory"].items():
        each = memory["per_entity"]
        for kind, size in (each if isinstance(each, dict) else {"resident_bytes": each}).items():
            lines.append([name, f"memory, {kind.replace('_', ' ')} per entity", f"{size:,.0f}"])
    for name, size in found["storage"].items():
        lines.append([name, "storage, bytes per entity", f"{size:,.0f}"])
    for name, speed in found["load_rows_per_s"].items():
        lines.append([name, "first load, rows/s", f"{speed:,.0f}"])
    for name, speed in found["write_rows_per_s"].items():
        lines.append([name, "one write until visible, rows/s", f"{speed:,.0f}"])
    if cold := found.get("cold"):
        lines.append(["murre", "first read after a restart, ms", f"{cold['first_read_ms']:.1f}"])
        what = dict.fromkeys(("murre", "duckdb"), "cold single key")
        what["murre_load"] = "next key of the bucket, which loads it"
        for name, read in what.items():
            times = " / ".join(f"{cold[name][figure]:.1f}" for figure in ("p50", "p95", "p99"))
            lines.append([name.removesuffix("_load"), f"{read}, {cold['files']:,} files, p50 / p95 / p99 ms", times])
    return table(["store", "what", "figure"], lines)


def markdown(found: dict[str, Any]) -> str:
    """The whole report."""
    parts = [f"{found['entities']:,} entities x 10 features; ratios are to `{BASE}` in the same run.\n"]
    for clients in dict.fromkeys(line["clients"] for line in found["warm"]):
        parts.append(f"## Warm, {clients} client{'s' * (clients > 1)}\n\n{warm(found, clients)}\n")
    parts.append(f"## During writes\n\n{during_writes(found)}\n")
    parts.append(f"## Stores\n\n{stores(found)}\n")
    parts.append(f"## Goals\n\n{goal_table(found)}\n")
    return "\n".join(parts)
