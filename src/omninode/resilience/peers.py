"""What the breakers of other processes say, and what it does to those of this one.

A peer is another process with the same database. When a breaker opens there, the one of that name here needs less
evidence to open too, for a while; it never opens by that alone, because a peer may be cut off where we are not, and one
mistaken process would stop them all. What opens here on the word of a peer is not told on, or processes that share a
half-broken target would keep each other's breakers open. `Peers` judges the news, `PeerListener` keeps a task that waits for them.
"""

from __future__ import annotations

import asyncio
import random
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from contextvars import Context
from dataclasses import dataclass
from types import TracebackType
from typing import Literal, Protocol

from omninode.core.clock import Clock, SystemClock
from omninode.core.concurrency import cancel_and_wait
from omninode.core.events import EventSink, MetricRecorded
from omninode.resilience.circuit import CircuitState
from omninode.resilience.registry import BreakerRegistry

__all__ = ["PeerListener", "PeerNews", "PeerSource", "PeerStatistics", "Peers"]

# A peer's word counts for the rest of its break and the time its probes take to decide, which is told within a second.
_PROBING_S = 5.0
_LONGEST_S = 30.0
_MAX_HEARD = 2000
_LONGEST_PAUSE_S = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerNews:
    """The state that the breaker `name` of the process `sender` is in, since its change number `generation`.

    `left_s` is how long its break still lasts, by no clock of either host; below zero when it is over for so long.
    """

    sender: str
    name: str
    state: CircuitState
    generation: int
    left_s: float


class PeerSource(Protocol):
    """Where news come from."""

    @property
    def mode(self) -> Literal["listening", "polling"]:
        """Whether they come by themselves or are asked for."""
        ...

    async def listen(self, hear: Callable[[Sequence[PeerNews]], None]) -> None:
        """Hand over what is known now, perhaps nothing, then all that comes, until cancelled.

        Raises when nothing more can come; whoever listens again is told what was missed.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerStatistics:
    """Whether news arrive, and what they did."""

    mode: Literal["listening", "polling", "away", "closed"]
    """`away` while the source cannot be reached: breakers then decide by their own evidence alone."""
    heard: int
    stale: int
    """News of an older state than was heard before; they change nothing."""
    sensitised: int
    """How often a breaker here was told to need less evidence."""
    failures: int
    last_error: str | None


@dataclass(frozen=True, slots=True)
class _Word:
    """The last word of one sender on one name: which change it told, and until when it counts."""

    generation: int
    until: float


class Peers:
    """Applies news to the breakers of `registry`; synchronous, and safe to tell the same thing twice."""

    def __init__(self, registry: BreakerRegistry, *, clock: Clock | None = None, sink: EventSink | None = None) -> None:
        self._registry = registry
        self._clock = clock or SystemClock()
        self._sink = sink
        # By name and sender, the one heard longest ago first; forgetting one only means that it may be heard again.
        self._words: OrderedDict[tuple[str, str], _Word] = OrderedDict()
        self.heard = self.stale = self.sensitised = 0

    def hear(self, news: Iterable[PeerNews]) -> None:
        """Take up what is news among `news`."""
        for entry in news:
            self._hear(entry)

    def _hear(self, news: PeerNews) -> None:
        key = (news.name, news.sender)
        known = self._words.get(key)
        if known is not None and news.generation <= known.generation:
            self.stale += news.generation < known.generation
            return
        self.heard += 1
        now = self._clock.monotonic()
        before = self._lasts_s(news.name, now)
        lasts_s = 0.0 if news.state is CircuitState.CLOSED else min(_LONGEST_S, news.left_s + _PROBING_S)
        self._words[key] = _Word(news.generation, now + lasts_s)
        self._words.move_to_end(key)
        if len(self._words) > _MAX_HEARD:
            self._words.popitem(last=False)
        self._apply(news, before_s=before, now_s=self._lasts_s(news.name, now))

    def _apply(self, news: PeerNews, *, before_s: float, now_s: float) -> None:
        if before_s <= 0 and now_s <= 0:
            return
        is_here = self._registry.sensitise(news.name, lasts_s=now_s)
        # Told when it begins: a peer that stays down opens again and again, and a hundred of them do.
        if is_here and before_s <= 0:
            self.sensitised += 1
            if self._sink is not None:
                labels = {"breaker": news.name, "sender": news.sender, "generation": news.generation}
                self._sink.emit(MetricRecorded(metric="breaker_open_at_peer_s", value=now_s, ok=False, labels=labels))

    def _lasts_s(self, name: str, now: float) -> float:
        """For how long some peer's word on `name` still counts."""
        return max((word.until - now for (of, _), word in self._words.items() if of == name), default=0.0)


class PeerListener:
    """Listens to `source` from a task of its own and hands the news to `peers`.

    An async context manager; `open` and `close` do the same by hand, and closing twice is harmless. No call waits for
    it. When the source is away it tries again, after pauses that grow to 30 s and are drawn at random.
    """

    def __init__(
        self, source: PeerSource, peers: Peers, *, clock: Clock | None = None, seed: int | None = None
    ) -> None:
        self._source = source
        self._peers = peers
        self._clock = clock or SystemClock()
        self._random = random.Random(seed)  # noqa: S311 - spreads reconnects, not a secret
        self._task: asyncio.Task[None] | None = None
        self._is_connected = self._is_closed = False
        self._failures = self._failures_in_a_row = 0
        self._last_error: str | None = None

    async def __aenter__(self) -> PeerListener:
        await self.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def open(self) -> None:
        """Begin to listen; returns at once, whether or not there is anything to listen to. Closed is closed."""
        if self._task is None and not self._is_closed:
            # An empty context: the run and the deadline of whoever opens us are not those of the news.
            self._task = asyncio.create_task(self._keep_listening(), name="omninode peer listener", context=Context())

    async def close(self) -> None:
        """Stop listening; returns when the task has ended."""
        self._is_closed = True
        task, self._task = self._task, None
        if task is not None:
            await cancel_and_wait([task])

    def statistics(self) -> PeerStatistics:
        """What it does now and what it has heard so far."""
        return PeerStatistics(
            mode=self._source.mode if self._is_connected else "closed" if self._is_closed else "away",
            heard=self._peers.heard,
            stale=self._peers.stale,
            sensitised=self._peers.sensitised,
            failures=self._failures,
            last_error=self._last_error,
        )

    async def _keep_listening(self) -> None:
        while True:
            try:
                await self._source.listen(self._heard)
            except Exception as error:  # noqa: BLE001 - border: background loop
                self._last_error = f"{type(error).__name__}: {error}"
            finally:
                self._is_connected = False
            self._failures += 1
            self._failures_in_a_row += 1
            await self._clock.sleep(self._pause_s())

    def _heard(self, news: Sequence[PeerNews]) -> None:
        self._is_connected = True
        self._failures_in_a_row = 0
        self._peers.hear(news)

    def _pause_s(self) -> float:
        longest = min(_LONGEST_PAUSE_S, 2.0 ** min(self._failures_in_a_row, 10))
        return longest * self._random.uniform(0.5, 1.0)
