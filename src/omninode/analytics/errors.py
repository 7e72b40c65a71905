"""Errors by cause: which there are, which are new, and what one kind of them has in common."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from omninode.analytics.period import Period, bounded
from omninode.analytics.source import Analytics
from omninode.telemetry.errors import mask

__all__ = ["Contrast", "ErrorAnalytics", "ErrorGroup", "ErrorSample", "contrasts"]

_LAST_ID = UUID(int=(1 << 128) - 1)
_MIN_SUPPORT = 5
_FALSE_DISCOVERIES = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorGroup:
    """Errors of one fingerprint within a period; pass (`last_at`, `fingerprint`) of the last as `before` to read on."""

    fingerprint: str
    error_class: str
    message: str
    template: str
    place: str
    retryable: bool
    count: int
    runs: int
    phases: tuple[str, ...]
    first_at: datetime
    last_at: datetime
    is_new: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorSample:
    """One stored error; `context` is what its place told about it."""

    id: UUID
    at: datetime
    run_id: UUID | None
    phase: str | None
    error_class: str
    message: str
    attempt: int
    place: str
    context: Mapping[str, Any]  # Any: as JSON can hold it


@dataclass(frozen=True, slots=True, kw_only=True)
class Contrast:
    """An attribute value that is more or less common in the selection than elsewhere (shares 0 to 1)."""

    attribute: str
    value: str
    share: float
    share_elsewhere: float
    count: int
    p_value: float


class ErrorAnalytics(Analytics):
    """Groups, samples and contrasts of stored errors."""

    async def groups(
        self, *, period: Period | None = None, before: tuple[datetime, str] | None = None, limit: int = 50
    ) -> tuple[ErrorGroup, ...]:
        """Groups of the period (24 hours), the latest first; `is_new` when the first ever lies within it."""
        when = period or self._last(hours=24)
        at, fingerprint = before or (None, None)
        rows = await self._fetch(
            "analytics_errors.groups", when.since, when.until, at, fingerprint, bounded(limit, most=500)
        )
        return tuple(_group(row, when) for row in rows)

    async def samples(
        self, fingerprint: str, *, before: tuple[datetime, UUID] | None = None, limit: int = 20
    ) -> tuple[ErrorSample, ...]:
        """One page of a group's errors, newest first; `before` is (`at`, `id`) of the last one seen."""
        at, last = before or (datetime.max.replace(tzinfo=UTC), _LAST_ID)
        rows = await self._fetch("analytics_errors.samples", fingerprint, at, last, bounded(limit, most=200))
        return tuple(_sample(row) for row in rows)

    async def why_different(self, fingerprint: str, *, period: Period | None = None) -> tuple[Contrast, ...]:
        """What the group has more or less of than all other errors of the period (24 hours), the strongest first."""
        when = period or self._last(hours=24)
        rows = await self._fetch("analytics_errors.shares", when.since, when.until, fingerprint)
        return contrasts([(row["attribute"], row["value"], row["selected"], row["others"]) for row in rows])


def contrasts(counts: Sequence[tuple[str, str, int, int]]) -> tuple[Contrast, ...]:
    """The attribute values whose share in a selection differs from that elsewhere by more than chance.

    `counts` holds (attribute, value, in the selection, elsewhere). Each is put to a G test; the false discovery rate is
    held at 5 % (Benjamini-Hochberg); values seen fewer than five times are left out.
    """
    selected: dict[str, int] = {}
    others: dict[str, int] = {}
    for attribute, _, inside, outside in counts:
        selected[attribute] = selected.get(attribute, 0) + inside
        others[attribute] = others.get(attribute, 0) + outside
    tested = [
        Contrast(
            attribute=attribute,
            value=value,
            share=inside / selected[attribute],
            share_elsewhere=outside / others[attribute],
            count=inside,
            p_value=_g_test(inside, selected[attribute] - inside, outside, others[attribute] - outside),
        )
        for attribute, value, inside, outside in counts
        if inside + outside >= _MIN_SUPPORT and selected[attribute] and others[attribute]
    ]
    tested.sort(key=lambda contrast: contrast.p_value)
    kept = 0
    for rank, contrast in enumerate(tested, 1):
        if contrast.p_value <= rank / len(tested) * _FALSE_DISCOVERIES:
            kept = rank
    return tuple(sorted(tested[:kept], key=lambda contrast: -abs(contrast.share - contrast.share_elsewhere)))


def _g_test(a: int, b: int, c: int, d: int) -> float:
    """The p-value of a two-by-two table, by the G statistic with one degree of freedom."""
    whole = a + b + c + d
    g = 0.0
    for seen, row, column in ((a, a + b, a + c), (b, a + b, b + d), (c, c + d, a + c), (d, c + d, b + d)):
        if seen:
            g += 2 * seen * math.log(seen * whole / (row * column))
    return math.erfc(math.sqrt(max(0.0, g) / 2))


def _group(row: Any, period: Period) -> ErrorGroup:  # Any: the driver's row
    return ErrorGroup(
        fingerprint=row["fingerprint"],
        error_class=row["error_class"],
        message=row["message"],
        template=mask(row["message"]),
        place=row["place"],
        retryable=row["retryable"],
        count=row["count"],
        runs=row["runs"],
        phases=tuple(row["phases"] or ()),
        first_at=row["first_at"],
        last_at=row["last_at"],
        is_new=row["first_at"] >= period.since,
    )


def _sample(row: Any) -> ErrorSample:  # Any: the driver's row
    return ErrorSample(
        id=row["id"],
        at=row["ts"],
        run_id=row["run_id"],
        phase=row["phase"],
        error_class=row["error_class"],
        message=row["message"],
        attempt=row["attempt"],
        place=row["place"],
        context=row["context"],
    )
