"""One round of asking: every voter at once, each answer read, told as an event, and weighed up for the early stop."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from omninode.core import current
from omninode.core.clock import Clock
from omninode.core.concurrency import Settled, gather_settled
from omninode.core.deadline import Deadline, within
from omninode.core.errors import MalformedAnswerError
from omninode.core.events import EventSink, VoteCast
from omninode.quorum.ballot import Ballot, Verdict, read_verdict
from omninode.quorum.tally import is_settled
from omninode.quorum.vote import Vote
from omninode.quorum.voter import Voter
from omninode.telemetry.errors import tell_error

__all__ = ["Poll", "Seat"]

_ERROR_CHARS = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Seat:
    """A voter and the weight its vote has here."""

    voter: Voter
    weight: float


class Poll:
    """Asks the voters in `seats` about one ballot."""

    def __init__(
        self, seats: Sequence[Seat], *, ballot: Ballot, vote_timeout_s: float, sink: EventSink, clock: Clock
    ) -> None:
        self._seats = tuple(seats)
        self._ballot = ballot
        self._vote_timeout_s = vote_timeout_s
        self._sink = sink
        self._clock = clock
        self._started = clock.monotonic()

    async def run(self, *, minimum: int) -> tuple[Vote, ...]:
        """A vote per seat, in their order; returns once the outstanding ones cannot change the decision."""

        def is_enough(so_far: Sequence[Settled[Vote] | None]) -> bool:
            votes = [entry.unwrap() for entry in so_far if entry is not None]
            outstanding = [seat.weight for seat, entry in zip(self._seats, so_far, strict=True) if entry is None]
            return is_settled(votes, outstanding, minimum=minimum)

        settled = await gather_settled([self._asking(seat) for seat in self._seats], stop_when=is_enough)
        return tuple(
            self._not_needed(seat) if entry.status == "stopped" else entry.unwrap()
            for seat, entry in zip(self._seats, settled, strict=True)
        )

    def _asking(self, seat: Seat) -> Callable[[], Awaitable[Vote]]:
        return lambda: self._ask(seat)

    async def _ask(self, seat: Seat) -> Vote:
        try:
            limit = Deadline.after(self._vote_timeout_s, clock=self._clock)
            async with within(limit, doing=f"vote of {seat.voter.name!r}"):
                verdict, was_asked_twice = await self._verdict(seat.voter)
        except Exception as error:  # noqa: BLE001 - border: a voter is the caller's code
            context = {"deployment": seat.voter.name, "model": seat.voter.model, "round": self._ballot.round}
            tell_error(self._sink, error, where="quorum.poll", context=context)
            vote = self._lost(seat, error)
        else:
            vote = self._cast(seat, verdict, was_asked_twice=was_asked_twice)
        self._tell(vote)
        return vote

    async def _verdict(self, voter: Voter) -> tuple[Verdict, bool]:
        """The voter's verdict; one that cannot be read is asked for once more, with what was wrong with it."""
        answer = await voter.vote(self._ballot)
        try:
            return read_verdict(answer), False
        except MalformedAnswerError as error:
            ballot = self._ballot.corrected(answer, error.message)
        return read_verdict(await voter.vote(ballot)), True

    def _cast(self, seat: Seat, verdict: Verdict, *, was_asked_twice: bool) -> Vote:
        return Vote(
            voter=seat.voter.name,
            model=seat.voter.model,
            weight=seat.weight,
            status="counted",
            decision=verdict.decision,
            score=verdict.score,
            confidence=verdict.confidence,
            deficiencies=tuple(verdict.deficiencies),
            scores=dict(verdict.scores),
            duration_ms=self._elapsed_ms(),
            was_asked_twice=was_asked_twice,
        )

    def _lost(self, seat: Seat, error: Exception) -> Vote:
        return Vote(
            voter=seat.voter.name,
            model=seat.voter.model,
            weight=seat.weight,
            status="lost",
            duration_ms=self._elapsed_ms(),
            error_class=type(error).__name__,
            error=" ".join(str(error).split())[:_ERROR_CHARS],
            failure=error,
        )

    def _not_needed(self, seat: Seat) -> Vote:
        vote = Vote(
            voter=seat.voter.name,
            model=seat.voter.model,
            weight=seat.weight,
            status="not_needed",
            duration_ms=self._elapsed_ms(),
        )
        self._tell(vote)
        return vote

    def _tell(self, vote: Vote) -> None:
        """Emit the vote; one that was not needed has neither a decision nor an error class."""
        scope = current.scope()
        self._sink.emit(
            VoteCast(
                run_id=scope.run_id,
                phase=scope.phase,
                round=self._ballot.round,
                deployment=vote.voter,
                model=vote.model,
                decision=vote.decision.value if vote.decision is not None else None,
                score=vote.score,
                confidence=vote.confidence,
                weight=vote.weight,
                deficiencies=vote.deficiencies,
                counted=vote.is_counted,
                duration_ms=vote.duration_ms,
                error_class=vote.error_class,
            )
        )

    def _elapsed_ms(self) -> float:
        return (self._clock.monotonic() - self._started) * 1000
