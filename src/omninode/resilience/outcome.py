"""What a policy tells: how one call ended, and what went through it so far."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar, cast

from omninode.resilience.bulkhead import BulkheadStatistics
from omninode.resilience.circuit import BreakerStatistics
from omninode.resilience.fallback import FallbackStatistics
from omninode.resilience.retry import RetryStatistics
from omninode.resilience.timeout import TimeoutStatistics

if TYPE_CHECKING:
    from omninode.resilience.chaos import ChaosStatistics
    from omninode.resilience.hedge import HedgeStatistics
    from omninode.resilience.limiter import LimitStatistics
    from omninode.resilience.parking import ParkingStatistics
    from omninode.resilience.rate import RateStatistics
    from omninode.resilience.soft import SoftTimeoutStatistics
    from omninode.resilience.throttle import ThrottleStatistics

__all__ = ["CallOutcome", "PolicyStatistics", "Tally"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class CallOutcome(Generic[T]):
    """How one call through a policy ended: its value or its error, and what it took."""

    value: T | None = None
    error: Exception | None = None
    attempts: int = 0
    waits_s: tuple[float, ...] = ()
    degraded: str | None = None
    """The label of the fallback that served the value; None for a value of the call itself."""
    gave_up: str = ""
    """Why no further attempt was made, after a failure."""

    @property
    def is_ok(self) -> bool:
        """Whether there is a value, degraded or not."""
        return self.error is None or self.degraded is not None

    def unwrap(self) -> T:
        """The value, or raise the error."""
        if self.error is not None and self.degraded is None:
            raise self.error
        return cast("T", self.value)


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyStatistics:
    """What went through a policy since it was made, and the statistics of its parts (None where it has no such part)."""

    name: str
    calls: int
    succeeded: int
    failed: int
    degraded: int
    cancelled: int
    retry: RetryStatistics
    attempt_timeout: TimeoutStatistics
    breaker: BreakerStatistics | None = None
    bulkhead: BulkheadStatistics | None = None
    fallback: FallbackStatistics | None = None
    parking: ParkingStatistics | None = None
    hedge: HedgeStatistics | None = None
    throttle: ThrottleStatistics | None = None
    rate: RateStatistics | None = None
    limit: LimitStatistics | None = None
    soft_timeout: SoftTimeoutStatistics | None = None
    chaos: ChaosStatistics | None = None


@dataclass(slots=True)
class Tally:
    """How the calls of a policy ended; those that a compiled frame answered at once are counted elsewhere."""

    calls: int = 0
    succeeded: int = 0
    failed: int = 0
    degraded: int = 0
    cancelled: int = 0

    def ended(self, error: BaseException | None) -> None:
        """Count a call that has ended."""
        self.calls += 1
        if error is None:
            self.succeeded += 1
        elif isinstance(error, Exception):
            self.failed += 1
        else:
            self.cancelled += 1
