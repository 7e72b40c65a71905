"""Many calls at a steady width, and how they ended: what the scenarios about failures share."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from random import Random

from omninode.bench.loopback import Reply
from omninode.core.concurrency import Settled, map_bounded
from omninode.core.errors import OmniNodeError

__all__ = ["Ended", "flaky", "many_calls"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How many calls succeeded and how many failed, as the caller saw them."""

    ok: int
    failed: int

    @property
    def failed_share(self) -> float:
        """The share that failed, in percent."""
        return 100 * self.failed / (self.ok + self.failed)


async def many_calls(call: Callable[[], Awaitable[object]], count: int, *, width: int) -> Ended:
    """How `count` calls ended, `width` at a time; an error that is not one of ours is raised."""

    async def numbered(_: int) -> object:
        return await call()

    return _counted(await map_bounded(numbered, range(count), limit=width))


def _counted(settled: Sequence[Settled[object]]) -> Ended:
    for entry in settled:
        if entry.error is not None and not isinstance(entry.error, OmniNodeError):
            raise entry.error
    ok = sum(entry.is_ok for entry in settled)
    return Ended(ok=ok, failed=len(settled) - ok)


def flaky(rate: float, *, seed: int) -> Callable[[str], Reply]:
    """Answers that fail with 503 at `rate`, independently of each other; every path has the same luck."""
    lucks: dict[str, Random] = {}

    def decide(path: str) -> Reply:
        luck = lucks.setdefault(path, Random(seed))  # noqa: S311 - a simulation, not a secret
        return Reply(status=503 if luck.random() < rate else 200)

    return decide
