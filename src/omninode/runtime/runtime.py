"""The open system: `async with omninode.open() as node`.

`Runtime` owns what must be opened and closed, in order. What the parts are and how they fit is in `wiring`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from omninode.context.gather import ContextGatherer
from omninode.core import current
from omninode.core.clock import Clock, SystemClock
from omninode.core.deadline import Deadline
from omninode.core.errors import ConfigurationError, DatabaseUnavailableError
from omninode.core.events import Tee
from omninode.monitoring.alerts import AlertWatch
from omninode.monitoring.monitor import PerformanceMonitor
from omninode.monitoring.resources import ResourceSampler
from omninode.providers.http import HttpClient
from omninode.resilience.peers import PeerListener, Peers
from omninode.resilience.registry import BreakerRegistry
from omninode.resilience.schedule import RetryConfig
from omninode.resilience.state import StateKeeper
from omninode.routing.deployment import DeploymentConfig
from omninode.runtime.audit import AuditTrail, configuration_used
from omninode.runtime.database import DatabaseLink
from omninode.runtime.leases import RunLeases
from omninode.runtime.models import NO_MODEL, find_deployments
from omninode.runtime.paths import data_directory
from omninode.runtime.settings import Settings, load_settings
from omninode.runtime.telemetry import TelemetryRoad
from omninode.runtime.upkeep import Upkeep
from omninode.runtime.wiring import Wiring, breaker_config, retry_config
from omninode.storage.database import Database, DatabaseStatistics
from omninode.storage.news import DatabaseNews
from omninode.storage.spool import Spool
from omninode.storage.state import DatabaseStateStore
from omninode.telemetry.bus import EventBus
from omninode.workflow.parts import RunRequest
from omninode.workflow.report import RunReport

if TYPE_CHECKING:
    from omninode.simulation.server import SimulatedModels

__all__ = ["Runtime", "open_runtime"]

SETTLE_S = 5.0
_MARK_S = 1.0


def open_runtime(
    settings: Settings | None = None,
    *,
    simulate: bool | SimulatedModels = False,
    needs_models: bool = True,
    require_database: bool = False,
    clock: Clock | None = None,
) -> Runtime:
    """A runtime to enter with `async with`; exported as `omninode.open`.

    Args:
        settings: the values to use; by default those of the environment and `omninode.toml`.
        simulate: use the bundled model simulator instead of any model: True for the default one, or one made with
            profiles, latencies and faults of your own (it is entered and left with the runtime).
        needs_models: raise ConfigurationError when there is no model; False opens without.
        require_database: raise DatabaseUnavailableError when the database is away, instead of going on with what it
            would have stored waiting on disk.
        clock: where time comes from.
    """
    return Runtime(
        settings, simulate=simulate, needs_models=needs_models, require_database=require_database, clock=clock
    )


class Runtime:
    """Everything that is open, and the door to the main job. Entering it twice is a mistake, closing twice is not.

    Inside its block the parts that were made without arguments (`PerformanceOptimizer()`, `PerformanceMonitor()` …)
    belong to it; outside of any block they open one by themselves (`core.ambient`).
    """

    def __init__(
        self,
        settings: Settings | None = None,
        *,
        simulate: bool | SimulatedModels = False,
        needs_models: bool = True,
        require_database: bool = False,
        clock: Clock | None = None,
    ) -> None:
        self.settings = settings or load_settings()
        self.is_simulated = simulate is not False
        self.clock: Clock = clock or SystemClock()
        self.simulator = _default_simulator() if simulate is True else simulate or None
        self._needs_models = needs_models
        self._require_database = require_database
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        self._entry = current.enter(replace(current.scope(), runtime=self))
        try:
            await self._open()
        except BaseException:
            self._leave_scope()
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None and issubclass(kind, asyncio.CancelledError | KeyboardInterrupt):
            self.road.hurry()
        self._leave_scope()
        await self.close()

    async def close(self) -> None:
        """Flush what is on its way, close everything in reverse order. Closing twice is harmless."""
        await self._stack.aclose()

    def _leave_scope(self) -> None:
        # Whoever enters in one task and leaves in another (a web framework's lifespan) has no scope to go back to.
        with suppress(ValueError):
            current.leave(self._entry)

    async def _open(self) -> None:
        directory = data_directory(self.settings)
        self.http = await self._stack.enter_async_context(HttpClient())
        # Before anything is started: a missing model should be said at once.
        deployments = await self._find_models()
        self.bus = EventBus()
        self.sink = Tee(self.bus)
        self.link = DatabaseLink(self.settings, directory, clock=self.clock, sink=self.sink)
        self._stack.push_async_callback(self.link.close)
        self.leases = RunLeases(directory / "running")
        self.leases.follow(self.bus)
        self._stack.push_async_callback(self._mark_lost)
        self.road = await self._stack.enter_async_context(
            TelemetryRoad(
                self.settings,
                directory,
                spool=Spool(self.link.spool_directory, config=self.settings.spool.config(), sink=self.sink),
                bus=self.bus,
                database=self.link.database,
                clock=self.clock,
                after_adoption=self._mark_lost,
            )
        )
        self.audit = AuditTrail(self.road.spool)
        self._stack.enter_context(self.sink.attached(self.audit))
        self.sink.emit(configuration_used(self.settings, target=self.link.description))
        self._make_breakers()
        self._upkeep = Upkeep(self.link.database, self.settings.kept_days, sink=self.sink, clock=self.clock)
        self._stack.push_async_callback(self._upkeep.close)
        await self._connect()
        self.monitor = PerformanceMonitor(self.sink, self.link.database, self.clock)
        self.bus.subscribe(self.monitor.observe, name="monitor")
        await self._start_watching()
        wiring = Wiring(
            settings=self.settings, clock=self.clock, sink=self.sink, http=self.http, breakers=self.breakers
        )
        self.optimizer = wiring.optimizer(self.link.database, self.road.spool)
        self._stack.push_async_callback(self.optimizer.close)
        await self.optimizer.load()
        self.router = await self._stack.enter_async_context(wiring.router(deployments))
        for manager in self.router.retries:
            self._keeper.watch(manager)
        self._gatherers = wiring.gatherers(self.optimizer)
        self.pipeline = wiring.pipeline(
            router=self.router,
            monitor=self.monitor,
            optimizer=self.optimizer,
            gatherers=self._gatherers,
            is_simulated=self.is_simulated,
        )

    def _make_breakers(self) -> None:
        """The breakers, what keeps their state, and what hears of those of other processes."""
        self.breakers = BreakerRegistry(breaker_config(self.settings), clock=self.clock, sink=self.sink)
        store = DatabaseStateStore(self.link.database, clock=self.clock)
        self._keeper = StateKeeper(store, registry=self.breakers, clock=self.clock, sink=self.sink)
        self._stack.push_async_callback(self._keeper.close)
        self.peers = PeerListener(
            DatabaseNews(self.link.database, sender=store.sender, clock=self.clock),
            Peers(self.breakers, clock=self.clock, sink=self.sink),
            clock=self.clock,
        )
        self._stack.push_async_callback(self.peers.close)

    async def _find_models(self) -> Sequence[DeploymentConfig]:
        if self.simulator is not None:
            await self._stack.enter_async_context(self.simulator)
            return [
                DeploymentConfig(**{**entry, "roles": frozenset(entry["roles"])})
                for entry in self.simulator.deployments()
            ]
        found = await find_deployments(self.settings, self.http)
        if not found and self._needs_models:
            raise ConfigurationError(NO_MODEL)
        return found

    async def _connect(self) -> None:
        try:
            await self.link.connect()
        except DatabaseUnavailableError:
            if self._require_database:
                raise
            self.link.keep_trying(self._database_came)
        else:
            await self._database_came()

    async def _database_came(self) -> None:
        self.road.begin_flushing()
        await self._keeper.open()
        await self.peers.open()
        self._upkeep.start()

    async def _mark_lost(self) -> None:
        """Once what dead processes left in their spools has been written: mark the runs they were in.

        At the open, every half minute, and at the close, which a short life may reach before the first is done.
        """
        if self.link.is_ready:
            with suppress(TimeoutError):
                async with asyncio.timeout(_MARK_S):
                    await self.leases.mark_lost(self.link.database)

    async def _start_watching(self) -> None:
        """Sample resources and judge thresholds, unless monitoring is switched off."""
        self.sampler = ResourceSampler(self.sink, pool=self._pool_figures, clock=self.clock)
        self.alerts = AlertWatch(self.monitor, self.sink, totals=self.road.totals, clock=self.clock)
        if self.settings.performance_monitoring_enabled:
            await self._stack.enter_async_context(self.sampler)
            await self._stack.enter_async_context(self.alerts)

    def _pool_figures(self) -> DatabaseStatistics | None:
        return self.link.database.statistics() if self.link.is_ready else None

    @property
    def version(self) -> str:
        """The release that runs."""
        return version("omninode")

    @property
    def retry_config(self) -> RetryConfig:
        """The retries that the settings describe; `execute_with_retry` without a configuration uses them."""
        return retry_config(self.settings)

    @property
    def database(self) -> Database:
        """The pool; statements raise DatabaseUnavailableError while the server is away."""
        return self.link.database

    def gatherer(self, workspace: Path | None = None) -> ContextGatherer:
        """The gatherer of `workspace` (None: without one), the same that a run on it uses."""
        return self._gatherers.for_workspace(workspace)

    # Any: see RunRequest.tasks.
    async def run(self, request: RunRequest | str | bytes, **options: Any) -> RunReport:
        """The report of one run of the main job; `options` are fields of `RunRequest` beside a plain prompt."""
        asked = RunRequest(prompt=request, **options) if isinstance(request, str | bytes) else request
        with current.entered(runtime=self):
            return await self.pipeline.run(asked)

    async def settle(self, *, timeout_s: float = SETTLE_S) -> tuple[str, ...]:
        """Wait until what was told so far is in the database; what is not, said in words.

        Empty when everything arrived.
        """
        await self.road.settle(Deadline.after(timeout_s, clock=self.clock))
        lost = self.road.losses()
        if self.link.trouble is not None:
            return (f"database: {self.link.trouble}", *lost)
        return lost


def _default_simulator() -> SimulatedModels:
    from omninode.simulation.server import SimulatedModels  # here because it brings a whole web server

    return SimulatedModels()
