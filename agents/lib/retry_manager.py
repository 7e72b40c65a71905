"""Signpost: retries live in `omninode.resilience`."""

from omninode import RetryConfig, RetryManager, execute_with_retry

__all__ = ["RetryConfig", "RetryManager", "execute_with_retry"]
