"""What `omninode guard` prints of what it found: text for people, JSON lines and SARIF for programs."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable
from typing import Any

import orjson
import typer

from omninode.validation.guard import Guarded, Place
from omninode.validation.replay import Rate, Replay
from omninode.validation.report import Finding, Severity, strength
from omninode.validation.sarif import sarif
from omninode.validation.secrets import redact

__all__ = ["show_json", "show_replay", "show_sarif", "show_text"]

_COLOURS = {Severity.INFO: "bright_black", Severity.WARNING: "yellow", Severity.ERROR: "red"}


def show_text(checked: Iterable[Guarded], *, name: str) -> int:
    """Print a line per finding and a last one that counts; returns how many inputs may not be passed on."""
    tally = _Tally()
    for one in checked:
        tally.add(one)
        # The gravest first; people read the top.
        ranked = sorted(
            zip(one.findings, one.places, strict=True), key=lambda found: -strength(found[0].would or found[0].action)
        )
        for finding, place in ranked:
            _print_finding(finding, place, name=name)
    typer.echo(tally.line())
    return tally.stopped


def _print_finding(finding: Finding, place: Place, *, name: str) -> None:
    where = f"{name}:{place.line}" + (f":{place.column}" if place.start is not None else "")
    action = f"would {finding.would}" if finding.would is not None else str(finding.action)
    head = typer.style(f"{action} {finding.code}", fg=_COLOURS[finding.severity])
    typer.echo(f"{where}: {head}: {finding.message}")
    if finding.excerpt:
        typer.echo(f"    {finding.excerpt}")
    if finding.remedy and finding.severity is not Severity.INFO:
        risks = f" ({', '.join(finding.owasp)})" if finding.owasp else ""
        typer.echo(f"    {finding.remedy}{risks}")


def show_json(checked: Iterable[Guarded], *, name: str) -> int:
    """Print an object per input as it is examined, and a last one that counts."""
    tally = _Tally()
    for one in checked:
        tally.add(one)
        sys.stdout.buffer.write(orjson.dumps(_input_json(one, name), option=orjson.OPT_APPEND_NEWLINE))
    sys.stdout.buffer.write(orjson.dumps({"summary": tally.json()}, option=orjson.OPT_APPEND_NEWLINE))
    sys.stdout.buffer.flush()
    return tally.stopped


def show_sarif(checked: Iterable[Guarded], *, name: str) -> int:
    """Print one SARIF log."""
    tally = _Tally()
    log = sarif((tally.add(one) for one in checked), name=name)
    sys.stdout.buffer.write(orjson.dumps(log, option=orjson.OPT_APPEND_NEWLINE | orjson.OPT_INDENT_2))
    sys.stdout.buffer.flush()
    return tally.stopped


class _Tally:
    """Counts inputs by their action."""

    def __init__(self) -> None:
        self._inputs = 0
        self._findings = 0
        self._actions: Counter[str] = Counter()
        self._would: Counter[str] = Counter()
        self.stopped = 0

    def add(self, one: Guarded) -> Guarded:
        self._inputs += 1
        self._findings += len(one.findings)
        self._actions[str(one.action)] += 1
        self._would[str(one.would)] += 1
        self.stopped += one.is_stopped
        return one

    def line(self) -> str:
        passed = self._inputs - self.stopped
        told = f"inputs: {self._inputs:,}, may be passed on: {passed:,}, findings: {self._findings:,}"
        counted = [f"{self._actions[name]:,} {said}" for name, said in _SAID.items() if self._actions[name]]
        held = self._would["block"] + self._would["drop"]
        if held > self.stopped:
            counted.append(f"{held:,} would be blocked or dropped")
        return told + (f" ({', '.join(counted)})" if counted else "")

    def json(self) -> dict[str, Any]:
        return {
            "inputs": self._inputs,
            "stopped": self.stopped,
            "findings": self._findings,
            "actions": dict(self._actions),
            "would": dict(self._would),
        }


_SAID = {"block": "blocked", "drop": "dropped", "redact": "redacted", "flag": "flagged"}


# Any: JSON, which goes to the outside.
def _input_json(one: Guarded, name: str) -> dict[str, Any]:
    return {
        # The name of a file may hold bytes that are no text.
        "input": name.encode("utf-8", "replace").decode(),
        "line": one.record.line,
        "id": redact(one.record.name) or None,
        "kind": one.record.kind,
        "trust": one.record.trust,
        "action": one.action,
        "would": one.would,
        "text": one.text,
        "deficiencies": [
            _finding_json(finding, place) for finding, place in zip(one.findings, one.places, strict=True)
        ],
    }


def _finding_json(finding: Finding, place: Place) -> dict[str, Any]:
    return {
        "code": finding.code,
        "severity": finding.severity,
        "action": finding.action,
        "would": finding.would,
        "path": finding.path,
        "span": finding.span,
        "line": place.line,
        "column": place.column if place.start is not None else None,
        "message": finding.message,
        "excerpt": finding.excerpt,
        "score": finding.score,
        "probability": finding.probability,
        "evidence": finding.evidence,
        "remedy": finding.remedy,
        "owasp": finding.owasp,
        "detector": finding.detector,
        "version": finding.version,
    }


def show_replay(replayed: Replay, *, name: str, is_compared: bool, as_json: bool) -> None:
    """Print the expected rates of a policy, and what it changes."""
    if as_json:
        sys.stdout.buffer.write(orjson.dumps(_replay_json(replayed), option=orjson.OPT_APPEND_NEWLINE))
        sys.stdout.buffer.flush()
        return
    typer.echo(f"{'':<10} {'inputs':>12} {'share':>9}   with 95 % confidence between")
    for outcome, rate in replayed.rates.items():
        typer.echo(_rate_line(outcome, rate))
    typer.echo("not passed on, by kind")
    for kind, rate in replayed.by_kind.items():
        typer.echo(_rate_line(kind, rate))
    if is_compared:
        typer.echo(f"changed: {replayed.changed:,}")
        for change in replayed.changes:
            who = f" {change.name}" if change.name else ""
            typer.echo(f"{name}:{change.line}:{who} {change.before} -> {change.after} ({', '.join(change.codes)})")
        if replayed.changed > len(replayed.changes):
            typer.echo(f"and {replayed.changed - len(replayed.changes):,} more")


def _rate_line(name: str, rate: Rate) -> str:
    low, high = rate.bounds
    return f"{name:<10} {rate.count:>5,} of {rate.of:>5,} {rate.share:>8.2%}   {low:.2%} and {high:.2%}"


# Any: JSON, which goes to the outside.
def _replay_json(replayed: Replay) -> dict[str, Any]:
    return {
        "rates": {name: _rate_json(rate) for name, rate in replayed.rates.items()},
        "stopped_by_kind": {kind: _rate_json(rate) for kind, rate in replayed.by_kind.items()},
        "changed": replayed.changed,
        "changes": [
            {
                "line": each.line,
                "id": each.name or None,
                "before": each.before,
                "after": each.after,
                "codes": each.codes,
            }
            for each in replayed.changes
        ],
    }


def _rate_json(rate: Rate) -> dict[str, Any]:
    low, high = rate.bounds
    return {"count": rate.count, "of": rate.of, "share": rate.share, "low": low, "high": high}
