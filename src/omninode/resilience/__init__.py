"""Calls that survive a failing outside: breakers, retries, budgets, timeouts, bulkheads, fallbacks, and their stack.

A name is imported when it is first used, so that `from omninode.resilience import Policy` loads what a policy needs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from omninode.core.lazy import finder

# Not lazy: the name is also that of its module, which would stand in its place.
from omninode.resilience.classify import Outcome, classify, is_retryable

if TYPE_CHECKING:
    from omninode.resilience.adaptive import AdaptiveTimeout
    from omninode.resilience.breaker import CircuitBreaker, Permit
    from omninode.resilience.budget import BudgetConfig, RetryBudget
    from omninode.resilience.bulkhead import Bulkhead, BulkheadConfig, BulkheadStatistics
    from omninode.resilience.chain import Chain
    from omninode.resilience.chaos import ChaosConfig, ChaosStatistics
    from omninode.resilience.choice import Choice, ChoiceStatistics, Target, TargetStatistics
    from omninode.resilience.circuit import BreakerStatistics, CircuitBreakerConfig, CircuitState
    from omninode.resilience.detector import Consecutive, Sequential
    from omninode.resilience.fallback import Fallback, FallbackStatistics
    from omninode.resilience.hedge import Hedge, HedgeStatistics
    from omninode.resilience.limiter import Adaptive, Aimd, Gradient2, LimitStatistics
    from omninode.resilience.outcome import CallOutcome, PolicyStatistics
    from omninode.resilience.parking import Park, ParkingStatistics
    from omninode.resilience.peers import PeerListener, PeerNews, Peers, PeerSource, PeerStatistics
    from omninode.resilience.policy import Policy
    from omninode.resilience.rate import Rate, RateStatistics
    from omninode.resilience.rates import AnyOf, FailureRate, SlowCallRate
    from omninode.resilience.registry import BreakerRegistry, call_with_breaker
    from omninode.resilience.retry import RetryManager, RetryStatistics, execute_with_retry
    from omninode.resilience.schedule import CallRecord, RetryConfig
    from omninode.resilience.snapshot import BreakerSnapshot, RetrySnapshot, StateStore, StoredState
    from omninode.resilience.soft import SoftTimeout, SoftTimeoutStatistics
    from omninode.resilience.state import KeeperStatistics, StateKeeper
    from omninode.resilience.throttle import Throttle, ThrottleStatistics
    from omninode.resilience.timeout import AttemptTimeout, TimeoutStatistics

_HOMES = {
    "AdaptiveTimeout": "adaptive",
    "CircuitBreaker": "breaker",
    "Permit": "breaker",
    "BudgetConfig": "budget",
    "RetryBudget": "budget",
    "Bulkhead": "bulkhead",
    "BulkheadConfig": "bulkhead",
    "BulkheadStatistics": "bulkhead",
    "Chain": "chain",
    "ChaosConfig": "chaos",
    "ChaosStatistics": "chaos",
    "Choice": "choice",
    "ChoiceStatistics": "choice",
    "Target": "choice",
    "TargetStatistics": "choice",
    "BreakerStatistics": "circuit",
    "CircuitBreakerConfig": "circuit",
    "CircuitState": "circuit",
    "Consecutive": "detector",
    "Sequential": "detector",
    "Fallback": "fallback",
    "FallbackStatistics": "fallback",
    "Hedge": "hedge",
    "HedgeStatistics": "hedge",
    "Adaptive": "limiter",
    "Aimd": "limiter",
    "Gradient2": "limiter",
    "LimitStatistics": "limiter",
    "Park": "parking",
    "ParkingStatistics": "parking",
    "PeerListener": "peers",
    "PeerNews": "peers",
    "Peers": "peers",
    "PeerSource": "peers",
    "PeerStatistics": "peers",
    "CallOutcome": "outcome",
    "Policy": "policy",
    "PolicyStatistics": "outcome",
    "Rate": "rate",
    "RateStatistics": "rate",
    "AnyOf": "rates",
    "FailureRate": "rates",
    "SlowCallRate": "rates",
    "BreakerRegistry": "registry",
    "call_with_breaker": "registry",
    "RetryManager": "retry",
    "RetryStatistics": "retry",
    "execute_with_retry": "retry",
    "CallRecord": "schedule",
    "RetryConfig": "schedule",
    "BreakerSnapshot": "snapshot",
    "RetrySnapshot": "snapshot",
    "StateStore": "snapshot",
    "StoredState": "snapshot",
    "SoftTimeout": "soft",
    "SoftTimeoutStatistics": "soft",
    "KeeperStatistics": "state",
    "StateKeeper": "state",
    "Throttle": "throttle",
    "ThrottleStatistics": "throttle",
    "AttemptTimeout": "timeout",
    "TimeoutStatistics": "timeout",
}

__all__ = [
    "Adaptive",
    "AdaptiveTimeout",
    "Aimd",
    "AnyOf",
    "AttemptTimeout",
    "BreakerRegistry",
    "BreakerSnapshot",
    "BreakerStatistics",
    "BudgetConfig",
    "Bulkhead",
    "BulkheadConfig",
    "BulkheadStatistics",
    "CallOutcome",
    "CallRecord",
    "Chain",
    "ChaosConfig",
    "ChaosStatistics",
    "Choice",
    "ChoiceStatistics",
    "CircuitBreaker",
    "CircuitBreakerConfig",
    "CircuitState",
    "Consecutive",
    "FailureRate",
    "Fallback",
    "FallbackStatistics",
    "Gradient2",
    "Hedge",
    "HedgeStatistics",
    "KeeperStatistics",
    "LimitStatistics",
    "Outcome",
    "Park",
    "ParkingStatistics",
    "PeerListener",
    "PeerNews",
    "PeerSource",
    "PeerStatistics",
    "Peers",
    "Permit",
    "Policy",
    "PolicyStatistics",
    "Rate",
    "RateStatistics",
    "RetryBudget",
    "RetryConfig",
    "RetryManager",
    "RetrySnapshot",
    "RetryStatistics",
    "Sequential",
    "SlowCallRate",
    "SoftTimeout",
    "SoftTimeoutStatistics",
    "StateKeeper",
    "StateStore",
    "StoredState",
    "Target",
    "TargetStatistics",
    "Throttle",
    "ThrottleStatistics",
    "TimeoutStatistics",
    "call_with_breaker",
    "classify",
    "execute_with_retry",
    "is_retryable",
]

__getattr__ = finder(__name__, _HOMES)


def __dir__() -> list[str]:
    return sorted(__all__)
