"""How much is proven: by the tier of tests/run, which says it in MURRE_TIER."""

from __future__ import annotations

import os
import random

TIER = os.environ.get("MURRE_TIER", "fast")


def by_tier(fast: int, ci: int, long: int) -> int:
    """A number of kills, runs or seconds."""
    return {"fast": fast, "ci": ci, "long": long}[TIER]


def seeded(what: str) -> random.Random:
    """Chance that is told with a failure, and repeated by MURRE_SEED."""
    seed = int(os.environ.get("MURRE_SEED") or random.SystemRandom().randrange(1 << 32))
    print(f"{what}: MURRE_SEED={seed}")
    return random.Random(seed)
