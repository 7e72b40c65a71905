"""What must hold of any bytes at all, one function per reader of what others send; each raises when it does not.

`fuzz.py` searches for bytes that break one; `tests/unit/validation/test_fuzz_cases.py` repeats what was found.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable

import orjson

from omninode.core.errors import MalformedAnswerError
from omninode.providers.sse import ServerEvent, SseParser
from omninode.validation.limits import Limits, not_text
from omninode.validation.origin import Derived
from omninode.validation.report import Action
from omninode.validation.secrets import redact, scan
from omninode.validation.tasks import parse_tasks, topological_levels
from omninode.validation.unicode import clean
from omninode.validation.views import views

__all__ = ["PROPERTIES"]

_LIMITS = Limits(max_tasks=200, max_json_depth=20)
_AGENTS = ("coder", "tester", "reviewer")


def normaliser(data: bytes) -> None:
    """Cleaning is idempotent, gives NFC, and knows where every character came from."""
    text = data.decode("utf-8", "replace")
    if not_text(text) is not None:
        return
    cleaned = clean(text)
    assert clean(cleaned.text).text == cleaned.text, "not idempotent"
    assert unicodedata.is_normalized("NFC", cleaned.text), "not NFC"
    assert not clean(cleaned.text).removed, "the second look removes more"
    _points_into(text, cleaned.derived)
    for finding in cleaned.findings(path="prompt"):
        assert finding.span is not None
        assert 0 <= finding.span[0] <= finding.span[1] <= len(text), f"{finding.span} of {len(text)}"


def decoders(data: bytes) -> None:
    """Every view knows the way back, and all views together are not much more than the text."""
    text = data.decode("utf-8", "replace")
    if not_text(text) is not None:
        return
    derived, volume = clean(text).derived, 0
    for count, view in enumerate(views(derived, original=text)):
        assert count < 10_000, "too many views"
        volume += len(view.derived.text)
        _points_into(text, view.derived)
    assert volume <= 100 * len(text) + 1000, f"{volume} characters in views of {len(text)}"


def tasks(data: bytes) -> None:
    """Whatever is accepted can be arranged and read again; whatever is not has a finding that blocks."""
    found, findings = parse_tasks(data, known_agents=_AGENTS, limits=_LIMITS)
    blocked = any(finding.action is Action.BLOCK for finding in findings)
    for finding in findings:
        assert finding.code
        assert finding.message
    if blocked:
        return
    layers = topological_levels(found)
    assert sorted(name for layer in layers for name in layer) == sorted(task.id for task in found)
    again, complaints = parse_tasks(orjson.dumps([task.model_dump() for task in found]), known_agents=_AGENTS)
    assert again == found, complaints


def events(data: bytes) -> None:
    """The events of a stream do not depend on where the network cut it."""
    if not data:
        return
    step, stream = 1 + data[0] % 7, data[1:]
    cuts = [stream[start : start + step] for start in range(0, len(stream), step)]
    assert _events([stream]) == _events(cuts)


def secrets(data: bytes) -> None:
    """Secrets lie inside the text and apart from each other, and redacting twice is redacting once."""
    # Bytes that are no UTF-8 become lone surrogates, half of the time.
    text = data.decode("utf-8", "surrogateescape" if data[:1] == b"\0" else "replace")
    end = 0
    for secret in scan(text):
        assert end <= secret.start < secret.end <= len(text)
        end = secret.end
    once = redact(text)
    assert redact(once) == once


def _points_into(text: str, derived: Derived) -> None:
    length = len(derived.text)
    for start in {0, length // 3, length // 2, max(0, length - 1)}:
        low, high = derived.span(start, min(length, start + 3))
        assert 0 <= low <= high <= len(text), f"[{low}:{high}] of {len(text)}"


def _events(chunks: list[bytes]) -> list[ServerEvent] | str:
    parser = SseParser(max_event_bytes=64)
    try:
        return [event for chunk in chunks for event in parser.feed(chunk)]
    except MalformedAnswerError:
        return "too large"


PROPERTIES: dict[str, Callable[[bytes], None]] = {
    function.__name__: function for function in (normaliser, decoders, tasks, events, secrets)
}
