"""The ways of calling that are compared. The shipped one is a router with `RouterSettings()`, where its defaults stand."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import count

from omninode.bench.storm.troubles import Trouble
from omninode.core import current
from omninode.core.clock import Clock
from omninode.core.deadline import Deadline
from omninode.core.usage import Usage
from omninode.providers.http import HttpClient
from omninode.providers.messages import ChatAnswer, ChatRequest, Message
from omninode.providers.provider import AnswerStream
from omninode.resilience.budget import BudgetConfig
from omninode.resilience.circuit import CircuitBreakerConfig
from omninode.resilience.detector import Consecutive
from omninode.resilience.parking import Park
from omninode.resilience.policy import Policy
from omninode.resilience.schedule import RetryConfig
from omninode.resilience.soft import SoftTimeout
from omninode.routing.deployment import DeploymentConfig, RouterSettings
from omninode.routing.router import Router, RouterParts

__all__ = ["ARMS", "DOCUMENT", "NONE", "RECOMMENDED", "RETRIES", "SHIPPED", "Attempting", "Calling", "Place", "opened"]

NONE, RETRIES, DOCUMENT, RECOMMENDED, SHIPPED = "none", "retry x3", "document", "recommended", "shipped"
ARMS = (NONE, RETRIES, DOCUMENT, RECOMMENDED, SHIPPED)

Attempting = Callable[[], Awaitable[object]]
"""One attempt at one backend."""

Calling = Callable[[], Awaitable[object]]
"""One call of a user, with whatever attempts it takes."""

# More than ever run at once: what is measured is the policy, not a cap that the user of a deployment would set.
_PLACES = 100_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where an arm works: the attempts it may make, one per backend, and what it is given."""

    trouble: Trouble
    attempts: Sequence[Attempting]
    clock: Clock
    http: HttpClient
    seed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Way:
    """What stands around the attempts: the settings of the router, and the parts of a policy it does not have."""

    settings: RouterSettings
    park: Park | None = None
    soft_timeout: SoftTimeout | None = None


def _document() -> _Way:
    # Written out, because what is shipped may be another default one day.
    return _Way(
        settings=RouterSettings(
            retry=RetryConfig(max_retries=3, base_delay=0.1, max_delay=10.0, backoff_multiplier=2.0, jitter=True),
            breaker=CircuitBreakerConfig(
                timeout_seconds=30.0, success_threshold=2, half_open_max_calls=1, detector=Consecutive(5)
            ),
            park=None,
            soft_timeout=None,
        )
    )


def _recommended() -> _Way:
    """The parts that the manual of `resilience` recommends, each with its defaults, and more retries on a budget."""
    return _Way(
        settings=RouterSettings(
            retry=RetryConfig(max_retries=5, base_delay=0.2, budget=BudgetConfig()),
            breaker=CircuitBreakerConfig.sequential(),
        ),
        park=Park(),
        soft_timeout=SoftTimeout(),
    )


def _shipped() -> _Way:
    return _Way(settings=RouterSettings())


_WAYS: Mapping[str, Callable[[], _Way]] = {DOCUMENT: _document, RECOMMENDED: _recommended, SHIPPED: _shipped}


def opened(arm: str, place: Place) -> Calling:
    """A fresh way of calling, which has seen nothing yet."""
    if arm in _BARE:
        return _bare(place, _BARE[arm])
    way = _WAYS[arm]()
    # What is shipped is the router with all it does; the other ways are those of a policy used on its own.
    is_routed = arm == SHIPPED or len(place.attempts) > 1
    return _routed(place, way.settings) if is_routed else _guarded(place, way)


_BARE: Mapping[str, RetryConfig | None] = {NONE: None, RETRIES: RetryConfig(max_retries=3)}


def _bare(place: Place, retry: RetryConfig | None) -> Calling:
    """Only the times hold: the policy is off, or does nothing but try again."""
    patience = place.trouble.patience
    policies = [
        Policy(
            f"backend-{number}",
            deadline_s=patience.deadline_s,
            attempt_timeout_s=patience.attempt_s,
            retry=retry,
            clock=place.clock,
            seed=place.seed,
        )
        for number in range(len(place.attempts))
    ]
    if place.trouble.bare == "first" or len(policies) == 1:
        first, attempt = policies[0], place.attempts[0]
        return lambda: first.call(attempt)
    turns = count()

    def in_turn() -> Awaitable[object]:
        turn = next(turns) % len(policies)
        return policies[turn].call(place.attempts[turn])

    return in_turn


def _guarded(place: Place, way: _Way) -> Calling:
    """One backend behind one policy."""
    patience, attempt = place.trouble.patience, place.attempts[0]
    policy = Policy(
        "backend-0",
        deadline_s=patience.deadline_s,
        attempt_timeout_s=patience.attempt_s,
        retry=way.settings.retry,
        breaker=way.settings.breaker,
        park=way.park,
        soft_timeout=way.soft_timeout,
        clock=place.clock,
        seed=place.seed,
    )
    return lambda: policy.call(attempt)


def _routed(place: Place, settings: RouterSettings) -> Calling:
    """Several backends behind the router."""
    patience = place.trouble.patience
    names = [f"backend-{number}" for number in range(len(place.attempts))]
    router = Router(
        [
            DeploymentConfig(
                name=name,
                protocol="openai",
                base_url="http://127.0.0.1/",
                model=name,
                timeout_s=patience.attempt_s,
                max_concurrency=_PLACES,
                is_simulated=True,
            )
            for name in names
        ],
        http=place.http,
        clock=place.clock,
        settings=settings,
        parts=RouterParts(
            providers={name: _Played(name, attempt) for name, attempt in zip(names, place.attempts, strict=True)},
            seed=place.seed,
        ),
    )
    request = ChatRequest(messages=(Message(role="user", content="question"),), temperature=1.0)

    async def call() -> object:
        with current.entered(deadline=Deadline.after(patience.deadline_s, clock=place.clock)):
            return await router.complete(request, role="worker", use_cache=False)

    return call


class _Played:
    """A provider whose every answer is one attempt at a backend."""

    def __init__(self, name: str, attempt: Attempting) -> None:
        self.name = name
        self._attempt = attempt
        self._answer = ChatAnswer(text="answer", model=name, finish_reason="stop", usage=Usage(), duration_s=0.0)

    async def complete(self, request: ChatRequest, *, model: str) -> ChatAnswer:  # noqa: ARG002 - see `Provider`
        """One attempt; what it answers is always the same."""
        await self._attempt()
        return self._answer

    def stream(self, request: ChatRequest, *, model: str) -> AnswerStream:
        """See `Provider`; nothing here asks for it."""
        raise NotImplementedError

    async def models(self) -> tuple[str, ...]:
        """Its own name."""
        return (self.name,)

    async def close(self) -> None:
        """Nothing is open."""
