"""What goes wrong next: fault rates and fault scripts per model, changeable while the simulator runs."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from random import Random
from typing import Literal, cast, get_args

from omninode.core.errors import InvalidArgumentError
from omninode.simulation.profile import Faults

__all__ = ["Fault", "FaultBook", "FaultKind"]

FaultKind = Literal["ok", "error", "throttle", "hang", "cut", "malformed", "prose", "slow"]
_KINDS: tuple[str, ...] = get_args(FaultKind)
# In this order the rates share the interval from 0 to 1 that the draw falls into.
_RATED: tuple[FaultKind, ...] = ("error", "throttle", "hang", "cut", "malformed", "prose")
# What a scripted "slow" waits when the profile names no slow start of its own.
_SLOW_S = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """What happens to one call: a kind, and the seconds it takes longer."""

    kind: FaultKind = "ok"
    extra_s: float = 0.0


class FaultBook:
    """The faults of every model. Not thread-safe: it lives on the simulator's loop."""

    def __init__(self, faults: Mapping[str, Faults]) -> None:
        self._initial = dict(faults)
        self._faults = dict(faults)
        self._scripts: dict[str, deque[FaultKind]] = {name: deque() for name in faults}
        self._calls = dict.fromkeys(faults, 0)

    def set(self, model: str, faults: Faults) -> None:
        """Replace the rates of `model`; its slow start begins anew."""
        self._known(model)
        self._faults[model] = faults
        self._calls[model] = 0

    def script(self, model: str, kinds: Iterable[str]) -> None:
        """Append what happens to the next calls of `model`, one kind a call; rates apply again afterwards."""
        self._known(model)
        steps = list(kinds)
        for kind in steps:
            if kind not in _KINDS:
                raise InvalidArgumentError(f"unknown fault {kind!r}; one of {', '.join(_KINDS)}")
        self._scripts[model].extend(cast("list[FaultKind]", steps))

    def clear(self, model: str | None = None) -> None:
        """Back to the profile's own faults, without script; for every model when none is named."""
        if model is not None:
            self._known(model)
        for name in [model] if model is not None else list(self._faults):
            self._faults[name] = self._initial[name]
            self._scripts[name].clear()
            self._calls[name] = 0

    def of(self, model: str) -> Faults:
        """The rates of `model` now."""
        return self._faults[model]

    def waiting(self, model: str) -> tuple[FaultKind, ...]:
        """The steps of the script not yet used."""
        return tuple(self._scripts[model])

    def draw(self, model: str, random: Random) -> Fault:
        """What happens to this call of `model`; a scripted step comes before the rates."""
        faults = self._faults[model]
        self._calls[model] += 1
        slow = faults.slow_start_s if self._calls[model] <= faults.slow_start_calls else 0.0
        # Drawn even when a script decides, so that a script does not shift what the seed gives later calls.
        point = random.random()
        if self._scripts[model]:
            kind = self._scripts[model].popleft()
            return Fault(kind=kind, extra_s=max(slow, faults.slow_start_s or _SLOW_S) if kind == "slow" else slow)
        for kind in _RATED:
            rate: float = getattr(faults, f"{kind}_rate")
            if point < rate:
                return Fault(kind=kind, extra_s=slow)
            point -= rate
        return Fault(kind="slow" if slow else "ok", extra_s=slow)

    def _known(self, model: str) -> None:
        if model not in self._faults:
            raise InvalidArgumentError(f"no simulated model {model!r}; one of {', '.join(self._faults)}")
