"""What must hold of any bytes at all, one function per reader of what others send; each raises when it does not.

`fuzz.py` searches for bytes that break one; `tests/unit/validation/test_fuzz_cases.py` repeats what was found.
"""

from __future__ import annotations

import io
import unicodedata
from collections.abc import Callable
from contextlib import suppress

import orjson

from omninode.core.errors import ConfigurationError, MalformedAnswerError
from omninode.providers.sse import ServerEvent, SseParser
from omninode.validation.declared import parse_policy
from omninode.validation.guard import guard
from omninode.validation.limits import Limits, not_text
from omninode.validation.origin import Derived
from omninode.validation.output import check_output
from omninode.validation.policy import Trust, ValidationPolicy
from omninode.validation.records import Kind, read_lines, read_text
from omninode.validation.redactor import StreamRedactor
from omninode.validation.report import Action
from omninode.validation.restorer import StreamRestorer, restore
from omninode.validation.sarif import sarif
from omninode.validation.secrets import redact, scan
from omninode.validation.tasks import parse_tasks, topological_levels
from omninode.validation.unicode import clean
from omninode.validation.validator import InputValidator
from omninode.validation.views import views

__all__ = ["PROPERTIES"]

_LIMITS = Limits(max_tasks=200, max_json_depth=20)
_AGENTS = ("coder", "tester", "reviewer")
_INSTRUCTIONS = "You are coder. Write the smallest complete piece of code that does what the task asks."
_VALIDATOR = InputValidator()


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


def records(data: bytes) -> None:
    """Every line of a file of inputs is one input or one problem, with its number; what is wrong never raises."""
    limits = Limits(max_prompt_bytes=64, max_item_bytes=64, max_tasks_bytes=64, max_json_depth=8)
    before = 0
    for record in read_lines(io.BytesIO(data), limits=limits):
        assert before < record.line <= data.count(b"\n") + 1
        before = record.line
        assert record.problem is not None or isinstance(record.value, str) or record.kind is Kind.TASKS
    held = sum(bool(line.strip()) for line in data.split(b"\n"))
    assert before == 0 if not held else before > 0


def parts(data: bytes) -> None:
    """The parts of a text are the text again, each within its limit, at the place and line it says."""
    whole, text, line = data.decode("utf-8", "replace"), "", 1
    for record in read_text(io.BytesIO(whole.encode()), trust=Trust.USER, most_bytes=16):
        assert isinstance(record.value, str)
        assert 0 < len(record.value.encode()) <= 16
        assert (record.start, record.line) == (len(text), line), record
        text, line = text + record.value, line + record.value.count("\n")
    assert text == whole
    list(read_text(io.BytesIO(data), trust=Trust.USER, most_bytes=16))


def scans(data: bytes) -> None:
    """The log of a scan is JSON whose results name a rule of it and a place inside the file."""
    text = data.decode("utf-8", "replace")
    read = read_text(io.BytesIO(data), trust=Trust.TOOL, most_bytes=400)
    log = orjson.loads(orjson.dumps(sarif(guard(read, validator=_VALIDATOR), name=text[:20])))
    (run,) = log["runs"]
    rules = [rule["id"] for rule in run["tool"]["driver"]["rules"]]
    assert len(rules) == len(set(rules))
    for result in run["results"]:
        assert rules[result["ruleIndex"]] == result["ruleId"]
        assert result["message"]["text"]
        region = result["locations"][0]["physicalLocation"]["region"]
        assert 1 <= region["startLine"] <= text.count("\n") + 1
        if "charOffset" in region:
            assert 0 <= region["charOffset"] <= region["charOffset"] + region["charLength"] <= len(text)
            assert (region["startLine"], region["startColumn"]) <= (region["endLine"], region["endColumn"])


def answers(data: bytes) -> None:
    """An answer freed of addresses that carry data has none left, and findings point into it."""
    text = data.decode("utf-8", "surrogateescape" if data[:1] == b"\0" else "replace")
    policy = ValidationPolicy(allowed_hosts=frozenset(["docs.example"]))
    check = check_output(text, policy=policy, canary="c4n4ryc4n4ryabcd", system_prompt=_INSTRUCTIONS)
    for finding in check.findings:
        assert finding.span is None or 0 <= finding.span[0] < finding.span[1] <= len(text)
    assert "c4n4ryc4n4ryabcd" not in check.text
    again = check_output(check.text, policy=policy)
    assert not [one for one in again.findings if one.code.startswith("OUTPUT")], (check.text, again.findings)


def restoring(data: bytes) -> None:
    """What is put back does not depend on where the stream was cut."""
    if not data:
        return
    text, vault = data[1:].decode("utf-8", "surrogateescape"), _Values()
    step = 1 + data[0]
    restorer = StreamRestorer(vault)
    out = [restorer.feed(text[at : at + step]) for at in range(0, len(text), step)]
    assert "".join([*out, restorer.finish()]) == restore(text, vault)


def redacting(data: bytes) -> None:
    """What is taken out of a stream does not depend on where it was cut."""
    if not data:
        return
    # Long enough to be let go in several parts.
    text = " and ".join([data[1:].decode("utf-8", "replace")] * 3)
    redactor = StreamRedactor(look_ahead=1_024)
    step = 1 + 4 * data[0]
    out = [redactor.feed(text[at : at + step]) for at in range(0, len(text), step)]
    assert "".join([*out, redactor.finish()]) == redact(text)


def policies(data: bytes) -> None:
    """A file is a policy, or what is wrong with it is said in one way."""
    with suppress(ConfigurationError):
        policy = parse_policy(data, name="policy.toml")
        for trust in Trust:
            policy.for_route("summary").for_trust(trust)


class _Values:
    """A vault with two values, one of which looks like a placeholder."""

    def keep(self, name: str, value: str) -> None:
        raise NotImplementedError

    def value_of(self, name: str) -> str | None:
        return {"EMAIL_1": "a@b.example", "PHONE_2": "<<EMAIL_1>>"}.get(name)

    def close(self) -> None:
        pass


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
    function.__name__: function
    for function in (
        *(normaliser, decoders, tasks, events, secrets),
        *(records, parts, scans, answers, restoring, redacting, policies),
    )
}
