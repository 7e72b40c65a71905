"""Every code a finding can have: what it means, who finds it, which risks it belongs to, what the sender can do.

One table, so that a report, the SARIF rules and the documentation say the same. A code that ends in a name of its own
(`SECRET.GITHUB_TOKEN`) is found by its family. The ids are those of the OWASP Top 10 for LLM applications (2025,
`LLM..`) and for agentic applications (2026, `ASI..`).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed
from importlib.resources import files
from types import MappingProxyType

__all__ = ["CATALOGUE", "Entry", "detector_version", "entry"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """What is the same for all findings of one code."""

    code: str
    title: str
    detector: str
    owasp: tuple[str, ...] = ()
    remedy: str = ""


def _entries(detector: str, owasp: tuple[str, ...], remedy: str, **titles: str) -> dict[str, Entry]:
    made = {}
    for name, title in titles.items():
        code = name.replace("__", ".")
        made[code] = Entry(code=code, title=title, detector=detector, owasp=owasp, remedy=remedy)
    return made


_TOO_MUCH = ("LLM10",)
_CASCADE = ("LLM10", "ASI08")
_HIDDEN = ("LLM01", "ASI01")

CATALOGUE = MappingProxyType[str, Entry](
    {
        **_entries(
            "limits",
            (),
            "send it as UTF-8 text",
            PROMPT__TYPE="The prompt is not text",
            PROMPT__EMPTY="The prompt is empty",
            TEXT__NOT_UTF8="Bytes that are not UTF-8",
            TEXT__NUL="Text with a NUL character",
            TEXT__SURROGATE="Text with half of a surrogate pair",
            CONTEXT__TYPE="A context item that is not text",
        ),
        **_entries(
            "limits",
            _TOO_MUCH,
            "shorten it, or raise the limit",
            PROMPT__TOO_LARGE="The prompt is too large",
            PROMPT__TOO_MANY_TOKENS="The prompt holds too many tokens",
            CONTEXT__TOO_MANY_TOKENS="A context item holds too many tokens",
            CONTEXT__TOO_LARGE="A context item is too large",
            TASKS__TOO_LARGE="The task list is too large",
            TASKS__TOO_DEEP="The task list nests too deep",
            TASKS__TOO_MANY_KEYS="The task list holds too many keys",
            INPUT__TOO_LARGE="A line of input is too long",
            INPUT__TOO_DEEP="A line of input nests too deep",
        ),
        **_entries(
            "tasks",
            _CASCADE,
            "split the plan, or raise the limit",
            TASKS__TOO_MANY="Too many tasks",
            TASKS__FAN_OUT_TOO_WIDE="Too many tasks depend on the same one",
            TASKS__CHAIN_TOO_LONG="A chain of dependencies is too long",
            TASK__CYCLE="Tasks depend on each other in a circle",
        ),
        **_entries(
            "tasks",
            (),
            "correct the task list",
            TASKS__TYPE="The tasks are not a list",
            TASKS__NOT_JSON="The task list is not JSON",
            TASKS__EMPTY="The task list holds no tasks",
            TASK__INVALID="A task that breaks the schema",
            TASK__DUPLICATE_ID="Two tasks with one id",
            TASK__UNKNOWN_DEPENDENCY="A dependency that does not exist",
            TASK__SELF_DEPENDENCY="A task that depends on itself",
            TASK__UNKNOWN_AGENT="An agent that does not exist",
        ),
        **_entries(
            "unicode",
            _HIDDEN,
            "nothing to do unless they were meant",
            UNICODE__TAG="Tag characters, which can carry a hidden message",
            UNICODE__BIDI="Bidirectional controls, which show text in another order",
            UNICODE__VARIATION="Repeated variation selectors, which can carry hidden data",
        ),
        **_entries(
            "unicode",
            (),
            "nothing to do unless they were meant",
            UNICODE__INVISIBLE="Characters of no width",
            UNICODE__CONTROL="Control characters",
        ),
        **_entries(
            "secrets",
            ("LLM02", "ASI03"),
            "take it out, and revoke it if it was sent elsewhere",
            SECRET="A secret in text",  # noqa: S106 - a title
        ),
        **_entries(
            "secrets",
            ("LLM02",),
            "leave it out where it is not needed",
            PERSONAL="Personal data in text",
        ),
        **_entries(
            "secrets",
            ("LLM01", "LLM02"),
            "check where the text came from",
            PLACEHOLDER__FORGED="Text from outside that names a placeholder of the run",
        ),
        **_entries(
            "markup",
            ("LLM05", "ASI05"),
            "escape it where it is rendered",
            MARKUP__SCRIPT="An element that runs or embeds code",
            MARKUP__EVENT_HANDLER="An HTML event handler",
            MARKUP__SCRIPT_URL="A script URL",
            MARKUP__DATA_URL="A data URL",
            CODE__SQL="SQL as it is used in injections",
        ),
        **_entries(
            "injection",
            ("LLM01", "ASI01"),
            "rephrase it; quote text you only talk about",
            INJECTION__DIRECT="An attempt to overrule the instructions",
        ),
        **_entries(
            "injection",
            ("LLM01", "ASI01", "ASI06"),
            "check where the text came from",
            INJECTION__INDIRECT="Instructions addressed to a model inside data",
        ),
        **_entries(
            "report",
            ("LLM10",),
            "send it in smaller parts, and report it if that fails too",
            DETECTOR__FAILED="A detector failed on a value",
            DETECTOR__LATE="A detector had no time for a value",
        ),
        **_entries(
            "output",
            ("LLM07", "LLM02"),
            "do not show the answer; change what was told",
            OUTPUT__CANARY="A model told the mark in its instructions",
            OUTPUT__PROMPT_LEAK="A model told its instructions",
        ),
        **_entries(
            "output",
            ("LLM05", "LLM02", "ASI02"),
            "allow the host if it is meant",
            OUTPUT__EXFILTRATION="An address in an answer that would carry data elsewhere",
        ),
        **_entries(
            "output",
            ("LLM05", "ASI05"),
            "show the answer without the address",
            OUTPUT__SCRIPT_URL="An address in an answer that runs a script",
            OUTPUT__DATA_URL="An address in an answer that holds a document",
        ),
        **_entries(
            "input",
            (),
            "correct the line",
            INPUT__NOT_JSON="A line of input that is not JSON",
            INPUT__INVALID="A line of input with a field that is missing or wrong",
        ),
        **_entries(
            "report",
            (),
            "raise max_findings to see them",
            REPORT__MORE="More findings than a report holds",
        ),
    }
)
# What a code of no family is taken for; a detector added from outside may bring its own.
_OTHER = Entry(code="", title="A finding of another detector", detector="other")

_RULES = {
    "secrets": ("secret_rules.toml", "personal_rules.toml"),
    "injection": (
        "injection_rules.toml",
        "injection_model.npz",
        "look_alikes.toml",
        "confusables.toml",
        "letter_pairs.txt",
    ),
}


def entry(code: str) -> Entry:
    """What is known of `code`, by itself or by its family."""
    known = CATALOGUE.get(code)
    while known is None and "." in code:
        code = code.rpartition(".")[0]
        known = CATALOGUE.get(code)
    return known or _OTHER


@cache
def detector_version(detector: str) -> str:
    """The release of the package; for a detector that works by rules or weights also the digest of those."""
    try:
        release = installed("omninode")
    except PackageNotFoundError:  # run from a source tree that nobody installed
        release = "unreleased"
    if detector not in _RULES:
        return release
    digest = hashlib.sha256()
    for name in _RULES[detector]:
        digest.update(files(__package__).joinpath(name).read_bytes())
    return f"{release}+{digest.hexdigest()[:8]}"
