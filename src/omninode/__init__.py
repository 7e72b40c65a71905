"""OmniNode: the performance and reliability layer for systems built from LLM agents.

    async with omninode.open() as node:
        report = await node.run("…", workspace=Path("."))

Every part works on its own as well: `from omninode import call_with_breaker`. A name is imported when it is first
used, so `import omninode` costs next to nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from omninode.core.lazy import finder

if TYPE_CHECKING:
    from omninode.analytics.agents import AgentAnalytics, get_agent_recommendations, track_agent_performance
    from omninode.context.gather import ContextGatherer
    from omninode.context.optimizer import ContextOptimizer
    from omninode.core.ambient import shutdown
    from omninode.core.deadline import Deadline
    from omninode.core.errors import BreakerOpenError, DeadlineExceededError, OmniNodeError
    from omninode.monitoring.monitor import PerformanceMonitor
    from omninode.quorum.validator import QuorumValidator
    from omninode.quorum.vote import Decision
    from omninode.resilience.breaker import CircuitBreaker
    from omninode.resilience.circuit import CircuitBreakerConfig, CircuitState
    from omninode.resilience.policy import Policy
    from omninode.resilience.registry import BreakerRegistry, call_with_breaker
    from omninode.resilience.retry import RetryManager, execute_with_retry
    from omninode.resilience.schedule import RetryConfig
    from omninode.runtime.runtime import Runtime
    from omninode.runtime.runtime import open_runtime as open  # noqa: A004 - `omninode.open()` reads as it works
    from omninode.runtime.settings import Settings, load_settings
    from omninode.storage.database import Database
    from omninode.storage.optimizer import PerformanceOptimizer
    from omninode.validation.validator import InputValidator
    from omninode.workflow.parts import RunRequest
    from omninode.workflow.report import RunReport

_HOMES = {
    "AgentAnalytics": "analytics.agents",
    "get_agent_recommendations": "analytics.agents",
    "track_agent_performance": "analytics.agents",
    "ContextGatherer": "context.gather",
    "ContextOptimizer": "context.optimizer",
    "shutdown": "core.ambient",
    "Deadline": "core.deadline",
    "BreakerOpenError": "core.errors",
    "DeadlineExceededError": "core.errors",
    "OmniNodeError": "core.errors",
    "PerformanceMonitor": "monitoring.monitor",
    "QuorumValidator": "quorum.validator",
    "Decision": "quorum.vote",
    "CircuitBreaker": "resilience.breaker",
    "CircuitBreakerConfig": "resilience.circuit",
    "CircuitState": "resilience.circuit",
    "Policy": "resilience.policy",
    "BreakerRegistry": "resilience.registry",
    "call_with_breaker": "resilience.registry",
    "RetryManager": "resilience.retry",
    "execute_with_retry": "resilience.retry",
    "RetryConfig": "resilience.schedule",
    "Runtime": "runtime.runtime",
    "open": "runtime.runtime:open_runtime",
    "Settings": "runtime.settings",
    "load_settings": "runtime.settings",
    "Database": "storage.database",
    "PerformanceOptimizer": "storage.optimizer",
    "InputValidator": "validation.validator",
    "RunRequest": "workflow.parts",
    "RunReport": "workflow.report",
}

__all__ = [
    "AgentAnalytics",
    "BreakerOpenError",
    "BreakerRegistry",
    "CircuitBreaker",
    "CircuitBreakerConfig",
    "CircuitState",
    "ContextGatherer",
    "ContextOptimizer",
    "Database",
    "Deadline",
    "DeadlineExceededError",
    "Decision",
    "InputValidator",
    "OmniNodeError",
    "PerformanceMonitor",
    "PerformanceOptimizer",
    "Policy",
    "QuorumValidator",
    "RetryConfig",
    "RetryManager",
    "RunReport",
    "RunRequest",
    "Runtime",
    "Settings",
    "call_with_breaker",
    "execute_with_retry",
    "get_agent_recommendations",
    "load_settings",
    "open",
    "shutdown",
    "track_agent_performance",
]


__getattr__ = finder(__name__, _HOMES)


def __dir__() -> list[str]:
    return sorted(__all__)
