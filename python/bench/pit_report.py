"""Prints the measurements of the point-in-time benchmark as tables of ratios, and says which answers are equal."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from pit_measure import Case, Measurement
from pit_murre import MURRE, MURRE_AGAIN
from pit_peers import FLOOR

SKIPPED = "SKIPPED"
HEADER = (
    f"{'engine':<13}{'wall s':>9}{'cpu s':>9}{'peak MB':>9}   {'to the strongest peer':^24}   {'to Murre':^24}\n"
    f"{'':<13}{'':>9}{'':>9}{'':>9}   {'wall':>8}{'cpu':>8}{'peak':>8}   {'wall':>8}{'cpu':>8}{'peak':>8}   answer"
)


def strongest(group: list[Measurement]) -> Measurement | None:
    """The fastest peer that gives the whole answer."""
    ours = (MURRE, MURRE_AGAIN, FLOOR)
    peers = [m for m in group if m.case.engine not in ours and not m.failure and not m.answer.lost]
    return min(peers, key=lambda m: m.wall_s, default=None)


def ratios(m: Measurement, base: Measurement | None) -> str:
    """Wall, CPU and peak as multiples of another measurement's."""
    if base is None or base.failure:
        return f"{'':>24}"
    pairs = [(m.wall_s, base.wall_s), (m.cpu_s, base.cpu_s), (m.peak_mb, base.peak_mb)]
    return "".join(f"{own / max(other, 0.001):>8.2f}" for own, other in pairs)


def verdict(m: Measurement, reference: Measurement) -> str:
    """What the answer is worth."""
    if not m.answer.checksum:
        return "reads only"
    if m.answer.checksum != reference.answer.checksum:
        source = f"{reference.case.engine} on {reference.case.layout}"
        return f"DIFFERS from {source}: {m.answer.checksum} / {reference.answer.checksum}"
    if m.answer.lost or m.answer.wrong:
        return f"LOSES {m.answer.lost:,} rows; of those returned {m.answer.wrong:,} are wrong"
    return "equal"


def is_sound(m: Measurement, reference: Measurement) -> bool:
    """Whether the engine was asked and answered equally, or not at all; Dask's losses speak against Dask only."""
    if m.failure:
        return m.failure.startswith(SKIPPED)
    return not m.answer.checksum or m.answer.checksum == reference.answer.checksum


def show_group(group: list[Measurement], reference: Measurement | None, show: Callable[[str], None]) -> bool:
    """Print the measurements of one dataframe on one layout; return whether all answers are there and equal."""
    case = group[0].case
    show(f"\n{case.layout}, {case.views} view{'s' * (case.views > 1)}, {case.entities:,} entity rows\n{HEADER}")
    murre = next((m for m in group if m.case.engine == MURRE), None)
    peer = strongest(group)
    for m in group:
        if m.failure:
            show(f"{m.case.engine:<13}   {m.failure}")
            continue
        taken = f"{m.wall_s:>9.2f}{m.cpu_s:>9.2f}{m.peak_mb:>9.0f}"
        worth = verdict(m, reference or m) + (", strongest peer" if m is peer else "")
        show(f"{m.case.engine:<13}{taken}   {ratios(m, peer)}   {ratios(m, murre)}   {worth}")
    return all(is_sound(m, reference or m) for m in group)


def show_all(measurements: list[Measurement], show: Callable[[str], None] = print) -> bool:
    """Print a table for each dataframe; return whether all answers are equal."""
    groups: dict[object, list[Measurement]] = {}
    for m in measurements:
        groups.setdefault(replace(m.case, engine=""), []).append(m)
    equal = [show_group(group, reference_of(group[0].case, measurements), show) for group in groups.values()]
    return all(equal)


def reference_of(case: Case, measurements: list[Measurement]) -> Measurement | None:
    """The first answer to the same dataframe, on whatever layout."""
    asked = (case.views, case.entities)
    alike = (m for m in measurements if (m.case.views, m.case.entities) == asked)
    return next((m for m in alike if m.answer.checksum), None)
