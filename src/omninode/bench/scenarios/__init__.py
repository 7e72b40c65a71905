"""One scenario a module; here is the list of all, in the order they run."""

from __future__ import annotations

from omninode.bench.scenario import Scenario
from omninode.bench.scenarios import gathering, quorum

__all__ = ["ALL"]

ALL: tuple[Scenario, ...] = (gathering.SCENARIO, quorum.SCENARIO)
