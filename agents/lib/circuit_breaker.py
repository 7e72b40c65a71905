"""Signpost: circuit breakers live in `omninode.resilience`."""

from omninode import BreakerOpenError, CircuitBreaker, CircuitBreakerConfig, CircuitState, call_with_breaker

__all__ = ["BreakerOpenError", "CircuitBreaker", "CircuitBreakerConfig", "CircuitState", "call_with_breaker"]
