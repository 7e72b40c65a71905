"""The simulated worker: answers a task only from what it was sent, quoting it, and says that it is SIMULATED."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from random import Random
from typing import Any

from omninode.simulation.reading import terms

__all__ = ["work"]

_LINES_PER_ITEM = 3
_LINE_CHARS = 160
_ITEM_CHARS = 40_000
_RESULT_LINES = 4


def work(data: Mapping[str, Any], *, model: str, quality: float, random: Random) -> str:
    """A markdown answer to a worker's INPUT; better models quote more of the context."""
    raw = data.get("task")
    task: Mapping[str, Any] = raw if isinstance(raw, dict) else {"description": str(raw or "")}
    description = str(task.get("description") or data.get("prompt") or "")
    words = _wanted(task, description, str(data.get("prompt") or ""))
    items = [item for item in data.get("context") or () if isinstance(item, dict)]
    results = [item for item in data.get("results") or () if isinstance(item, dict)]
    quoted = _ranked(items, words)[: 2 + round(4 * quality * (0.75 + 0.25 * random.random()))]
    closing = (
        f"This is SIMULATED text: it quotes {len(quoted)} of the {len(items)} context items and"
        f" {len(results)} earlier results it was sent, and adds nothing of its own."
    )
    lines = [
        f"SIMULATED answer by {model} as agent {data.get('agent') or 'worker'}: {description}",
        "",
        *_findings(quoted, sent=len(items)),
        *_built_on(results),
        "",
        closing,
    ]
    return "\n".join(lines)


def _wanted(task: Mapping[str, Any], description: str, prompt: str) -> tuple[str, ...]:
    """The words to look for: the task's own; the whole request's only when the task has none."""
    given = task.get("input")
    hints = " ".join(str(value) for value in given.values()) if isinstance(given, dict) else str(given or "")
    found = dict.fromkeys(terms(f"{description} {hints}")) or dict.fromkeys(terms(prompt))
    return tuple(found)


def _ranked(items: Sequence[Mapping[str, Any]], words: Sequence[str]) -> list[tuple[str, list[tuple[int, str]]]]:
    """Title and most relevant lines (with their number in the text that was sent), best item first."""
    scored = []
    for place, item in enumerate(items):
        title = str(item.get("title") or item.get("id") or f"item {place + 1}")
        text = str(item.get("content") or "")[:_ITEM_CHARS]
        low = f"{title}\n{text}".lower()
        overlap = sum(word in low for word in words)
        if overlap:
            scored.append((-overlap, place, title, text))
    return [(title, _best_lines(text, words)) for _, _, title, text in sorted(scored)]


def _best_lines(text: str, words: Sequence[str]) -> list[tuple[int, str]]:
    scored = []
    for number, line in enumerate(text.splitlines(), 1):
        low = line.lower()
        hits = sum(word in low for word in words)
        if hits:
            scored.append((-hits, number, line.strip()[:_LINE_CHARS]))
    return sorted((number, line) for _, number, line in sorted(scored)[:_LINES_PER_ITEM])


def _findings(quoted: Sequence[tuple[str, list[tuple[int, str]]]], *, sent: int) -> list[str]:
    if not quoted:
        reason = f"none of the {sent} context items mentions it" if sent else "no context was sent"
        return ["## From the context", "", f"Nothing to quote: {reason}."]
    lines = ["## From the context", ""]
    for title, best in quoted:
        lines.append(f"- **{title}**")
        lines.extend(f"  - line {number}: {_code(line)}" for number, line in best)
    return lines


def _code(line: str) -> str:
    return f"`` {line} ``" if "`" in line else f"`{line}`"


def _built_on(results: Sequence[Mapping[str, Any]]) -> list[str]:
    lines: list[str] = []
    for result in results:
        text = [line.strip() for line in str(result.get("output") or "").splitlines() if line.strip()]
        lines += ["", f"## Builds on {result.get('task_id', 'an earlier task')}", ""]
        lines += [f"> {line[:_LINE_CHARS]}" for line in text[:_RESULT_LINES]] or ["> (it had no output)"]
    return lines
