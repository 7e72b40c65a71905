"""Calls that survive a failing outside: breakers, retries, budgets, timeouts, bulkheads, fallbacks, and their stack."""

from __future__ import annotations

from omninode.resilience.breaker import CircuitBreaker, Permit
from omninode.resilience.budget import BudgetConfig, RetryBudget
from omninode.resilience.bulkhead import Bulkhead, BulkheadConfig, BulkheadStatistics
from omninode.resilience.circuit import BreakerStatistics, CircuitBreakerConfig, CircuitState
from omninode.resilience.classify import Outcome, classify, is_retryable
from omninode.resilience.detector import Consecutive, Sequential
from omninode.resilience.fallback import Fallback
from omninode.resilience.policy import CallOutcome, Policy, PolicyStatistics
from omninode.resilience.rates import AnyOf, FailureRate, SlowCallRate
from omninode.resilience.registry import BreakerRegistry, call_with_breaker
from omninode.resilience.retry import RetryManager, RetryStatistics, execute_with_retry
from omninode.resilience.schedule import CallRecord, RetryConfig
from omninode.resilience.snapshot import BreakerSnapshot, RetrySnapshot, StateStore, StoredState
from omninode.resilience.state import KeeperStatistics, StateKeeper
from omninode.resilience.timeout import AttemptTimeout

__all__ = [
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
    "CircuitBreaker",
    "CircuitBreakerConfig",
    "CircuitState",
    "Consecutive",
    "FailureRate",
    "Fallback",
    "KeeperStatistics",
    "Outcome",
    "Permit",
    "Policy",
    "PolicyStatistics",
    "RetryBudget",
    "RetryConfig",
    "RetryManager",
    "RetrySnapshot",
    "RetryStatistics",
    "Sequential",
    "SlowCallRate",
    "StateKeeper",
    "StateStore",
    "StoredState",
    "call_with_breaker",
    "classify",
    "execute_with_retry",
    "is_retryable",
]
