"""One trial: a trouble, an arm, a seed, and how every call of it ended.

Arrivals and spans come from the seed alone, so every arm meets the same ones; the luck of single attempts does not,
because the arms make different attempts.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from random import Random

from omninode.bench.storm.arms import Attempting, Place, opened
from omninode.bench.storm.backend import Backend
from omninode.bench.storm.spans import is_savable
from omninode.bench.storm.troubles import ALL_TROUBLES, Trouble
from omninode.core.clock import Clock
from omninode.core.errors import OmniNodeError, ProviderUnavailableError
from omninode.providers.http import HttpClient
from omninode.simulation.virtual_time import VirtualClock, run_virtual

__all__ = ["Ended", "Job", "Tally", "backends", "run_job", "run_through", "tallied"]

# A good moment that comes later than so long before the deadline is too late.
_MARGIN_S = 0.5
# A stretch of so many seconds has to be fine before a service counts as back.
_BACK_S = 5
_BACK_SHARE = 0.99


@dataclass(frozen=True, slots=True)
class Ended:
    """One call: when it came, in seconds of the trial, how long it took and whether its user got an answer."""

    at_s: float
    took_s: float
    ok: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """What one trial came to."""

    trouble: str
    arm: str
    seed: int
    calls: int
    failed: int
    attempts: int
    bad: int
    p99_s: float
    window_p99_s: float
    """Of the calls that came while the fault held."""
    before_p99_s: float | None
    """Of those that came before it; None when there were none."""
    savable: int
    savable_failed: int
    back_after_s: float
    """Seconds from the end of the fault until 99 % of the calls that come succeed again."""

    @property
    def failed_share(self) -> float:
        """The share of calls that failed, in percent."""
        return 100.0 * self.failed / self.calls

    @property
    def amplification(self) -> float:
        """Attempts per call."""
        return self.attempts / self.calls


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What names one trial on virtual time; a process of its own can run it."""

    trouble: str
    arm: str
    seed: int


def run_job(job: Job) -> Tally:
    """The trial of `job`, on virtual time."""
    trouble = next(entry for entry in ALL_TROUBLES if entry.name == job.trouble)

    async def main(clock: VirtualClock) -> Tally:
        places = backends(trouble, seed=job.seed)
        attempts = [_played(backend, clock) for backend in places]
        call = opened(job.arm, Place(trouble=trouble, attempts=attempts, clock=clock, http=HttpClient(), seed=job.seed))
        ended = await run_through(trouble, call, clock=clock, seed=job.seed)
        return tallied(trouble, ended, places, arm=job.arm, seed=job.seed)

    return run_virtual(main)


def backends(trouble: Trouble, *, seed: int) -> list[Backend]:
    """The backends of a trial, their spans and luck drawn from `seed`."""
    return [
        Backend(course(_luck(trouble, seed, f"spans {number}")), luck=_luck(trouble, seed, f"backend {number}"))
        for number, course in enumerate(trouble.courses)
    ]


def _luck(trouble: Trouble, seed: int, part: str) -> Random:
    return Random(f"{trouble.name}/{seed}/{part}")  # noqa: S311 - a simulation, not a secret


def _played(backend: Backend, clock: Clock) -> Attempting:
    """Attempts at `backend` that take their time on the clock."""
    zero = clock.monotonic()

    async def attempt() -> None:
        at_s = clock.monotonic() - zero
        fate = backend.attempt(at_s)
        try:
            # A day stands for ever: no attempt is that patient.
            await asyncio.sleep(min(fate.takes_s, 86_400.0))
        except asyncio.CancelledError:
            # Left before its time, though the backend did nothing wrong.
            if not fate.fails and clock.monotonic() - zero - at_s < _SHORTEST_PATIENCE_S:
                backend.dropped += 1
            raise
        if fate.fails:
            raise ProviderUnavailableError("backend: failed as it was told to", status=500)
        backend.good += 1

    return attempt


# An attempt that was let wait for so long and is then given up counts as a bad one: its time was out.
_SHORTEST_PATIENCE_S = 4.0


async def run_through(
    trouble: Trouble, call: Callable[[], Awaitable[object]], *, clock: Clock, seed: int
) -> list[Ended]:
    """How every call ended; they come at random (Poisson) at the rate of the trouble, however many are under way."""
    luck = _luck(trouble, seed, "arrivals")
    ended: list[Ended] = []
    zero = clock.monotonic()

    async def one() -> None:
        at_s = clock.monotonic() - zero
        try:
            await call()
            ok = True
        except OmniNodeError:
            ok = False
        ended.append(Ended(at_s, clock.monotonic() - zero - at_s, ok))

    async with asyncio.TaskGroup() as group:
        at_s = luck.expovariate(trouble.rate_per_s)
        while at_s < trouble.length_s:
            # Against the plan, not from call to call: real time must not drift.
            await clock.sleep(max(0.0, zero + at_s - clock.monotonic()))
            group.create_task(one())
            at_s += luck.expovariate(trouble.rate_per_s)
    return ended


def tallied(trouble: Trouble, ended: Sequence[Ended], places: Sequence[Backend], *, arm: str, seed: int) -> Tally:
    """What the calls and the backends of one trial came to."""
    begins_s, ends_s = trouble.window_s
    reach_s = trouble.patience.deadline_s - _MARGIN_S
    before = [call for call in ended if call.at_s < begins_s]
    savable = [call for call in ended if _is_savable(call, places, reach_s)]
    return Tally(
        trouble=trouble.name,
        arm=arm,
        seed=seed,
        calls=len(ended),
        failed=sum(not call.ok for call in ended),
        attempts=sum(backend.attempts for backend in places),
        bad=sum(backend.bad for backend in places),
        p99_s=_p99(ended),
        window_p99_s=_p99([call for call in ended if begins_s <= call.at_s < ends_s]),
        before_p99_s=_p99(before) if before else None,
        savable=len(savable),
        savable_failed=sum(not call.ok for call in savable),
        back_after_s=_back_after_s(ended, ends_s, until_s=trouble.length_s),
    )


def _is_savable(call: Ended, places: Sequence[Backend], reach_s: float) -> bool:
    return any(is_savable(backend.spans, call.at_s, until_s=call.at_s + reach_s) for backend in places)


def _p99(calls: Sequence[Ended]) -> float:
    """The 99th percentile of their durations (nearest rank); 0.0 for none."""
    times = sorted(call.took_s for call in calls)
    return times[math.ceil(0.99 * len(times)) - 1] if times else 0.0


def _back_after_s(ended: Sequence[Ended], ends_s: float, *, until_s: float) -> float:
    """The first whole second after `ends_s` from which on 99 % succeed, in the next five seconds and altogether."""
    for wait_s in range(math.ceil(max(0.0, until_s - ends_s))):
        since_s = ends_s + wait_s
        rest = [call.ok for call in ended if call.at_s >= since_s]
        near = [call.ok for call in ended if since_s <= call.at_s < since_s + _BACK_S]
        if near and sum(near) >= _BACK_SHARE * len(near) and sum(rest) >= _BACK_SHARE * len(rest):
            return float(wait_s)
    return until_s - ends_s
