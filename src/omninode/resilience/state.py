"""Keeping the state of breakers and retry managers beside the calls and never in their way.

A `StateKeeper` reads the stored state once when it opens and writes what changed at most once a second from a task of
its own. The calls themselves never wait for it, and a store that is dead, slow or full changes one thing only: what
other processes learn of this one, and the next one starts with. The keeper counts the failures and tries again, at
growing intervals.

A breaker's change of state is told to other processes with the write; what they do with it is in `peers`. Retry budgets
are not shared while processes run: each pays for its own retries by its own successes, so that the bound on retries
holds in each. The stored tokens, of whichever process wrote last, are what the next process starts with.
"""

from __future__ import annotations

import asyncio
from collections.abc import Hashable, Iterable
from contextvars import Context
from dataclasses import dataclass
from datetime import timedelta
from types import TracebackType

from omninode.core.clock import Clock, SystemClock
from omninode.core.concurrency import cancel_and_wait
from omninode.core.deadline import Deadline, within
from omninode.core.errors import InvalidArgumentError
from omninode.core.events import ErrorOccurred, EventSink, shielded
from omninode.resilience.circuit import CircuitState
from omninode.resilience.ranges import require_seconds
from omninode.resilience.registry import BreakerRegistry
from omninode.resilience.retry import RetryManager
from omninode.resilience.snapshot import BreakerSnapshot, RetrySnapshot, StateStore

__all__ = ["KeeperStatistics", "StateKeeper"]

_MAX_MANAGERS = 1000
_LONGEST_PAUSE_S = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class KeeperStatistics:
    """What a keeper has done since it was made."""

    restored: int
    """Snapshots taken up at the start; older ones than `max_age_s` are not."""
    flushes: int
    written: int
    failures: int
    last_error: str | None


