"""Findings as SARIF 2.1.0, the format of code scanners that editors and code hosts show beside the lines."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from urllib.parse import quote

from omninode.validation.catalogue import CATALOGUE, detector_version, entry
from omninode.validation.guard import Guarded, Place
from omninode.validation.report import Finding, Severity

__all__ = ["sarif"]

# Hosts read no more of one run; what is beyond is counted in a notification.
MOST_RESULTS = 25_000
_LEVELS = {Severity.INFO: "note", Severity.WARNING: "warning", Severity.ERROR: "error"}
_SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"


# Any: JSON, which goes to the outside.
def sarif(checked: Iterable[Guarded], *, name: str) -> dict[str, Any]:
    """One run over the file `name`, as the object that the format describes."""
    rules = {code: _rule(code) for code in CATALOGUE}
    indices = {code: index for index, code in enumerate(rules)}
    results: list[dict[str, Any]] = []
    # The name of a file may hold bytes that are no text.
    uri = quote(name.encode("utf-8", "surrogateescape"))
    left = 0
    for one in checked:
        for finding, place in zip(one.findings, one.places, strict=True):
            if len(results) == MOST_RESULTS:
                left += 1
                continue
            if finding.code not in rules:
                indices[finding.code] = len(rules)
                rules[finding.code] = _rule(finding.code)
            results.append(_result(finding, place, index=indices[finding.code], uri=uri))
    driver = {
        "name": "OmniNode guard",
        "semanticVersion": detector_version("limits"),
        "rules": list(rules.values()),
    }
    invocation: dict[str, Any] = {"executionSuccessful": True}
    if left:
        text = f"{left} more findings are not listed; a run holds {MOST_RESULTS:,}"
        invocation["toolExecutionNotifications"] = [{"level": "warning", "message": {"text": text}}]
    run = {
        "tool": {"driver": driver},
        "columnKind": "unicodeCodePoints",
        "invocations": [invocation],
        "results": results,
    }
    return {"$schema": _SCHEMA, "version": "2.1.0", "runs": [run]}


def _rule(code: str) -> dict[str, Any]:
    known = entry(code)
    return {
        "id": code,
        "name": "".join(word.capitalize() for word in code.replace(".", "_").split("_")),
        "shortDescription": {"text": known.title},
        "help": {"text": known.remedy or "see the message"},
        "properties": {"tags": ["security", *(f"OWASP-{name}" for name in known.owasp)], "detector": known.detector},
    }


def _result(finding: Finding, place: Place, *, index: int, uri: str) -> dict[str, Any]:
    properties = {
        "action": finding.action,
        "would": finding.would,
        "path": finding.path,
        "span": finding.span,
        "score": finding.score,
        "probability": finding.probability,
        "evidence": finding.evidence,
        "excerpt": finding.excerpt,
        "tags": [f"OWASP-{name}" for name in finding.owasp],
        "detectorVersion": finding.version,
    }
    return {
        "ruleId": finding.code,
        "ruleIndex": index,
        "level": _LEVELS[finding.severity],
        "message": {"text": f"{finding.message}; {finding.remedy}" if finding.remedy else finding.message},
        "locations": [{"physicalLocation": {"artifactLocation": {"uri": uri}, "region": _region(place)}}],
        "properties": {key: value for key, value in properties.items() if value not in (None, "", ())},
    }


def _region(place: Place) -> dict[str, int]:
    region = {"startLine": place.line}
    if place.start is not None and place.end is not None:
        region |= {
            "startColumn": place.column,
            "endLine": place.end_line,
            "endColumn": place.end_column,
            "charOffset": place.start,
            "charLength": place.end - place.start,
        }
    return region
