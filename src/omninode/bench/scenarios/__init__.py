"""One scenario a module; here is the list of all, in the order they run."""

from __future__ import annotations

from omninode.bench.scenario import Scenario
from omninode.bench.scenarios import (
    analytics,
    batch,
    breaker,
    context,
    crash,
    database,
    gathering,
    overhead,
    panels,
    pipeline,
    quorum,
    resilience,
    resilience_real,
    retry,
    spool,
    start,
    validation,
)

__all__ = ["ALL"]

ALL: tuple[Scenario, ...] = tuple(
    module.SCENARIO
    for module in (
        gathering,
        quorum,
        batch,
        breaker,
        retry,
        context,
        analytics,
        pipeline,
        start,
        resilience,
        resilience_real,
        overhead,
        database,
        spool,
        crash,
        panels,
        validation,
    )
)
