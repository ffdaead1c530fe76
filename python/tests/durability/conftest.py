"""What was acknowledged stays, once, whatever dies: the same tests over catalogs of several kinds."""

from __future__ import annotations

from harness.components import moto, postgres, seaweed
from harness.kinds import kind, project, start_over, warehouse

__all__ = ["kind", "moto", "postgres", "project", "seaweed", "start_over", "warehouse"]
