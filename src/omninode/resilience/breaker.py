"""A breaker: stops calling what is failing, and finds out cheaply when it works again.

CLOSED lets every call through and counts how they end; OPEN refuses until a break is over; HALF_OPEN lets one probe
through at a time and closes after enough successes (or by a test and with a ramp, see `CircuitBreakerConfig`). Every change of state starts a new generation, and a result is
only heard in the generation it was admitted under, so that a slow answer from before the outage closes nothing.
Deciding is synchronous: nothing is awaited and no lock is held while the guarded call runs. Use one breaker from one
thread; the state survives a change of event loop.
"""

from __future__ import annotations

import math
import random
from collections.abc import Awaitable, Callable
from datetime import timedelta
from inspect import isawaitable
from threading import Lock
from types import CoroutineType
from typing import ParamSpec, TypeVar

from omninode.core import current
from omninode.core.clock import Clock, SystemClock
from omninode.core.errors import BreakerOpenError
from omninode.core.events import BreakerChanged, EventSink, shielded
from omninode.resilience.circuit import Break, BreakerStatistics, CircuitBreakerConfig, CircuitState, Counts
from omninode.resilience.classify import FAILURES, Outcome, outcome_of
from omninode.resilience.detector import CALM_SUCCESSES, Consecutive, Detector
from omninode.resilience.probes import Probes
from omninode.resilience.snapshot import BreakerSnapshot

__all__ = [
    "BreakerSnapshot",
    "BreakerStatistics",
    "CircuitBreaker",
    "CircuitBreakerConfig",
    "CircuitState",
    "Permit",
]

P = ParamSpec("P")
T = TypeVar("T")

# How long a refused caller is told to wait while a probe is under way; its end is not known.
_PROBE_WAIT_S = 0.3
# A break is to end while those refused in it still have this share of their time.
_BREAK_SHARE = 0.5


class Permit:
    """The right to make one call; give it back with `release`, whatever happens."""

    __slots__ = ("_breaker", "_is_held", "generation", "is_probe", "started")

    def __init__(self, breaker: CircuitBreaker, *, generation: int, is_probe: bool, started: float = 0.0) -> None:
        self._breaker = breaker
        self._is_held = True
        self.generation = generation
        self.is_probe = is_probe
        self.started = started

    @property
    def is_held(self) -> bool:
        """Whether it has not been released yet."""
        return self._is_held

    def release(self, outcome: Outcome, *, cause: str = "") -> None:
        """Tell how the call ended; only the first release counts. `cause` names the error, for the reason shown."""
        if self._is_held:
            self._is_held = False
            self._breaker._settle(self.generation, outcome, cause, self.started)  # noqa: SLF001 - two halves of one thing


