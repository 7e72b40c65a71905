"""Inputs of a file through the validator, one by one, with each finding's place in the file."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from omninode.validation.policy import Trust
from omninode.validation.records import Kind, Record
from omninode.validation.report import Action, Finding, excerpt, strongest
from omninode.validation.secrets import redact
from omninode.validation.validator import InputValidator

__all__ = ["Guarded", "Place", "guard"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a finding is in the file: lines and columns from 1, the end exclusive; places in characters.

    Of a line of JSON only the line is known; `start` and `end` are then None.
    """

    line: int
    column: int = 1
    end_line: int = 0
    end_column: int = 1
    start: int | None = None
    end: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Guarded:
    """One input, what may be passed on of it (None when it was refused or dropped), and what was found where."""

    record: Record
    text: str | None
    findings: tuple[Finding, ...]
    places: tuple[Place, ...]

    @property
    def action(self) -> Action:
        """The strongest action of the findings."""
        return strongest(finding.action for finding in self.findings)

    @property
    def would(self) -> Action:
        """The strongest action, had the policy not been in shadow mode."""
        return strongest(finding.would or finding.action for finding in self.findings)

    @property
    def is_stopped(self) -> bool:
        """Whether it may not be passed on."""
        return self.action in {Action.DROP, Action.BLOCK}


def guard(records: Iterable[Record], *, validator: InputValidator) -> Iterator[Guarded]:
    """Each of `records` as the validator judges it, as they come."""
    for record in records:
        text, findings = _judged(record, validator)
        is_stopped = strongest(finding.action for finding in findings) in {Action.DROP, Action.BLOCK}
        yield Guarded(
            record=record,
            text=None if is_stopped else text,
            findings=findings,
            places=tuple(_places(record, findings)),
        )


def _judged(record: Record, validator: InputValidator) -> tuple[str | None, tuple[Finding, ...]]:
    if record.problem is not None:
        return None, (record.problem,)
    if record.kind is Kind.TASKS:
        # A list of tasks is read, not passed on as text.
        return None, validator.check_tasks(record.value, route=record.route)
    assert isinstance(record.value, str | bytes)
    # A name comes from the file as well, and may hold anything.
    path = excerpt(redact(record.name)) or _path(record.kind, record.trust)
    screened = validator.check(record.value, trust=record.trust, path=path, route=record.route)
    return screened.text, screened.findings


def _path(kind: Kind, trust: Trust) -> str:
    return str(kind) if kind is not Kind.PROMPT or trust is Trust.USER else f"text from {trust}"


def _places(record: Record, findings: tuple[Finding, ...]) -> Iterator[Place]:
    text = record.value if isinstance(record.value, str) else ""
    ends = (
        [index for index, character in enumerate(text) if character == "\n"]
        if findings and record.start is not None
        else []
    )
    for finding in findings:
        if record.start is None or finding.span is None:
            yield Place(line=record.line, end_line=record.line)
            continue
        (line, column), (end_line, end_column) = (_line_and_column(ends, place) for place in finding.span)
        yield Place(
            line=record.line + line,
            column=column,
            end_line=record.line + end_line,
            end_column=end_column,
            start=record.start + finding.span[0],
            end=record.start + finding.span[1],
        )


def _line_and_column(ends: list[int], place: int) -> tuple[int, int]:
    """How many lines end before `place`, and its column in its own line, counted from 1."""
    before = bisect_right(ends, place - 1)
    return before, place - (ends[before - 1] if before else -1)
