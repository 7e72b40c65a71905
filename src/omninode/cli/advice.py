"""What `omninode db advise` shows of a look at the database."""

from __future__ import annotations

from collections.abc import Iterator

from omninode.storage.advisor import PlanFlip, QueryReport
from omninode.storage.index_advice import IndexAdvice

__all__ = ["advice_lines"]

_SHOWN = 10


def advice_lines(report: QueryReport) -> Iterator[str]:
    """The report as lines: statements, plans that changed, indexes to build, indexes at fault."""
    yield f"statements {len(report.queries)} looked at, by what they cost"
    for query in report.queries[:_SHOWN]:
        scans = ", ".join(f"reads all {scan.rows:,} rows of {scan.table}" for scan in query.full_scans)
        yield f"           {query.calls:>9,} calls  {query.mean_ms:>9.2f} ms  {query.statement}" + (
            f": {scans}" if scans else ""
        )
    yield from map(_flip_line, report.flips)
    for advice in report.indexes:
        yield from _index_lines(advice)
    for fault in report.faults:
        yield f"{fault.fault:<10} {fault.index} on {fault.table} ({fault.size_bytes / 1e6:,.1f} MB): {fault.detail}"
        yield f"           {fault.remedy}"
    if not report.indexes and not report.faults:
        yield "indexes    nothing to build, nothing at fault"


def _flip_line(flip: PlanFlip) -> str:
    return (
        f"changed    {flip.statement}: cost {flip.cost_before:,.0f} to {flip.cost_after:,.0f}; "
        f"was {flip.before}, is {flip.after}"
    )


def _index_lines(advice: IndexAdvice) -> Iterator[str]:
    verdict = "build" if advice.is_worth_it else "leave"
    yield f"{verdict:<10} an index on {advice.table} ({', '.join(advice.columns)}): {advice.reason}"
    yield (
        f"           by {advice.how}: {advice.gain:,.1f} times cheaper, {advice.size_bytes / 1e6:,.1f} MB; an hour, "
        f"spares {advice.saved_ms:,.0f} ms of reads and costs {advice.cost_ms:,.0f} ms of writes"
    )
    yield f"           for {', '.join(advice.statements)}"
