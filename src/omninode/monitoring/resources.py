"""What the process uses: processor, memory, threads, files, database connections, and how late its loop runs.

Once a second one sample goes out as gauges (`MetricRecorded` labelled `gauge`). Reading the process blocks for about a
tenth of a millisecond, so it happens in a thread.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol, Self

import psutil

from omninode.core.clock import Clock, SystemClock
from omninode.core.concurrency import cancel_and_wait
from omninode.core.errors import InvalidArgumentError
from omninode.core.events import EventSink, MetricRecorded

__all__ = ["PoolFigures", "ResourceSampler", "SamplerStatistics", "read_process"]


class PoolFigures(Protocol):
    """What is read of a database pool; `storage.Database.statistics()` is one."""

    @property
    def open(self) -> int:
        """Connections that exist."""
        ...

    @property
    def in_use(self) -> int:
        """Connections that somebody holds."""
        ...

    @property
    def waiting(self) -> int:
        """Callers that wait for a connection."""
        ...

    @property
    def wait_p99_ms(self) -> float:
        """The 99th percentile of recent waits."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplerStatistics:
    """Samples taken and failed since the start, and the longest the loop was ever late."""

    samples: int
    failed: int
    worst_lag_ms: float
    last_error: str | None


class ResourceSampler:
    """Emits gauges of this process every `interval_s`; open it with `async with`, or `start` and `close`.

    Gauges: `cpu_percent` (of one core), `rss_bytes`, `threads`, `open_files`, `loop_lag_ms` (the worst since the last
    sample) and, with `pool`, `database_connections`, `database_connections_in_use`, `database_waiting`,
    `pool_wait_p99_ms`. `pool` returns None while there is no pool. A reading that fails is counted and left out.
    """

    def __init__(
        self,
        sink: EventSink,
        *,
        interval_s: float = 1.0,
        pool: Callable[[], PoolFigures | None] | None = None,
        clock: Clock | None = None,
        lag_interval_s: float = 0.1,
    ) -> None:
        if interval_s <= 0 or lag_interval_s <= 0:
            raise InvalidArgumentError(f"intervals are {interval_s} s and {lag_interval_s} s; both must be above zero")
        self._sink = sink
        self._interval_s = interval_s
        self._pool = pool
        self._clock = clock or SystemClock()
        self._lag_interval_s = lag_interval_s
        self._process = psutil.Process()
        self._lag_ms = self._worst_lag_ms = 0.0
        self._samples = self._failed = 0
        self._last_error: str | None = None
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def start(self) -> None:
        """Begin to sample, in tasks of the running loop; doing it twice is harmless."""
        if not self._tasks:
            self._tasks = [
                asyncio.create_task(self._sample_for_ever(), name="omninode-resources"),
                asyncio.create_task(self._probe_for_ever(), name="omninode-loop-lag"),
            ]

    async def close(self) -> None:
        """Stop sampling; doing it twice is harmless."""
        tasks, self._tasks = self._tasks, []
        await cancel_and_wait(tasks)

    async def sample(self) -> Mapping[str, float]:
        """Take one sample now, emit it and return it."""
        figures = await asyncio.to_thread(read_process, self._process)
        lag_ms, self._lag_ms = self._lag_ms, 0.0
        figures["loop_lag_ms"] = lag_ms
        figures |= self._pool_figures()
        for metric, value in figures.items():
            self._sink.emit(MetricRecorded(metric=metric, value=value, labels={"gauge": True}))
        self._samples += 1
        return figures

    def statistics(self) -> SamplerStatistics:
        """Counts since the sampler was made."""
        return SamplerStatistics(
            samples=self._samples, failed=self._failed, worst_lag_ms=self._worst_lag_ms, last_error=self._last_error
        )

    async def _sample_for_ever(self) -> None:
        while True:
            try:
                await self.sample()
            except Exception as error:  # noqa: BLE001 - border: background loop
                self._note(error)
            await self._clock.sleep(self._interval_s)

    async def _probe_for_ever(self) -> None:
        while True:
            before = self._clock.monotonic()
            await self._clock.sleep(self._lag_interval_s)
            late_ms = max(0.0, (self._clock.monotonic() - before - self._lag_interval_s) * 1000)
            self._lag_ms = max(self._lag_ms, late_ms)
            self._worst_lag_ms = max(self._worst_lag_ms, late_ms)

    def _pool_figures(self) -> dict[str, float]:
        if self._pool is None:
            return {}
        try:
            pool = self._pool()
        except Exception as error:  # noqa: BLE001 - border: user-supplied callback
            self._note(error)
            return {}
        if pool is None:
            return {}
        return {
            "database_connections": float(pool.open),
            "database_connections_in_use": float(pool.in_use),
            "database_waiting": float(pool.waiting),
            "pool_wait_p99_ms": pool.wait_p99_ms,
        }

    def _note(self, error: Exception) -> None:
        self._failed += 1
        self._last_error = f"{type(error).__name__}: {error}"


def read_process(process: psutil.Process) -> dict[str, float]:
    """Processor, memory, threads and open files of `process` now; what the system will not tell is left out."""
    figures: dict[str, float] = {}
    with process.oneshot():
        figures["cpu_percent"] = process.cpu_percent()
        figures["rss_bytes"] = float(process.memory_info().rss)
        figures["threads"] = float(process.num_threads())
        with contextlib.suppress(psutil.AccessDenied, OSError):
            figures["open_files"] = float(process.num_fds())
    return figures
