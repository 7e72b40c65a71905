"""For how many days the rows of each table are kept, where nothing else is configured."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

__all__ = ["KEPT_DAYS"]

KEPT_DAYS: Mapping[str, float] = MappingProxyType(
    {
        "llm_payloads": 7,
        "performance_metrics": 30,
        "batch_operation_logs": 30,
        "agent_performance": 90,
        "error_events": 90,
        "tasks": 90,
        "votes": 90,
        "alerts": 90,
        "dead_letters": 90,
        "llm_calls": 180,
        "runs": 180,
        "context_learning": 365,
        "rollup_minutes": 2,
        "rollup_hours": 365,
    }
)
