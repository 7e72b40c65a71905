"""Settings into objects: what the parts of an open system are and how they fit, on one page.

Nothing here waits or does I/O; `runtime` opens and closes what this page makes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from omninode.context.cache import RetrievalCache
from omninode.context.gather import ContextGatherer
from omninode.context.optimizer import ContextOptimizer
from omninode.context.source import Source, Traits
from omninode.context.sources.files import WorkspaceFiles
from omninode.context.sources.hints import LearnedHints
from omninode.context.sources.http import HttpRetrieval
from omninode.context.sources.search import WorkspaceSearch
from omninode.context.sources.structure import WorkspaceStructure
from omninode.context.workspace import Workspace
from omninode.core.clock import Clock
from omninode.core.errors import ConfigurationError
from omninode.core.events import Tee
from omninode.monitoring.monitor import PerformanceMonitor
from omninode.providers.http import HttpClient
from omninode.quorum.validator import QuorumValidator
from omninode.resilience.circuit import CircuitBreakerConfig
from omninode.resilience.policy import Policy
from omninode.resilience.registry import BreakerRegistry
from omninode.resilience.schedule import RetryConfig
from omninode.routing.cache.exact import ExactCache
from omninode.routing.completion import Completion
from omninode.routing.deployment import DeploymentConfig, RouterSettings
from omninode.routing.router import Router, RouterParts
from omninode.runtime.declarations import SourceEntry
from omninode.runtime.settings import Settings
from omninode.storage.database import Database
from omninode.storage.spool import Spool
from omninode.validation.policy import ValidationPolicy
from omninode.validation.report import Action
from omninode.validation.validator import InputValidator
from omninode.validation.vault import MemoryVault, Vault, read_vault_key
from omninode.workflow.agent import Agent, AgentCatalog
from omninode.workflow.guard import Marks
from omninode.workflow.parts import Parts, PipelineLimits
from omninode.workflow.pipeline import Pipeline

__all__ = ["Gatherers", "Wiring", "breaker_config", "retry_config"]

_MAX_WORKSPACES = 8
# What a retrieval service holds changes sooner than what a model would answer.
_RETRIEVAL_TTL_S = 300.0


def breaker_config(settings: Settings) -> CircuitBreakerConfig:
    """The breaker that the CIRCUIT_BREAKER_ variables describe; the shipped one when none of them is set."""
    if not settings.describes_breaker:
        return RouterSettings().breaker
    return CircuitBreakerConfig(
        failure_threshold=settings.breaker_failure_threshold,
        timeout_seconds=settings.breaker_timeout_s,
        success_threshold=settings.breaker_success_threshold,
    )


def retry_config(settings: Settings) -> RetryConfig:
    """The retries that the RETRY_ variables describe; the shipped ones when none of them is set."""
    if not settings.describes_retry:
        return RouterSettings().retry
    return RetryConfig(
        max_retries=settings.retry_max_retries,
        base_delay=settings.retry_base_delay_s,
        max_delay=settings.retry_max_delay_s,
        backoff_multiplier=settings.retry_backoff_multiplier,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Wiring:
    """The objects one open system is made of, made from its settings on demand."""

    settings: Settings
    clock: Clock
    sink: Tee
    http: HttpClient
    breakers: BreakerRegistry

    def router(self, deployments: Sequence[DeploymentConfig]) -> Router:
        """The way to the models, with breakers that the registry keeps and the exact cache."""
        cache: ExactCache[Completion] | None = None
        if self.settings.cache_ttl_s > 0:
            cache = ExactCache(
                max_entries=self.settings.cache_max_entries,
                ttl_s=self.settings.cache_ttl_s,
                clock=self.clock,
                size_of=lambda done: done.size_bytes,
            )
        return Router(
            deployments,
            http=self.http,
            cache=cache,
            clock=self.clock,
            sink=self.sink,
            settings=RouterSettings(
                retry=retry_config(self.settings),
                breaker=breaker_config(self.settings),
                tells_payloads=self.settings.store_payloads,
            ),
            parts=RouterParts(breakers=self.breakers),
        )

    def pipeline(
        self,
        *,
        router: Router,
        monitor: PerformanceMonitor,
        optimizer: ContextOptimizer,
        gatherers: Gatherers,
        is_simulated: bool,
    ) -> Pipeline:
        """The main job."""
        agents = AgentCatalog.default(extra=[Agent(**entry.model_dump()) for entry in self.settings.agents])
        _check_casting(agents, router)
        parts = Parts(
            validator=InputValidator(self._policy(agents), clock=self.clock),
            gatherer_for=gatherers.for_workspace,
            optimizer=optimizer,
            router=router,
            quorum=QuorumValidator(
                router,
                agents=tuple(agents),
                vote_timeout_s=self.settings.quorum_timeout_s,
                sink=self.sink,
                clock=self.clock,
            ),
            agents=agents,
            monitor=monitor,
            sink=self.sink,
            clock=self.clock,
            is_simulated=is_simulated,
            marks=Marks(mode=self.settings.spotlight),
            open_vault=self._vaults(),
        )
        limits = PipelineLimits(
            gather_timeout_s=self.settings.gather_timeout_s,
            planner_context_tokens=self.settings.task_context_tokens,
            task_context_tokens=self.settings.task_context_tokens,
        )
        return Pipeline(parts, limits)

    def _policy(self, agents: Iterable[str]) -> ValidationPolicy:
        """The policy that `[guard]` declares. With a vault, personal data is replaced unless it says otherwise."""
        policy = self.settings.guard.policy(known_agents=agents)
        if self.settings.vault and "personal_data" not in self.settings.guard.model_fields_set:
            return replace(policy, personal_data=Action.REDACT)
        return policy

    def _vaults(self) -> Callable[[], Vault] | None:
        """What makes a vault for each run; None when there are to be none. The first is made now, to say what lacks."""
        if not self.settings.vault:
            return None
        if self.settings.vault_key is None:
            raise ConfigurationError(
                "the vault is on (OMNINODE_VAULT) and OMNINODE_VAULT_KEY is not set; make a key with "
                "'openssl rand -base64 32'"
            )
        key = read_vault_key(self.settings.vault_key.get_secret_value())

        def open_vault() -> Vault:
            return MemoryVault(key, ttl_s=self.settings.vault_ttl_s, clock=self.clock)

        open_vault().close()
        return open_vault

    def gatherers(self, optimizer: ContextOptimizer) -> Gatherers:
        """Who gathers, by workspace."""
        return Gatherers(self, optimizer)

    def optimizer(self, database: Database, spool: Spool) -> ContextOptimizer:
        """What has been learned about context."""
        return ContextOptimizer(database, spool=spool, clock=self.clock)


class Gatherers:
    """One gatherer per workspace, the latest few kept, so that an index is built once and not once a run."""

    def __init__(self, wiring: Wiring, optimizer: ContextOptimizer) -> None:
        self._wiring = wiring
        self._optimizer = optimizer
        self._cache = RetrievalCache(
            max_entries=wiring.settings.cache_max_entries,
            ttl_s=min(wiring.settings.cache_ttl_s, _RETRIEVAL_TTL_S) or None,
            clock=wiring.clock,
        )
        self._made: dict[Path | None, ContextGatherer] = {}

    def for_workspace(self, workspace: Path | None) -> ContextGatherer:
        """The gatherer for `workspace`; None has the remote sources and the hints only."""
        gatherer = self._made.pop(workspace, None) or self._make(workspace)
        self._made[workspace] = gatherer
        while len(self._made) > _MAX_WORKSPACES:
            del self._made[next(iter(self._made))]
        return gatherer

    def _make(self, path: Path | None) -> ContextGatherer:
        wiring = self._wiring
        sources: list[Source] = []
        if path is not None:
            place = Workspace(path, clock=wiring.clock)
            sources += [WorkspaceFiles(place), WorkspaceSearch(place), WorkspaceStructure(place)]
        sources += [self._remote(index) for index in range(len(wiring.settings.sources))]
        sources.append(LearnedHints(self._optimizer))
        return ContextGatherer(
            sources,
            timeout_s=wiring.settings.gather_timeout_s,
            clock=wiring.clock,
            sink=wiring.sink,
            cache=self._cache,
            optimizer=self._optimizer,
        )

    def _remote(self, index: int) -> HttpRetrieval:
        wiring = self._wiring
        entry = wiring.settings.sources[index]
        name = f"source:{entry.name}"
        policy = Policy(
            name,
            retry=retry_config(wiring.settings),
            breaker=wiring.breakers.get(name, breaker_config(wiring.settings)),
            clock=wiring.clock,
            sink=wiring.sink,
        )
        return HttpRetrieval(
            str(entry.url),
            wiring.http,
            name=entry.name,
            headers=_bearer(entry, wiring.settings),
            policy=policy,
            traits=Traits(is_per_query=True, is_remote=True, timeout_s=entry.timeout_s),
        )


def _bearer(entry: SourceEntry, settings: Settings) -> dict[str, str]:
    """The headers a source is asked with; raises ConfigurationError when its key is named and not set."""
    if entry.api_key_env is None:
        return {}
    key = settings.api_key(entry.api_key_env)
    if key is None:
        raise ConfigurationError(
            f"source {entry.name!r}: the variable {entry.api_key_env} that holds its key is not set"
        )
    return {"Authorization": f"Bearer {key}"}


def _check_casting(agents: AgentCatalog, router: Router) -> None:
    """Find out before money is spent that a role has no deployment, or an agent one that is not there."""
    known = {entry.name for entry in router.deployments()}
    if not known:
        return
    for role in ("planner", "voter", "worker"):
        if not router.deployments(role):
            raise ConfigurationError(
                f"no deployment has the role {role!r}; add it to the roles of one in omninode.toml"
            )
    for agent in agents.values():
        if agent.deployment is not None and agent.deployment not in known:
            raise ConfigurationError(
                f"agent {agent.name!r} is pinned to deployment {agent.deployment!r}; there are {', '.join(sorted(known))}"
            )
