"""A choice among targets that can stand in for each other: the better of two first, the next at once when one fails.

Going on to another target is no retry. It costs no budget and no wait, because it adds no load to what has failed;
only when all of them have failed is it for the policy around the choice to try again. Each target has a policy of its
own, so that one that fails is left alone by its own breaker and the others go on.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar, cast

from omninode.core import current
from omninode.core.clock import Clock, SystemClock
from omninode.core.deadline import Deadline
from omninode.core.errors import BreakerOpenError, DeadlineExceededError, InvalidArgumentError, RefusedError
from omninode.core.events import EventSink
from omninode.resilience.adaptive import AdaptiveTimeout
from omninode.resilience.balancer import Balancer, Candidate
from omninode.resilience.circuit import CircuitBreakerConfig
from omninode.resilience.classify import FAILURES, Classifier, classify, outcome_of
from omninode.resilience.outcome import CallOutcome, PolicyStatistics
from omninode.resilience.policy import Policy
from omninode.resilience.ranges import require_kind, require_share
from omninode.resilience.stack import Part
from omninode.resilience.telling import Spell

__all__ = ["Choice", "ChoiceStatistics", "Target", "TargetStatistics"]

V = TypeVar("V")
P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Target(Generic[V]):
    """One of several that can do the same.

    Args:
        name: unique in its choice; what its breaker and events are called.
        value: what the function is given first to reach it, such as an address or a client.
        weight: its share of the calls, 0 to 1,000,000; one of weight 0 stands by until the others have failed.
        policy: its own protection: breaker, limits, attempt timeout; without the latter its breaker does not hear of
            a hang. None for an `AdaptiveTimeout` and a breaker that opens early, by the sequential test of
            (0.3, 0.9), because opening costs little where another target can answer.
    """

    name: str = field(kw_only=False)
    value: V
    weight: float = 1.0
    policy: Policy | None = None

    def __post_init__(self) -> None:
        require_share(f"target {self.name!r}", "weight", self.weight, high=1e6)
        require_kind(f"target {self.name!r}", "policy", self.policy, Policy, type(None))


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetStatistics:
    """What is known of one target; `latency_ms` is a peak-EWMA, None before the first answer."""

    name: str
    in_flight: int
    latency_ms: float | None
    policy: PolicyStatistics


@dataclass(frozen=True, slots=True, kw_only=True)
class ChoiceStatistics:
    """What a choice has done since it was made."""

    name: str
    failovers: int
    """Times that a call went on to another target."""
    policy: PolicyStatistics
    """Of the policy around the choice: its calls are the calls of the choice."""
    targets: tuple[TargetStatistics, ...]


class _Tried:
    """What one call has asked so far; its hedges share it."""

    __slots__ = ("is_answered", "uses")

    def __init__(self) -> None:
        self.uses: dict[str, int] = {}
        self.is_answered = False


_Failed = list[tuple[str, Exception]]


class Choice(Generic[V]):
    """Sends each call to one of `targets`; safe for any number of concurrent calls on one event loop.

    Args:
        name: of the whole, in events and messages.
        targets: one or more.
        policy: what goes around the choice: deadline, retry, hedge, fallback. A retry asks all the targets again, a
            hedge asks another one than the first attempt if there is one.
        classify: what an error says; one that is the caller's own fault is raised at once.
        clock, sink: time, and where events go; of the policies made here as well.
        seed: makes the draws repeatable.

    Raises InvalidArgumentError when there is no target, or two share a name or a policy.
    """

    def __init__(
        self,
        name: str,
        targets: Iterable[Target[V]],
        *,
        policy: Policy | None = None,
        classify: Classifier = classify,
        clock: Clock | None = None,
        sink: EventSink | None = None,
        seed: int | None = None,
    ) -> None:
        self.name = name
        self.targets = tuple(targets)
        require_kind(f"choice {name!r}", "policy", policy, Policy, type(None))
        for target in self.targets:
            require_kind(f"choice {name!r}", "target", target, Target)
        self._clock = clock or SystemClock()
        self._classify = classify
        self.policy = policy or Policy(name, clock=clock, sink=sink)
        early = CircuitBreakerConfig.sequential(p0=0.3, p1=0.9)
        self._policies = {
            target.name: target.policy
            or Policy(target.name, breaker=early, attempt_timeout_s=AdaptiveTimeout(), clock=clock, sink=sink)
            for target in self.targets
        }
        if not self.targets or len(set(map(id, [self.policy, *self._policies.values()]))) <= len(self.targets):
            raise InvalidArgumentError(
                f"choice {name!r}: it needs one target or more, each with a name and a policy of its own"
            )
        self._by_name = {target.name: target for target in self.targets}
        self._candidates = [Candidate(name=target.name, weight=target.weight) for target in self.targets]
        self._balancer = Balancer(clock=clock, seed=seed)
        self._spell = Spell(sink, self._clock, metric="failover_count", name=name, part="choice")
        self._failovers = 0

    async def call(self, func: Callable[Concatenate[V, P], Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """What `func(target.value, *args, **kwargs)` returns for the first target that answers.

        A target that fails or refuses is followed by the next at once. While another is left, a target may take half
        of the time that remains, or three times its usual latency if that is longer.

        Raises:
            The last error of a target that was asked, with a note naming what each did, when all have failed.
            BreakerOpenError: no target was asked, each is having a break; `retry_after_s` is that of the first to end.
            What the policy around the choice raises.
        """
        call: Part = self.policy.call
        return cast("T", await call(self._chosen, _Tried(), func, *args, **kwargs))

    async def outcome(
        self, func: Callable[Concatenate[V, P], Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs
    ) -> CallOutcome[T]:
        """How the call ended; raises only what cancels the caller. An attempt in it is a round over the targets."""
        outcome: Part = self.policy.outcome
        return cast("CallOutcome[T]", await outcome(self._chosen, _Tried(), func, *args, **kwargs))

    def statistics(self) -> ChoiceStatistics:
        """What it has done so far, and each of its targets."""
        loads = {load.name: load for load in self._balancer.statistics()}
        return ChoiceStatistics(
            name=self.name,
            failovers=self._failovers,
            policy=self.policy.statistics(),
            targets=tuple(
                TargetStatistics(
                    name=name,
                    in_flight=loads[name].in_flight if name in loads else 0,
                    latency_ms=loads[name].latency_ms if name in loads else None,
                    policy=policy.statistics(),
                )
                for name, policy in self._policies.items()
            ),
        )

    def explain(self) -> str:
        """The policy around the choice, then the targets with theirs."""
        told = [self.name, *(f"  {line}" for line in self.policy.explain().splitlines())]
        told.append("each attempt goes to the better of two drawn from these, then to the next:")
        for target in self.targets:
            place = f"weight {target.weight:g}" if target.weight else "stands by"
            told.append(f"  {target.name} ({place})")
            told += [f"    {line}" for line in self._policies[target.name].explain().splitlines()]
        return "\n".join(told)

    # Any: the arguments and the value of `func`; see `call` for their types.
    async def _chosen(self, tried: _Tried, func: Callable[..., Awaitable[Any]], *args: Any, **kwargs: Any) -> Any:
        ordered, failed = self._ordered(tried)
        for target in ordered:
            is_last = target is ordered[-1]
            try:
                return await self._asked(
                    target,
                    partial(func, target.value, *args, **kwargs),
                    tried=tried,
                    until=None if is_last else self._share(target.name),
                )
            except Exception as error:  # noqa: BLE001 - it is raised below, or the next target answers
                failed.append((target.name, error))
                if not self._goes_on(error):
                    break
            if not is_last:
                self._failovers += 1
                self._spell.strike()
        raise _summed_up(self.name, failed)

    def _ordered(self, tried: _Tried) -> tuple[list[Target[V]], _Failed]:
        """Whom to ask, in order, and who is left out because its breaker is open."""
        ordered: list[Target[V]] = []
        left_out: _Failed = []
        for candidate in self._balancer.order(self._candidates):
            breaker = self._policies[candidate.name].breaker
            wait_s = 0.0 if breaker is None else breaker.retry_after_s
            if wait_s == 0.0:
                ordered.append(self._by_name[candidate.name])
                continue
            when = "until it is closed by hand" if wait_s is None else f"for another {wait_s:.1f} s"
            message = f"{candidate.name}: not asked, its breaker is open {when}"
            left_out.append((candidate.name, BreakerOpenError(message, breaker=candidate.name, retry_after_s=wait_s)))
        # Whom this call has asked least; the sort is stable, so within that the balancer's order holds.
        ordered.sort(key=lambda target: (target.weight == 0, tried.uses.get(target.name, 0)))
        return ordered, left_out

    # Any: see `_chosen`.
    async def _asked(
        self, target: Target[V], work: Callable[[], Awaitable[Any]], *, tried: _Tried, until: Deadline | None
    ) -> Any:
        tried.uses[target.name] = tried.uses.get(target.name, 0) + 1
        with self._balancer.under_way(target.name) as trip, current.entered(deadline=until):
            try:
                value = await self._policies[target.name].call(work)
            except BaseException as error:
                # Cancelled because another attempt of this call answered: it was at least as slow as it is by now.
                trip.was_beaten = tried.is_answered
                trip.has_failed = self._speaks_against_it(error)
                raise
            tried.is_answered = True
        if self._spell.is_on:
            self._spell.ease()
        return value

    def _speaks_against_it(self, error: BaseException) -> bool:
        return isinstance(error, DeadlineExceededError) or outcome_of(self._classify, error) in FAILURES

    def _goes_on(self, error: Exception) -> bool:
        """Whether another target may do better: not with what is wrong in itself, nor when the time is over."""
        deadline = current.scope().deadline
        if deadline is not None and deadline.has_passed:
            return False
        return isinstance(error, RefusedError) or self._speaks_against_it(error)

    def _share(self, name: str) -> Deadline | None:
        """When to stop waiting for one target, so that the next still has a chance."""
        deadline = current.scope().deadline
        if deadline is None:
            return None
        return Deadline.after(self._balancer.share_s(name, deadline.remaining()), clock=deadline.clock)


def _summed_up(name: str, failed: _Failed) -> Exception:
    """The error to raise: of the last that was asked or, where none was, of the first that may be."""
    asked = [error for _, error in failed if not isinstance(error, RefusedError)]
    error = asked[-1] if asked else min((error for _, error in failed), key=_wait_s)
    if len(failed) > 1:
        error.add_note(f"omninode: {name} has no answer: " + "; ".join(f"{who}: {why!r}" for who, why in failed))
    return error


def _wait_s(error: Exception) -> float:
    wait_s = getattr(error, "retry_after_s", None)
    return math.inf if wait_s is None else wait_s
