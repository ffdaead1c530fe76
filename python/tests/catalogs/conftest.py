"""The same tests over every kind of catalog that Murre knows, each behind its own protocol."""

from __future__ import annotations

from harness.components import moto, postgres, seaweed
from harness.kinds import kind, project, start_over, warehouse

__all__ = ["kind", "moto", "postgres", "project", "seaweed", "start_over", "warehouse"]
