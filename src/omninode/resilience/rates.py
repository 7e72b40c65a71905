"""Detectors that look at shares: of failures, of slow calls, or whatever trips first of several."""

from __future__ import annotations

from dataclasses import dataclass

from omninode.core.clock import Clock
from omninode.core.errors import InvalidArgumentError
from omninode.resilience.detector import Detector, DetectorSpec
from omninode.resilience.ranges import require_methods, require_seconds, require_share
from omninode.resilience.sensitivity import Sensitivity
from omninode.resilience.window import Window, check_window, window_of

__all__ = ["AnyOf", "FailureRate", "SlowCallRate"]


@dataclass(frozen=True, slots=True, kw_only=True)
class FailureRate:
    """Trips when at least `share` of the calls in the window failed, and there were at least `min_calls`.

    Args:
        share: of failures, above 0 and at most 1.
        calls: look at the last so many calls, or
        seconds: at those of the last so many seconds; exactly one of the two.
        min_calls: below it nothing trips, because one failure of two is no rate.

    After a long healthy time it is slow: with 50 calls/s and 30 s, a hard outage takes 750 failures at 50 %. See
    `Sequential`, which takes 16 and trips falsely less often.

    Sensitised, half of `min_calls` is enough, rounded up, when the latest of them failed; the share stays.
    """

    share: float = 0.5
    calls: int | None = None
    seconds: float | None = None
    min_calls: int = 20

    def __post_init__(self) -> None:
        _check_share("FailureRate", self.share)
        check_window("FailureRate", calls=self.calls, seconds=self.seconds, min_calls=self.min_calls)

    @property
    def is_timed(self) -> bool:
        """See `DetectorSpec.is_timed`."""
        return False

    def start(self, clock: Clock) -> Detector:
        """See `DetectorSpec.start`."""
        window = window_of(self.calls, self.seconds, clock)
        return _Share(window, Sensitivity(clock), share=self.share, min_calls=self.min_calls, slower_than_s=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class SlowCallRate:
    """Trips when at least `share` of the calls in the window took longer than `slower_than_s`, however they ended.

    The other settings are those of `FailureRate`. For calls whose length depends on what is asked, such as answers of
    a model, prefer a soft timeout, which learns what is slow. Sensitised, it does as `FailureRate` does.
    """

    slower_than_s: float
    share: float = 1.0
    calls: int | None = None
    seconds: float | None = None
    min_calls: int = 20

    def __post_init__(self) -> None:
        require_seconds("SlowCallRate", "slower_than_s", self.slower_than_s)
        _check_share("SlowCallRate", self.share)
        check_window("SlowCallRate", calls=self.calls, seconds=self.seconds, min_calls=self.min_calls)

    @property
    def is_timed(self) -> bool:
        """See `DetectorSpec.is_timed`."""
        return True

    def start(self, clock: Clock) -> Detector:
        """See `DetectorSpec.start`."""
        window = window_of(self.calls, self.seconds, clock)
        return _Share(
            window, Sensitivity(clock), share=self.share, min_calls=self.min_calls, slower_than_s=self.slower_than_s
        )


@dataclass(frozen=True, slots=True)
class AnyOf:
    """Trips when any of `specs` does, such as a sequential test and a slow-call rate; sensitised, each of them is."""

    specs: tuple[DetectorSpec, ...]

    def __init__(self, *specs: DetectorSpec) -> None:
        if not specs:
            raise InvalidArgumentError("AnyOf: no detector given; pass at least one")
        for spec in specs:
            require_methods("AnyOf", "detector", spec, "start")
        object.__setattr__(self, "specs", specs)

    @property
    def is_timed(self) -> bool:
        """See `DetectorSpec.is_timed`."""
        return any(spec.is_timed for spec in self.specs)

    def start(self, clock: Clock) -> Detector:
        """See `DetectorSpec.start`."""
        return _Any([spec.start(clock) for spec in self.specs])


class _Share:
    __slots__ = ("_min_calls", "_sensitivity", "_share", "_slower_than_s", "_window", "is_calm")

    def __init__(
        self,
        window: Window,
        sensitivity: Sensitivity,
        *,
        share: float,
        min_calls: int,
        slower_than_s: float | None,
    ) -> None:
        self._window = window
        self._sensitivity = sensitivity
        self._share = share
        self._min_calls = min_calls
        self._slower_than_s = slower_than_s
        self.is_calm = False

    def succeeded(self, took_s: float) -> bool:
        return self._add(is_bad=self._slower_than_s is not None and took_s > self._slower_than_s)

    def failed(self, took_s: float) -> bool:
        return self._add(is_bad=self._slower_than_s is None or took_s > self._slower_than_s)

    def sensitise(self, lasts_s: float) -> None:
        self._sensitivity.set(lasts_s)

    @property
    def is_sensitised(self) -> bool:
        return self._sensitivity.is_on

    def reset(self) -> None:
        self._window.clear()
        self._sensitivity.set(0.0)

    @property
    def reason(self) -> str:
        how = "failed" if self._slower_than_s is None else f"took longer than {self._slower_than_s:g} s"
        return f"{self._window.bad} of the latest {self._window.total} calls {how}{self._sensitivity.note}"

    def _add(self, *, is_bad: bool) -> bool:
        window = self._window
        window.add(is_bad=is_bad)
        # Only a bad call may profit: what was counted before the word from elsewhere must not trip it on a good one.
        enough = (self._min_calls + 1) // 2 if is_bad and self._sensitivity.is_on else self._min_calls
        return window.total >= enough and window.bad >= self._share * window.total


class _Any:
    __slots__ = ("_parts", "_tripped")

    def __init__(self, parts: list[Detector]) -> None:
        self._parts = parts
        self._tripped = parts[0]

    def succeeded(self, took_s: float) -> bool:
        return self._heard([part for part in self._parts if part.succeeded(took_s)])

    def failed(self, took_s: float) -> bool:
        return self._heard([part for part in self._parts if part.failed(took_s)])

    def sensitise(self, lasts_s: float) -> None:
        for part in self._parts:
            part.sensitise(lasts_s)

    @property
    def is_sensitised(self) -> bool:
        return any(part.is_sensitised for part in self._parts)

    def reset(self) -> None:
        for part in self._parts:
            part.reset()

    @property
    def is_calm(self) -> bool:
        return all(part.is_calm for part in self._parts)

    @property
    def reason(self) -> str:
        return self._tripped.reason

    def _heard(self, tripped: list[Detector]) -> bool:
        if tripped:
            self._tripped = tripped[0]
        return bool(tripped)


def _check_share(owner: str, share: float) -> None:
    require_share(owner, "share", share)
    if share == 0:
        raise InvalidArgumentError(f"{owner}: share is 0, which every call reaches; pass a share above zero")
