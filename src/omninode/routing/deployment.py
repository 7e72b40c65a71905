"""One model at one endpoint: how it is declared, and what is kept about it while the program runs."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from itertools import count
from urllib.parse import urlsplit

from omninode.core.clock import Clock
from omninode.core.errors import (
    AttemptTimeoutError,
    BreakerOpenError,
    ConfigurationError,
    MalformedAnswerError,
    OmniNodeError,
    RefusedError,
)
from omninode.core.events import EventSink
from omninode.providers.catalog import ProtocolName
from omninode.providers.messages import ChatAnswer, ChatRequest
from omninode.providers.pricing import ModelPrice
from omninode.providers.provider import Provider
from omninode.resilience.breaker import CircuitBreaker
from omninode.resilience.budget import BudgetConfig
from omninode.resilience.circuit import CircuitBreakerConfig
from omninode.resilience.pace import Pace
from omninode.resilience.parking import Park
from omninode.resilience.policy import CallOutcome, Policy
from omninode.resilience.retry import RetryManager
from omninode.resilience.schedule import RetryConfig
from omninode.resilience.seeds import seed_of
from omninode.resilience.soft import SoftTimeout
from omninode.routing.admission import Admission
from omninode.telemetry.errors import tell_error

__all__ = ["ALL_ROLES", "Deployment", "DeploymentConfig", "DeploymentHealth", "RouterSettings"]

ALL_ROLES = frozenset({"planner", "voter", "worker"})

# Hosts whose prices are published under the provider's own name.
_PROVIDERS = {
    "api.openai.com": "openai",
    "api.anthropic.com": "anthropic",
    "api.groq.com": "groq",
    "api.mistral.ai": "mistral",
    "api.deepseek.com": "deepseek",
    "api.together.xyz": "together",
    "api.fireworks.ai": "fireworks",
    "api.cerebras.ai": "cerebras",
    "api.x.ai": "x-ai",
    "api.perplexity.ai": "perplexity",
    "openrouter.ai": "openrouter",
    "generativelanguage.googleapis.com": "google",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class DeploymentConfig:
    """A model at an endpoint, with what may be asked of it.

    `roles` are the parts it may play. `weight` is its share of the calls of a role; a deployment of weight 0 stands
    by and is called only when the others of its role have failed. `timeout_s` bounds one attempt, `max_concurrency`
    how many run at once. `is_streaming` fetches answers as streams, which measures the time to the first token and
    notices a stalled answer earlier. `sends_deadline` tells the endpoint how long its answer is waited for. `price` beats the published price; `provider` names whose price that is and is
    derived from the host of `base_url` where it is not given. The key is in no repr and no message.
    """

    name: str
    protocol: ProtocolName
    base_url: str
    model: str
    api_key: str | None = field(default=None, repr=False)
    weight: float = 1.0
    roles: frozenset[str] = ALL_ROLES
    timeout_s: float = 60.0
    max_concurrency: int = 16
    price: ModelPrice | None = None
    provider: str = ""
    is_streaming: bool = False
    sends_deadline: bool = False
    is_simulated: bool = False

    def __post_init__(self) -> None:
        where = f"deployment {self.name!r}"
        if not self.name:
            raise ConfigurationError("a deployment without a name; give it one")
        if self.protocol not in {"openai", "anthropic"}:
            raise ConfigurationError(f"{where}: protocol {self.protocol!r}; it is 'openai' or 'anthropic'")
        if not self.model:
            raise ConfigurationError(f"{where}: no model named")
        parts = urlsplit(self.base_url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ConfigurationError(f"{where}: base_url is not an http or https address")
        if not math.isfinite(self.weight) or self.weight < 0:
            raise ConfigurationError(f"{where}: weight is {self.weight}; zero or more")
        if not self.roles:
            raise ConfigurationError(f"{where}: no roles; name at least one of {', '.join(sorted(ALL_ROLES))}")
        if not math.isfinite(self.timeout_s) or self.timeout_s <= 0:
            raise ConfigurationError(f"{where}: timeout_s is {self.timeout_s}; more than zero")
        if self.max_concurrency < 1:
            raise ConfigurationError(f"{where}: max_concurrency is {self.max_concurrency}; at least 1")
        if not self.provider:
            object.__setattr__(self, "provider", _provider_of(parts.hostname, is_simulated=self.is_simulated))

    @property
    def is_standby(self) -> bool:
        """Whether it is called only when others have failed."""
        return self.weight == 0


def _provider_of(host: str, *, is_simulated: bool) -> str:
    if is_simulated:
        return "simulated"
    return _PROVIDERS.get(host, host)


@dataclass(frozen=True, slots=True, kw_only=True)
class RouterSettings:
    """How the router protects calls; one breaker, one retry manager and one bulkhead per deployment are made of it.

    Args:
        retry: when an attempt is repeated on the same deployment. The default repeats five times, as far as the
            deployment's successes pay for it.
        breaker: when a deployment is given a break. The default is the sequential test, see
            `CircuitBreakerConfig.sequential`.
        max_queue: callers that may wait for a place at one deployment.
        hasty_wait_s: the longest Retry-After waited for while another deployment could answer instead.
        soft_timeout: when an attempt under way is reported to the breaker as one that hangs; None for never.
        park: how a call waits, within its deadline, while every deployment of the role has a break; None refuses it
            at once.
        tells_payloads: whether what is sent and answered is told (`PayloadRecorded`), for whoever stores it.
    """

    retry: RetryConfig = field(
        default_factory=lambda: RetryConfig(max_retries=5, base_delay=0.2, budget=BudgetConfig(start=20.0))
    )
    breaker: CircuitBreakerConfig = field(default_factory=CircuitBreakerConfig.sequential)
    max_queue: int = 1_000
    hasty_wait_s: float = 1.0
    soft_timeout: SoftTimeout | None = field(default_factory=SoftTimeout)
    park: Park | None = field(default_factory=lambda: Park(max_calls=5_000, without_deadline_s=10.0))
    tells_payloads: bool = False

    def __post_init__(self) -> None:
        if self.max_queue < 0 or not self.hasty_wait_s >= 0:
            raise ConfigurationError("max_queue and hasty_wait_s are zero or more")


@dataclass(frozen=True, slots=True, kw_only=True)
class DeploymentHealth:
    """How a deployment does; `retry_after_s` says when its breaker lets a call through (0.0 now, None never).

    `running` and `waiting` have a place here or stand in line for one; `parked` are the calls that no deployment lets
    through now, and that wait for this one or for another of their role.
    """

    name: str
    model: str
    provider: str
    roles: tuple[str, ...]
    is_simulated: bool
    breaker: str
    retry_after_s: float | None
    running: int
    waiting: int
    parked: int
    calls: int
    failed: int
    latency_ms: float | None
    last_error: str | None


class Deployment:
    """A deployment while the program runs: its provider, its breaker, its places, and what it has done."""

    def __init__(
        self,
        config: DeploymentConfig,
        provider: Provider,
        *,
        settings: RouterSettings,
        breaker: CircuitBreaker,
        clock: Clock,
        sink: EventSink,
        seed: int | None = None,
    ) -> None:
        self.config = config
        self.provider = provider
        self.breaker = breaker
        self.pace = Pace(breaker, clock=clock)
        self.admission = Admission(
            config.name,
            max_concurrency=config.max_concurrency,
            max_queue=settings.max_queue,
            clock=clock,
            sink=sink,
        )
        self._policy = Policy(
            config.name,
            attempt_timeout_s=config.timeout_s,
            retry=settings.retry,
            breaker=breaker,
            bulkhead=self.admission.bulkhead,
            soft_timeout=settings.soft_timeout,
            pace=self.pace,
            clock=clock,
            sink=sink,
            seed=seed_of(seed, config.name),
        )
        self._hasty = replace(
            settings.retry,
            max_retry_after=min(settings.retry.max_retry_after, settings.hasty_wait_s),
            retry_on=_is_worth_repeating(settings.retry),
        )
        self._sink = sink
        self._calls = self._failed = 0
        self._last_error: str | None = None

    @property
    def name(self) -> str:
        """What it is called."""
        return self.config.name

    @property
    def has_answered(self) -> bool:
        """Whether one of its calls ever succeeded."""
        return self._calls > self._failed

    @property
    def is_admitting(self) -> bool:
        """Whether its breaker would let a call through now."""
        return self.breaker.retry_after_s == 0.0

    @property
    def retry(self) -> RetryManager:
        """Its retry manager, whose counters are worth keeping across restarts."""
        return self._policy.retry

    async def answer(self, request: ChatRequest, *, is_hasty: bool) -> CallOutcome[ChatAnswer]:
        """How a call ended, retries included; a hasty one leaves it to another deployment sooner."""
        if is_hasty:
            outcome = await self._policy.outcome_as(self._hasty, self._fetch, request, count(1))
        else:
            outcome = await self._policy.outcome(self._fetch, request, count(1))
        self._calls += 1
        if outcome.error is None:
            return outcome
        self._failed += 1
        if isinstance(outcome.error, BreakerOpenError):
            return replace(outcome, error=self.refusal())
        if not isinstance(outcome.error, RefusedError):
            self._tell(outcome.error, attempt=outcome.attempts)
        return outcome

    def _tell(self, error: Exception, *, attempt: int) -> None:
        """Tell an attempt's failure here, where the deployment is known; what we refused ourselves is none of its."""
        context = {"deployment": self.name, "model": self.config.model, "provider": self.config.provider}
        tell_error(self._sink, error, where="routing.deployment", attempt=attempt, context=context)

    def refusal(self) -> BreakerOpenError:
        """The error for a call that its breaker does not let through, with what had gone wrong before."""
        wait_s = self.breaker.retry_after_s
        when = "until it is closed by hand" if wait_s is None else f"for another {wait_s:.1f} s"
        because = f", after: {self._last_error}" if self._last_error else ""
        return BreakerOpenError(
            f"{self.name}: not asked, its breaker is open {when}{because}", breaker=self.name, retry_after_s=wait_s
        )

    async def _fetch(self, request: ChatRequest, attempts: Iterator[int]) -> ChatAnswer:
        attempt = next(attempts)
        try:
            return await self._fetched(request)
        except OmniNodeError as error:
            self._last_error = str(error)
            self._tell(error, attempt=attempt)
            raise

    async def _fetched(self, request: ChatRequest) -> ChatAnswer:
        if not self.config.is_streaming:
            return await self.provider.complete(request, model=self.config.model)
        async with self.provider.stream(request, model=self.config.model) as stream:
            async for _ in stream:
                pass  # the pieces add up in the answer
            answer = stream.answer
        if answer is None:
            raise MalformedAnswerError(f"{self.name}: the stream ended without an answer")
        return answer

    def health(self, latency_ms: float | None, *, parked: int) -> DeploymentHealth:
        """How it does now."""
        places = self.admission.statistics()
        return DeploymentHealth(
            name=self.name,
            model=self.config.model,
            provider=self.config.provider,
            roles=tuple(sorted(self.config.roles)),
            is_simulated=self.config.is_simulated,
            breaker=self.breaker.state.value,
            retry_after_s=self.breaker.retry_after_s,
            running=places.running,
            waiting=places.waiting,
            parked=parked,
            calls=self._calls,
            failed=self._failed,
            latency_ms=latency_ms,
            last_error=self._last_error,
        )


def _is_worth_repeating(retry: RetryConfig) -> Callable[[BaseException], bool]:
    """What to repeat on the same deployment while another could answer: not an attempt that used up its time."""
    return lambda error: retry.retry_on(error) and not isinstance(error, AttemptTimeoutError)
