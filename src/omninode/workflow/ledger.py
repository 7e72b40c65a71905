"""What happened in one run, kept while it runs: the facts its report is made of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from omninode.core.events import (
    AttemptFinished,
    CallFinished,
    Event,
    PhaseFinished,
    RetryScheduled,
    SourceFinished,
    VoteCast,
)
from omninode.core.usage import Cost, Usage

__all__ = ["RunLedger"]


class RunLedger:
    """A sink that keeps the events of one run, bounded by what one run can do."""

    def __init__(self, run_id: UUID) -> None:
        self._run_id = run_id
        self.phases: list[PhaseFinished] = []
        self.calls: list[CallFinished] = []
        self.sources: list[SourceFinished] = []
        self.votes: list[VoteCast] = []
        self.retries = 0
        self.failed_attempts = 0

    def emit(self, event: Event) -> None:
        """Keep `event` if it is of this run."""
        if event.run_id != self._run_id:
            return
        match event:
            case PhaseFinished():
                self.phases.append(event)
            case CallFinished():
                self.calls.append(event)
            case SourceFinished():
                self.sources.append(event)
            case VoteCast():
                self.votes.append(event)
            case RetryScheduled():
                self.retries += 1
            case AttemptFinished() if event.outcome.lower() not in {"success", "neutral"}:
                self.failed_attempts += 1
            case _:
                pass

    def usage(self) -> Usage:
        """Tokens of all calls that reached a provider."""
        return Usage(
            input_tokens=sum(call.tokens_in for call in self._paid()),
            output_tokens=sum(call.tokens_out for call in self._paid()),
        )

    def cost(self) -> Cost:
        """Money of all calls that reached a provider and succeeded."""
        paid = [call for call in self._paid() if call.ok]
        return Cost(
            micro_usd=sum(call.cost_uusd or 0 for call in paid),
            unpriced_calls=sum(call.cost_uusd is None for call in paid),
        )

    def cache_hits(self) -> int:
        """Calls answered from the cache or from another call's answer."""
        return sum(call.cache in {"hit", "shared"} for call in self.calls)

    def cache_keys(self, *roles: str) -> list[str]:
        """What the answers to calls of `roles` are kept under for later runs."""
        return [call.cache_key for call in self.calls if call.role in roles and call.cache_key is not None]

    def degraded(self) -> list[str]:
        """What was served in another way than planned, each once, in order of appearance."""
        notes = [f"call to {call.role}: {call.degraded}" for call in self.calls if call.degraded]
        notes += [
            f"context source {source.source}: {source.status}" + (f" ({source.error})" if source.error else "")
            for source in self.sources
            if source.status in {"late", "failed", "open", "shed"}
        ]
        notes += [
            f"voter {vote.deployment} did not count: {vote.error_class}"
            for vote in self.votes
            if not vote.counted and vote.error_class
        ]
        return list(dict.fromkeys(notes))

    def speed_up(self, wall_ms: float) -> float:
        """How much longer the run would have taken one by one: calls and sources in sequence against `wall_ms`.

        Time that no call or source covers (our own work) counts once on both sides. 1.0 means nothing overlapped.
        """
        spans = [(call.at_ns - call.duration_ms * 1e6, float(call.at_ns)) for call in self.calls]
        spans += [(source.at_ns - source.duration_ms * 1e6, float(source.at_ns)) for source in self.sources]
        in_sequence_ms = sum(end - begin for begin, end in spans) / 1e6
        own_ms = max(0.0, wall_ms - _covered_ns(spans) / 1e6)
        return max(1.0, (own_ms + in_sequence_ms) / wall_ms) if wall_ms > 0 else 1.0

    # Any: the report is JSON.
    def call_summary(self) -> Mapping[str, Any]:
        """The counts of the report's line about calls."""
        usage, cost = self.usage(), self.cost()
        # A call that was cancelled, mostly a vote that could not change the outcome, neither failed nor answered.
        ended = [call for call in self.calls if not call.was_stopped]
        return {
            "calls": len(ended),
            "stopped_early": len(self.calls) - len(ended),
            "attempts": sum(call.attempts for call in ended),
            "retries": self.retries,
            "failed_attempts": self.failed_attempts,
            "failed_calls": sum(not call.ok for call in ended),
            "cache_hits": self.cache_hits(),
            "tokens_in": usage.input_tokens,
            "tokens_out": usage.output_tokens,
            "cost_usd": cost.usd,
            "unpriced_calls": cost.unpriced_calls,
        }

    def _paid(self) -> list[CallFinished]:
        return [call for call in self.calls if call.cache in {"off", "miss"}]


def _covered_ns(spans: list[tuple[float, float]]) -> float:
    covered, reach = 0.0, 0.0
    for begin, end in sorted(spans):
        covered += max(0.0, end - max(begin, reach))
        reach = max(reach, end)
    return covered