class StateKeeper:
    """Carries the state of `registry` and of the watched retry managers to `store` and, at the start, back.

    An async context manager; `open` and `close` do the same by hand, and closing twice is harmless.

    Args:
        interval_s: the least time between two writes.
        timeout_s: the longest a load or a save may take.
        max_age_s: what was stored longer ago says nothing about now and is not taken up.
    """

    def __init__(
        self,
        store: StateStore,
        *,
        registry: BreakerRegistry,
        interval_s: float = 1.0,
        timeout_s: float = 5.0,
        max_age_s: float = 3600.0,
        clock: Clock | None = None,
        sink: EventSink | None = None,
    ) -> None:
        require_seconds("StateKeeper", "interval_s", interval_s)
        require_seconds("StateKeeper", "timeout_s", timeout_s)
        require_seconds("StateKeeper", "max_age_s", max_age_s)
        self._store = store
        self._registry = registry
        self._interval_s = interval_s
        self._timeout_s = timeout_s
        self._max_age = timedelta(seconds=max_age_s)
        self._clock = clock or SystemClock()
        self._sink = shielded(sink)
        self._managers: dict[str, RetryManager] = {}
        self._restorable: dict[str, RetrySnapshot] = {}
        self._saved: dict[tuple[str, str], Hashable] = {}
        self._told: dict[str, tuple[CircuitState, int]] = {}
        self._task: asyncio.Task[None] | None = None
        self._is_closed = False
        self._restored = self._flushes = self._written = self._failures = self._failures_in_a_row = 0
        self._last_error: str | None = None

    async def __aenter__(self) -> StateKeeper:
        await self.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def watch(self, manager: RetryManager) -> None:
        """Keep the counters of `manager` too, and give it those that were stored under its name."""
        if self._managers.get(manager.name, manager) is not manager:
            raise InvalidArgumentError(f"two retry managers are called {manager.name!r}; give each its own name")
        if manager.name not in self._managers and len(self._managers) >= _MAX_MANAGERS:
            raise InvalidArgumentError(f"{_MAX_MANAGERS} retry managers are watched already; share some")
        self._managers[manager.name] = manager
        snapshot = self._restorable.pop(manager.name, None)
        if snapshot is not None:
            manager.restore([snapshot])

    async def open(self) -> None:
        """Take up the stored state, waiting at most `timeout_s`, and begin to write. Never raises for the store.

        One that is closed stays so: a database that comes back while all is being closed finds nobody.
        """
        if self._task is not None or self._is_closed:
            return
        await self._restore()
        if self._is_closed:
            return
        # An empty context: the run, the deadline and the retry owner of whoever opens us are not those of the writes.
        self._task = asyncio.create_task(self._keep(), name="omninode state keeper", context=Context())

    async def close(self) -> None:
        """Write what changed since the last time, waiting at most `timeout_s`, and stop."""
        self._is_closed = True
        task, self._task = self._task, None
        if task is None:
            return
        await cancel_and_wait([task])
        await self.flush()

    async def flush(self) -> None:
        """Write now what changed since it was last written; a failure is only counted."""
        all_breakers = self._registry.snapshots()
        all_retries = [entry for name in sorted(self._managers) for entry in self._managers[name].snapshots()]
        self._forget_all_but([*all_breakers, *all_retries])
        breakers = [entry for entry in all_breakers if self._is_news(entry)]
        retries = [entry for entry in all_retries if self._is_news(entry)]
        if not breakers and not retries:
            return
        moved = {entry.name for entry in breakers if self._has_moved(entry)}
        try:
            async with within(Deadline.after(self._timeout_s), doing="saving the state of breakers"):
                await self._store.save(breakers, retries, moved=moved)
        except Exception as error:  # noqa: BLE001 - border: background loop
            self._failed(error, "saving the state of breakers and retries")
            return
        self._failures_in_a_row = 0
        self._flushes += 1
        self._written += len(breakers) + len(retries)
        self._saved.update({_key(entry): _content(entry) for entry in breakers})
        self._saved.update({_key(entry): _content(entry) for entry in retries})
        self._told.update({entry.name: (entry.state, entry.generation) for entry in breakers})

    def statistics(self) -> KeeperStatistics:
        """What it has done so far."""
        return KeeperStatistics(
            restored=self._restored,
            flushes=self._flushes,
            written=self._written,
            failures=self._failures,
            last_error=self._last_error,
        )

    async def _restore(self) -> None:
        try:
            async with within(Deadline.after(self._timeout_s), doing="loading the state of breakers"):
                stored = await self._store.load()
        except Exception as error:  # noqa: BLE001 - border: background loop
            self._failed(error, "loading the state of breakers and retries")
            return
        oldest = self._clock.now() - self._max_age
        breakers = [snapshot for snapshot in stored.breakers if snapshot.updated_at >= oldest]
        retries = [snapshot for snapshot in stored.retries if snapshot.updated_at >= oldest][:_MAX_MANAGERS]
        self._registry.restore(breakers)
        for snapshot in retries:
            manager = self._managers.get(snapshot.name)
            if manager is None:
                self._restorable[snapshot.name] = snapshot
            else:
                manager.restore([snapshot])
        self._restored = len(breakers) + len(retries)

    async def _keep(self) -> None:
        while True:
            await self._clock.sleep(self._pause_s())
            await self.flush()

    def _pause_s(self) -> float:
        growth = 2.0 ** min(self._failures_in_a_row, 10)
        return max(self._interval_s, min(_LONGEST_PAUSE_S, self._interval_s * growth))

    def _forget_all_but(self, known: Iterable[BreakerSnapshot | RetrySnapshot]) -> None:
        """Forget what was saved under names that are gone, so that the memory is as bounded as the registry."""
        keys = {_key(snapshot) for snapshot in known}
        if len(self._saved) > len(keys):
            self._saved = {key: content for key, content in self._saved.items() if key in keys}
            self._told = {name: told for name, told in self._told.items() if ("BreakerSnapshot", name) in keys}

    def _is_news(self, snapshot: BreakerSnapshot | RetrySnapshot) -> bool:
        return self._saved.get(_key(snapshot)) != _content(snapshot)

    def _has_moved(self, snapshot: BreakerSnapshot) -> bool:
        """Whether its state is news: that it is closed is none to those who never heard of it as anything else."""
        state, generation = self._told.get(snapshot.name, (CircuitState.CLOSED, -1))
        if snapshot.state is CircuitState.CLOSED:
            return state is not CircuitState.CLOSED
        return snapshot.generation != generation

    def _failed(self, error: Exception, doing: str) -> None:
        self._failures += 1
        self._failures_in_a_row += 1
        self._last_error = f"{type(error).__name__}: {error}"
        # Once per outage of the store, not once a second.
        if self._sink is not None and self._failures_in_a_row == 1:
            self._sink.emit(
                ErrorOccurred(error_class=type(error).__name__, message=str(error), where=doing, retryable=True)
            )


def _key(snapshot: BreakerSnapshot | RetrySnapshot) -> tuple[str, str]:
    return (type(snapshot).__name__, snapshot.name)


def _content(snapshot: BreakerSnapshot | RetrySnapshot) -> Hashable:
    """What of a snapshot is worth a write: not the moment it was taken, nor moments computed from that."""
    if isinstance(snapshot, RetrySnapshot):
        return (snapshot.calls, snapshot.attempts, snapshot.recovered, snapshot.exhausted, snapshot.budget_tokens)
    return (snapshot.state, snapshot.generation, snapshot.failures, snapshot.successes, snapshot.opened_at)
