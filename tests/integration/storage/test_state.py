"""Breaker and retry state across restarts."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from omninode.resilience.circuit import CircuitState
from omninode.resilience.snapshot import BreakerSnapshot, RetrySnapshot, StateStore, StoredState
from omninode.storage.database import Database
from omninode.storage.state import DatabaseStateStore

pytestmark = pytest.mark.integration

NOW = datetime(2026, 1, 1, tzinfo=UTC)


async def test_what_is_saved_is_loaded_and_the_latest_counts(database: Database) -> None:
    store: StateStore = DatabaseStateStore(database)
    assert await store.load() == StoredState()
    breaker = BreakerSnapshot(
        name="gpt", state=CircuitState.OPEN, failures=5, successes=0, generation=3,
        opened_at=NOW, reopen_at=None, reason="5 failures", updated_at=NOW,
    )  # fmt: skip
    retry = RetrySnapshot(
        name="r", calls=9, attempts=12, retries=3, recovered=2, exhausted=1,
        budget_tokens=7.5, last_error=None, updated_at=NOW,
    )  # fmt: skip
    await store.save([breaker], [retry])
    await store.save([later := replace(breaker, state=CircuitState.CLOSED, opened_at=None)], [])
    assert await store.load() == StoredState(breakers=(later,), retries=(retry,))
