"""The quorum: all voters are asked at once, and the decision stands as soon as the rest cannot change it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from omninode.core import ambient, current
from omninode.core.clock import Clock, SystemClock
from omninode.core.deadline import Deadline
from omninode.core.errors import ConfigurationError, InvalidArgumentError, QuorumFailedError
from omninode.core.events import EventSink, NullSink
from omninode.quorum.ballot import Ballot, planned_tasks
from omninode.quorum.poll import Poll, Seat
from omninode.quorum.result import QuorumResult
from omninode.quorum.tally import count
from omninode.quorum.vote import Decision, Vote
from omninode.quorum.voter import Voter, voters_of
from omninode.quorum.weights import StaticWeights, Weights
from omninode.routing.router import Router

__all__ = ["QuorumStatistics", "QuorumValidator"]


@dataclass(frozen=True, slots=True, kw_only=True)
class QuorumStatistics:
    """What a validator did so far; `undecided` counts quorums in which too few could vote."""

    passed: int = 0
    retried: int = 0
    failed: int = 0
    undecided: int = 0
    asked: int = 0
    counted: int = 0
    lost: int = 0
    saved: int = 0


class QuorumValidator:
    """Has several models vote on whether a plan does what was asked. Safe to use concurrently.

    Args:
        voters: a router (every deployment with the role `voter` votes), or the voters themselves; None takes the
            router of the open runtime, or of one opened now (`core.ambient`), and tells its sink.
        weights: how much each vote counts; by default what the voters bring.
        minimum: how many votes must be counted for a decision; by default more than half of the voters.
        agents: names that tasks may use, told to the voters; empty when unknown.
        vote_timeout_s: what one voter is given, a second asking included; beyond it the voter is lost.
    """

    def __init__(
        self,
        voters: Router | Sequence[Voter] | None = None,
        *,
        weights: Weights | None = None,
        minimum: int | None = None,
        agents: Sequence[str] = (),
        vote_timeout_s: float = 60.0,
        sink: EventSink | None = None,
        clock: Clock | None = None,
    ) -> None:
        if minimum is not None and minimum < 1:
            raise InvalidArgumentError(f"minimum is {minimum}; a decision needs at least one vote")
        if not vote_timeout_s > 0:
            raise InvalidArgumentError(f"vote_timeout_s is {vote_timeout_s}; allow more than zero seconds")
        self._source = voters
        self._weights = weights or StaticWeights()
        self._minimum = minimum
        self._agents = tuple(agents)
        self._vote_timeout_s = vote_timeout_s
        self._sink = sink
        self._clock = clock or SystemClock()
        self._tallied: Counter[str] = Counter()

    async def validate_intent(
        self,
        user_prompt: str,
        # Any: plain data, or objects of any kind with the right attributes; `planned_tasks` checks.
        task_breakdown: Any,
        *,
        deadline: Deadline | None = None,
        round: int = 1,  # noqa: A002 - the word of the glossary and of the column
    ) -> QuorumResult:
        """The decision on whether `task_breakdown` does what `user_prompt` asks for.

        An empty plan is a RETRY without asking anybody. Raises InvalidArgumentError for an empty prompt or what is no
        task breakdown, ConfigurationError when nobody can vote, QuorumFailedError when fewer than the minimum could:
        that says nothing about the plan, so it is no FAIL.
        """
        if not user_prompt.strip():
            raise InvalidArgumentError("the prompt is empty; there is no intent to validate")
        tasks = planned_tasks(task_breakdown)
        if not tasks:
            return _without_tasks(round)
        source, sink = await self._voters()
        seats = self._seats(source)
        minimum = self._minimum if self._minimum is not None else len(seats) // 2 + 1
        if minimum > len(seats):
            raise ConfigurationError(f"a quorum of {minimum} is asked of {len(seats)} voters; lower the minimum")
        started = self._clock.monotonic()
        with current.entered(deadline=deadline):
            poll = Poll(
                seats,
                ballot=Ballot(prompt=user_prompt, tasks=tasks, agents=self._agents, round=round),
                vote_timeout_s=self._vote_timeout_s,
                sink=sink,
                clock=self._clock,
            )
            votes = await poll.run(minimum=minimum)
        return self._result(votes, minimum=minimum, round_number=round, started=started)

    def statistics(self) -> QuorumStatistics:
        """What was decided so far."""
        return QuorumStatistics(**self._tallied)

    async def _voters(self) -> tuple[Router | Sequence[Voter], EventSink]:
        if self._source is not None:
            return self._source, self._sink or NullSink()
        runtime = await ambient.runtime()
        return runtime.router, self._sink or runtime.sink

    def _seats(self, source: Router | Sequence[Voter]) -> list[Seat]:
        voters: Sequence[Voter] = voters_of(source) if isinstance(source, Router) else source
        if not voters:
            raise ConfigurationError(
                "nobody can vote: declare a deployment with the role 'voter', or pass voters to QuorumValidator"
            )
        names = [voter.name for voter in voters]
        if len(set(names)) < len(names):
            raise ConfigurationError(f"two voters have the same name among {', '.join(names)}; name them apart")
        return [Seat(voter=voter, weight=self._weights.weight_of(voter)) for voter in voters]

    def _result(self, votes: tuple[Vote, ...], *, minimum: int, round_number: int, started: float) -> QuorumResult:
        numbers = Counter(vote.status for vote in votes)
        self._tallied.update(
            asked=len(votes), counted=numbers["counted"], lost=numbers["lost"], saved=numbers["not_needed"]
        )
        if numbers["counted"] < minimum:
            self._tallied["undecided"] += 1
            raise _too_few(votes, minimum) from _common_cause(votes)
        tally = count(votes)
        self._tallied[_COUNTED_AS[tally.decision]] += 1
        return QuorumResult(
            decision=tally.decision,
            confidence=tally.confidence,
            deficiencies=tally.deficiencies,
            scores=tally.scores,
            votes=votes,
            asked=len(votes),
            counted=numbers["counted"],
            saved=numbers["not_needed"],
            lost=numbers["lost"],
            round=round_number,
            note=_note(votes),
            duration_ms=(self._clock.monotonic() - started) * 1000,
        )


_COUNTED_AS = {Decision.PASS: "passed", Decision.RETRY: "retried", Decision.FAIL: "failed"}


def _without_tasks(round_number: int) -> QuorumResult:
    return QuorumResult(
        decision=Decision.RETRY,
        confidence=1.0,
        deficiencies=("the plan has no tasks",),
        scores={"overall": 0.0},
        votes=(),
        asked=0,
        counted=0,
        saved=0,
        round=round_number,
        note="no voter was asked: the plan has no tasks",
    )


def _note(votes: Sequence[Vote]) -> str:
    """What was not as it should be, for the report; empty when every voter was heard."""
    counted = sum(vote.is_counted for vote in votes)
    if counted == len(votes):
        return ""
    said = [f"decided by {counted} of {len(votes)} voters"]
    if lost := _losses(votes):
        said.append(f"lost: {', '.join(lost)}")
    if spared := [vote.voter for vote in votes if vote.status == "not_needed"]:
        said.append(f"not waited for, could not have changed it: {', '.join(spared)}")
    return "; ".join(said)


def _too_few(votes: Sequence[Vote], minimum: int) -> QuorumFailedError:
    counted = sum(vote.is_counted for vote in votes)
    first = next(vote for vote in votes if vote.status == "lost")
    return QuorumFailedError(
        f"only {counted} of {len(votes)} voters could vote, a decision needs {minimum}; lost:"
        f" {', '.join(_losses(votes))}, the first because: {first.error}; check them with `omninode doctor`",
        deficiencies=tuple(f"{vote.voter}: {vote.error}" for vote in votes if vote.status == "lost"),
    )


def _common_cause(votes: Sequence[Vote]) -> Exception | None:
    """Why nobody could vote; None when somebody could: then it is not the models that are away."""
    if any(vote.status != "lost" for vote in votes):
        return None
    return next((vote.failure for vote in votes if vote.failure is not None), None)


def _losses(votes: Sequence[Vote]) -> list[str]:
    return [f"{vote.voter} ({vote.error_class})" for vote in votes if vote.status == "lost"]
