"""The troubles a policy is put through: which backends there are, what they do when, and who calls how often."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from omninode.bench.storm.spans import Course, Span, always, bursts, during

__all__ = ["ALL_TROUBLES", "Patience", "Trouble"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long an attempt may take, and how long the user waits altogether."""

    attempt_s: float = 5.0
    deadline_s: float = 15.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """One scenario of the simulator.

    `window_s` is when the fault holds, for figures about that time; `bare` which backend a call without a policy asks.
    With `is_claimed` the promise to do no harm holds for it.
    """

    name: str
    courses: tuple[Course, ...]
    length_s: float
    window_s: tuple[float, float]
    rate_per_s: float = 40.0
    patience: Patience = Patience()
    bare: Literal["first", "in turn"] = "first"
    is_claimed: bool = True


def _window(name: str, span: Span, *, lasts_s: float, length_s: float, others: tuple[Course, ...] = ()) -> Trouble:
    """A fault of the first backend that begins after ten healthy seconds."""
    begins, ends = 10.0, 10.0 + lasts_s
    return Trouble(name=name, courses=(during(begins, ends, span), *others), length_s=length_s, window_s=(begins, ends))


def _constant(rate: float, *, is_claimed: bool = True) -> Trouble:
    course = always(Span(error_rate=rate))
    return Trouble(
        name=f"permanent {rate:.0%}", courses=(course,), length_s=24.0, window_s=(0.0, 24.0), is_claimed=is_claimed
    )


def _bursts(mean_s: float, *, every_s: float, length_s: float) -> Trouble:
    return Trouble(
        name=f"bursts {mean_s:g} s",
        courses=(bursts(mean_s, every_s=every_s, until_s=length_s + 15.0),),
        length_s=length_s,
        window_s=(0.0, length_s),
    )


def _overload() -> Trouble:
    """Seventy calls a second for a backend that serves 100, and 30 for fifteen seconds."""
    course = during(10.0, 25.0, Span(capacity=30.0), otherwise=Span(capacity=100.0))
    return Trouble(name="overload", courses=(course,), length_s=48.0, window_s=(10.0, 25.0), rate_per_s=70.0)


_DOWN, _HANGS = Span(error_rate=1.0), Span(hangs=True)
_FINE = always()
_BROWNOUTS = (0.2, 0.4, 0.6)

ALL_TROUBLES: tuple[Trouble, ...] = (
    Trouble(name="calm", courses=(_FINE,), length_s=20.0, window_s=(0.0, 20.0)),
    _window("outage 60 s", _DOWN, lasts_s=60.0, length_s=75.0),
    _window("hang 60 s", _HANGS, lasts_s=60.0, length_s=75.0),
    _window("outage 8 s", _DOWN, lasts_s=8.0, length_s=35.0),
    *(_window(f"brownout {rate:.0%}", Span(error_rate=rate), lasts_s=30.0, length_s=42.0) for rate in _BROWNOUTS),
    _constant(0.2),
    _constant(0.3),
    _constant(0.5),
    _constant(0.6, is_claimed=False),
    _bursts(0.5, every_s=5.0, length_s=40.0),
    _bursts(2.0, every_s=20.0, length_s=50.0),
    _bursts(5.0, every_s=60.0, length_s=100.0),
    _overload(),
    _window("outage, 2 backends", _DOWN, lasts_s=20.0, length_s=35.0, others=(_FINE,)),
    _window("hang, 2 backends", _HANGS, lasts_s=60.0, length_s=75.0, others=(_FINE,)),
    Trouble(
        name="1 of 3 slow",
        courses=(always(Span(slowness=10.0)), _FINE, _FINE),
        length_s=30.0,
        window_s=(0.0, 30.0),
        bare="in turn",
    ),
    Trouble(
        name="1 of 3 at 50%",
        courses=(always(Span(error_rate=0.5)), _FINE, _FINE),
        length_s=30.0,
        window_s=(0.0, 30.0),
        bare="in turn",
    ),
)