class CircuitBreaker:
    """Guards one named target. See the module for the idea; safe for any number of concurrent calls on one thread.

    `seed` makes the jitter of its breaks repeatable. Emits `BreakerChanged` for every change of state.
    """

    def __init__(
        self,
        name: str,
        config: CircuitBreakerConfig | None = None,
        *,
        clock: Clock | None = None,
        sink: EventSink | None = None,
        seed: int | None = None,
    ) -> None:
        self.name = name
        self.config = config or CircuitBreakerConfig()
        self._clock = clock or SystemClock()
        self._sink = shielded(sink)
        self._random = random.Random(seed)  # noqa: S311 - jitter, not a secret
        spec = self.config.detector or Consecutive(self.config.failure_threshold)
        # For plain functions, which may run in many threads; on one event loop nothing needs it.
        self.lock = Lock()
        self.detector: Detector = spec.start(self._clock)
        self._is_timed = spec.is_timed
        self.ticket = 0 if self._is_timed else 1
        self.passed = 0
        self._state = CircuitState.CLOSED
        self._generation = 0
        self._break: Break | None = None
        # Since its breaks were short.
        self.openings_in_a_row = 0
        self._calm = 0
        self._patience_s = 0.0
        self._probes = Probes(self.config)
        self._counts = Counts()

    # What it is doing

    @property
    def state(self) -> CircuitState:
        """The state now; an OPEN whose break is over stays OPEN until the next call becomes its probe."""
        return self._state

    @property
    def generation(self) -> int:
        """Grows with every change of state."""
        return self._generation

    @property
    def retry_after_s(self) -> float | None:
        """Seconds until a call may be admitted: 0.0 when now, None while isolated."""
        if self._state is CircuitState.CLOSED or self._break is None:
            return 0.0
        if self._state is CircuitState.OPEN:
            left = self._break.left_s(self._clock.monotonic())
            return None if math.isinf(left) else left
        return 0.0 if self._probes.has_free(self._clock.monotonic()) else _PROBE_WAIT_S

    def statistics(self) -> BreakerStatistics:
        """What it has seen so far, and its state."""
        counts = self._counts
        return BreakerStatistics(
            name=self.name,
            state=self._state,
            generation=self._generation,
            reason=self._break.reason if self._break else "",
            retry_after_s=self.retry_after_s,
            successes=counts.successes + self.passed,
            failures=counts.failures,
            neutral=counts.neutral,
            rejected=counts.rejected,
            stale=counts.stale,
            openings=counts.openings,
            probes_under_way=self._probes.under_way,
        )

    # Letting calls through

    async def call(self, func: Callable[P, Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """What `func(*args, **kwargs)` returns; `func` is not touched when the breaker refuses.

        A cancelled call and a client fault (4xx, a bug in `func`) count neither way. A plain function is accepted
        too: its value is returned as it is, and while it runs nothing else does.

        Raises:
            BreakerOpenError: refused; `retry_after_s` says when it is worth asking again (None while isolated).
        """
        ticket = self.ticket
        permit = None if ticket else self.admit()
        try:
            result = func(*args, **kwargs)
            if result.__class__ is CoroutineType or isawaitable(result):
                value = await result
            else:
                value = result
        except BaseException as error:
            if permit is None:
                self.settle(ticket, error)
            else:
                permit.release(outcome_of(self.config.classify, error), cause=type(error).__name__)
            raise
        if permit is not None:
            permit.release(Outcome.SUCCESS)
        elif ticket == self.ticket and self.detector.is_calm:
            # What nearly every call does, without the calls below.
            self.passed += 1
        else:
            self.settle(ticket)
        return value

    def hear(self, permit: Permit, outcome: Outcome) -> None:
        """Count a second word on a call whose `permit` was released too early; ignored after a change of state."""
        if permit.generation == self._generation and self._state is CircuitState.CLOSED:
            self._settle(permit.generation, outcome, "", permit.started)

    def settle(self, ticket: int, error: BaseException | None = None) -> None:
        """Tell how a call that was let through by `ticket` alone ended: with `error`, or well.

        A `ticket` above zero is the cheap form of a permit, for a closed breaker whose breaks are short again: take
        it before the call and give it here after it, exactly once. While it has not changed and the detector is calm,
        adding one to `passed` says the same as settling a success.
        """
        if error is None:
            self._settle(ticket - 1, Outcome.SUCCESS, "")
        else:
            self._settle(ticket - 1, outcome_of(self.config.classify, error), type(error).__name__)

    def admit(self) -> Permit:
        """A permit for one call, to be released with its outcome; never waits. Raises BreakerOpenError."""
        if self._state is CircuitState.CLOSED:
            started = self._clock.monotonic() if self._is_timed else 0.0
            return Permit(self, generation=self._generation, is_probe=False, started=started)
        now = self._clock.monotonic()
        if self._state is CircuitState.OPEN:
            assert self._break is not None
            if self._break.left_s(now) > 0.0:
                raise self._refusal()
            self._enter(CircuitState.HALF_OPEN, "the break is over")
        if not self._probes.has_free(now):
            raise self._refusal()
        self._probes.begin(now, break_s=self.config.longest_break_s(self.openings_in_a_row))
        return Permit(self, generation=self._generation, is_probe=True)

    def turn_away(self) -> None:
        """Count a caller who is refused, and how long he could have waited: a break need not be longer than that."""
        self._counts.rejected += 1
        deadline = current.scope().deadline
        if deadline is not None:
            self._patience_s = max(self._patience_s, deadline.remaining())

    def _refusal(self) -> BreakerOpenError:
        self.turn_away()
        wait = self.retry_after_s
        if wait is None:
            remedy, state = "call close() or reset() to let calls through", "is isolated by hand"
        elif self._state is CircuitState.HALF_OPEN:
            remedy, state = "try again when its probe has answered", "is half open"
        else:
            remedy, state = "wait, or raise failure_threshold, or call reset()", f"is open for another {wait:.1f} s"
        reason = self._break.reason if self._break else ""
        return BreakerOpenError(
            f"breaker {self.name!r} {state} ({reason}); {remedy}", breaker=self.name, retry_after_s=wait
        )

    # Hearing how they ended

    def _settle(self, generation: int, outcome: Outcome, cause: str, started: float = 0.0) -> None:
        if generation != self._generation:
            self._counts.stale += 1
        elif self._state is CircuitState.CLOSED:
            took_s = self._clock.monotonic() - started if self._is_timed else 0.0
            self._settle_closed(outcome, cause, took_s)
        else:
            self._settle_probe(outcome, cause)

    def _settle_closed(self, outcome: Outcome, cause: str, took_s: float) -> None:
        if outcome is Outcome.SUCCESS:
            self._counts.successes += 1
            if self.detector.succeeded(took_s):
                self._open(self.detector.reason)
            elif self.openings_in_a_row:
                self._calm += 1
                if self._calm >= CALM_SUCCESSES:
                    self.openings_in_a_row = 0
                    self._issue_ticket()
        elif outcome in FAILURES:
            self._counts.failures += 1
            if self.detector.failed(took_s):
                self._open(f"{self.detector.reason}, the last a {cause or outcome.value}")
        else:
            self._counts.neutral += 1

    def _settle_probe(self, outcome: Outcome, cause: str) -> None:
        # Only permits of this generation arrive here, and they are all probes of this half-open stretch.
        verdict = self._probes.end(outcome)
        if outcome is Outcome.SUCCESS:
            self._counts.successes += 1
        elif outcome in FAILURES:
            self._counts.failures += 1
        else:
            self._counts.neutral += 1
        if verdict is CircuitState.CLOSED:
            if self.config.closing is not None:
                # The test is next to certain that it lives, so the break after this one begins short again.
                self.openings_in_a_row = min(1, self.openings_in_a_row)
            self._enter(verdict, f"{self._probes.successes} probes succeeded")
        elif verdict is CircuitState.OPEN:
            self._open(f"a probe failed with {cause or outcome.value}")

    # Moving

    def open(self, reason: str = "opened by hand") -> None:
        """Refuse calls for one break, then probe."""
        self._open(reason, is_by_hand=True)

    def isolate(self, reason: str = "isolated by hand") -> None:
        """Refuse every call until `close` or `reset`."""
        self._break = Break(opened_at=self._clock.now(), began=-math.inf, until=math.inf, reason=reason)
        self._enter(CircuitState.OPEN, reason, is_by_hand=True)

    def close(self, reason: str = "closed by hand") -> None:
        """Let calls through again at once and forget the failures counted so far."""
        self._enter(CircuitState.CLOSED, reason, is_by_hand=True)

    def reset(self) -> None:
        """Close, and begin the statistics and the growth of breaks anew."""
        self.openings_in_a_row = 0
        self._enter(CircuitState.CLOSED, "reset by hand", is_by_hand=True)
        self._counts = Counts()
        self.passed = 0

    def _open(self, reason: str, *, is_by_hand: bool = False) -> None:
        self.openings_in_a_row += 1
        self._counts.openings += 1
        length = self.config.longest_break_s(self.openings_in_a_row)
        if self._patience_s:
            length = min(length, max(self.config.longest_break_s(1), _BREAK_SHARE * self._patience_s))
            self._patience_s = 0.0
        length *= 1.0 - self.config.jitter * self._random.random()
        now = self._clock.monotonic()
        # What began on the word of others stays second hand until it closes, however often a probe fails.
        is_echo = self._break.is_second_hand if self._break else self.detector.is_sensitised
        self._break = Break(
            opened_at=self._clock.now(), began=now, until=now + length, reason=reason, is_second_hand=is_echo
        )
        self._enter(CircuitState.OPEN, reason, is_by_hand=is_by_hand)

    def _enter(self, state: CircuitState, reason: str, *, is_by_hand: bool = False) -> None:
        before, self._state = self._state, state
        self._generation += 1
        self._issue_ticket()
        self._probes.clear()
        self._calm = 0
        self.detector.reset()
        if state is CircuitState.CLOSED:
            self._break = None
        if before is not state and self._sink is not None:
            scope, refused = current.scope(), self._counts.rejected - self._counts.told
            self._counts.told = self._counts.rejected
            self._sink.emit(
                BreakerChanged(
                    run_id=scope.run_id,
                    phase=scope.phase,
                    breaker=self.name,
                    before=before.value,
                    after=state.value,
                    reason=reason,
                    generation=self._generation,
                    refused=refused,
                    retry_after_s=self.retry_after_s if state is CircuitState.OPEN else None,
                    is_by_hand=is_by_hand,
                )
            )

    def _issue_ticket(self) -> None:
        is_ordinary = self._state is CircuitState.CLOSED and not self.openings_in_a_row and not self._is_timed
        self.ticket = self._generation + 1 if is_ordinary else 0

    # Surviving a restart

    def snapshot(self) -> BreakerSnapshot:
        """The state to keep; moments are on the wall clock, because monotonic time ends with the process."""
        now = self._clock.now()
        pause = self._break
        wait = self.retry_after_s
        is_timed = self._state is CircuitState.OPEN and wait is not None
        return BreakerSnapshot(
            name=self.name,
            state=self._state,
            failures=self._counts.failures,
            successes=self._counts.successes + self.passed,
            generation=self._generation,
            opened_at=pause.opened_at if pause else None,
            reopen_at=now + timedelta(seconds=wait or 0.0) if is_timed else None,
            reason=pause.reason if pause else "",
            updated_at=now,
            is_second_hand=pause is not None and pause.is_second_hand,
        )

    def restore(self, snapshot: BreakerSnapshot) -> None:
        """Take up the state of `snapshot`; calls under way are not heard any more.

        A break goes on for what is left of it, but never longer than the longest break this breaker makes, however
        far the wall clock was moved meanwhile. HALF_OPEN comes back as a break that is over: the next call probes.
        """
        self._generation = max(self._generation, snapshot.generation)
        self._counts.failures += snapshot.failures
        self._counts.successes += snapshot.successes
        if snapshot.state is CircuitState.CLOSED:
            self._enter(CircuitState.CLOSED, "restored")
            return
        now = self._clock.now()
        left = 0.0
        if snapshot.state is CircuitState.OPEN and snapshot.reopen_at is None:
            left = math.inf
        elif snapshot.state is CircuitState.OPEN and snapshot.reopen_at is not None:
            longest = self.config.longest_break_s(1000)
            left = min(max(0.0, (snapshot.reopen_at - now).total_seconds()), longest)
        self.openings_in_a_row = max(1, self.openings_in_a_row)
        began = self._clock.monotonic()
        self._break = Break(
            opened_at=snapshot.opened_at or now,
            began=-math.inf if math.isinf(left) else began,
            until=began + left,
            reason=snapshot.reason,
        )
        self._enter(CircuitState.OPEN, "restored")
