"""The ledger: whose events count, what is paid, and what overlapped."""

from __future__ import annotations

from uuid import UUID

import pytest

from omninode.core.events import AttemptFinished, CallFinished, RetryScheduled, SourceFinished, VoteCast
from omninode.core.ids import uuid7
from omninode.workflow.ledger import RunLedger

pytestmark = pytest.mark.unit

RUN = uuid7()


def call(*, run_id: UUID = RUN, end_ms: float = 100, duration_ms: float = 100, **fields: object) -> CallFinished:
    given = {"role": "worker", "model": "m", "provider": "p", "deployment": "d", "ok": True} | fields
    return CallFinished(run_id=run_id, at_ns=int(end_ms * 1e6), duration_ms=duration_ms, **given)


def ledger(*events: object) -> RunLedger:
    made = RunLedger(RUN)
    for event in events:
        made.emit(event)
    return made


def test_events_of_other_runs_do_not_count() -> None:
    assert ledger(call(run_id=uuid7())).call_summary()["calls"] == 0


def test_a_cached_answer_costs_nothing_and_is_counted() -> None:
    made = ledger(call(tokens_in=5, cost_uusd=7), call(tokens_in=5, cost_uusd=7, cache="hit"))
    summary = made.call_summary()
    assert (summary["tokens_in"], summary["cost_usd"], summary["cache_hits"]) == (5, 7e-6, 1)


def test_an_unpriced_call_is_counted_apart() -> None:
    assert ledger(call(cost_uusd=None), call(cost_uusd=3)).cost().unpriced_calls == 1


def test_calls_side_by_side_speed_a_run_up_and_calls_in_a_row_do_not() -> None:
    together = ledger(call(end_ms=1100), call(end_ms=1100), call(end_ms=1100))
    assert together.speed_up(100) == pytest.approx(3.0)
    in_a_row = ledger(call(end_ms=1100), call(end_ms=1200), call(end_ms=1300))
    assert in_a_row.speed_up(300) == pytest.approx(1.0)


def test_time_of_our_own_counts_on_both_sides() -> None:
    assert ledger(call(end_ms=1100), call(end_ms=1100)).speed_up(200) == pytest.approx(1.5)


def test_retries_and_failed_attempts_are_counted() -> None:
    made = ledger(
        RetryScheduled(run_id=RUN, call="c", attempt=1, wait_s=0.1, error_class="E", error="e"),
        AttemptFinished(run_id=RUN, call="c", deployment="d", attempt=1, outcome="transient", duration_ms=1),
        AttemptFinished(run_id=RUN, call="c", deployment="d", attempt=2, outcome="success", duration_ms=1),
    )
    assert (made.retries, made.failed_attempts) == (1, 1)


def test_what_was_degraded_is_said_once_each() -> None:
    source = SourceFinished(
        run_id=RUN, source="docs", context_type="retrieval", status="late", items=0, duration_ms=1, error=None
    )
    vote = VoteCast(
        run_id=RUN, round=1, deployment="v", model="m", decision=None, score=None, confidence=None,
        counted=False, error_class="AttemptTimeoutError",
    )  # fmt: skip
    degraded = call(degraded="d2 answered for d1")
    assert ledger(degraded, degraded, source, vote).degraded() == [
        "call to worker: d2 answered for d1",
        "context source docs: late",
        "voter v did not count: AttemptTimeoutError",
    ]
