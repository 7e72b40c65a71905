"""Errors, grouped by their fingerprint."""

from __future__ import annotations

from dataclasses import asdict
from typing import Final

from omninode.analytics.errors import ErrorAnalytics
from omninode.server.pages.question import NotFoundError, Panel, Question

__all__ = ["load", "load_one"]

_GROUPS: Final = 200
_SAMPLES: Final = 20


async def load(question: Question) -> Panel:
    """The groups of the window with their course, the most frequent first."""
    groups = [asdict(group) for group in await _analytics(question).groups(period=question.period, limit=_GROUPS)]
    groups.sort(key=lambda group: (-group["count"], group["fingerprint"]))
    prints = [group["fingerprint"] for group in groups]
    counts = {
        (row["fingerprint"], row["bucket"]): row["n"]
        for row in await question.windowed("server_errors.series", question.window.bucket, prints)
    }
    buckets = question.window.buckets()
    for group in groups:
        group["course"] = [counts.get((group["fingerprint"], bucket), 0) for bucket in buckets]
    return {
        "groups": groups,
        "n": sum(group["count"] for group in groups),
        "new": sum(group["is_new"] for group in groups),
    }


async def load_one(question: Question) -> Panel:
    """One group with its last samples, whatever their age, and what sets it apart; raises NotFoundError."""
    fingerprint = question.path["fingerprint"]
    samples = await _analytics(question).samples(fingerprint, limit=_SAMPLES)
    if not samples:
        raise NotFoundError(f"no error with the fingerprint {fingerprint!r} is stored")
    extent = (await question.rows("server_errors.extent", fingerprint))[0]
    return {
        "fingerprint": fingerprint,
        "error_class": samples[0].error_class,
        "samples": samples,
        "contrasts": await _analytics(question).why_different(fingerprint, period=question.period),
        **extent,
    }


def _analytics(question: Question) -> ErrorAnalytics:
    return ErrorAnalytics(question.database)
