"""Where a call waits until the deployments it may go to are worth asking again.

Two waits end here. While every breaker is open the call is parked. When every deployment has failed it, retries
included, it may come back as long as its deadline leaves the time, but only on a token of a retry budget: what a
deployment is asked beyond its due is bounded by its successes, however many callers wait.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from omninode.core import current
from omninode.core.clock import Clock
from omninode.core.errors import OmniNodeError
from omninode.core.events import EventSink
from omninode.resilience.backoff import asked_wait_s
from omninode.resilience.parking import Park, Parking
from omninode.resilience.seeds import seed_of
from omninode.routing.deployment import Deployment

__all__ = ["WaitingRoom"]

# Between two looks at the budget: long enough for a few successes, short beside a deadline.
_LOOK_S = (0.2, 1.0)


class WaitingRoom:
    """Where calls wait for one group of deployments; at most `park.max_calls` in each of the two ways."""

    def __init__(
        self,
        deployments: Sequence[Deployment],
        park: Park,
        *,
        clock: Clock,
        sink: EventSink | None = None,
        seed: int | None = None,
    ) -> None:
        self._deployments = tuple(deployments)
        self._park = park
        self._clock = clock
        self._random = random.Random(seed_of(seed, "waiting"))  # noqa: S311 - jitter, not a secret
        self._returning = 0
        self.parking = Parking(
            "+".join(entry.name for entry in deployments),
            park,
            paces=[entry.pace for entry in deployments],
            clock=clock,
            sink=sink,
            seed=seed_of(seed, "parking"),
        )

    @property
    def waiting(self) -> int:
        """How many calls are in it now."""
        return self.parking.statistics().parked + self._returning

    async def may_return(self, error: OmniNodeError) -> bool:
        """Wait after `error`, the failure of all deployments, until one of them may be asked again; False for never."""
        scope = current.scope()
        if scope.deadline is None or scope.retry_owner is not None or self._returning >= self._park.max_calls:
            return False
        if not any(entry.retry.may_repeat(error) for entry in self._deployments):
            return False
        floor_s = asked_wait_s(error) or 0.0
        self._returning += 1
        try:
            while (left_s := scope.deadline.remaining() - self._park.margin_s) > floor_s:
                await self._clock.sleep(min(left_s, max(floor_s, self._random.uniform(*_LOOK_S))))
                floor_s = 0.0
                if self._is_worth_asking(error):
                    return True
        finally:
            self._returning -= 1
        return False

    def _is_worth_asking(self, error: OmniNodeError) -> bool:
        # Where no breaker lets it through it will be parked, which costs a deployment nothing.
        admitting = [entry for entry in self._deployments if entry.is_admitting]
        return not admitting or any(entry.retry.affords(error) for entry in admitting)
