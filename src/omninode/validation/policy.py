"""How strict validation is: the thresholds, the limits and what is done about a finding, as one frozen value.

A policy is a `Limits` with opinions added, so whatever takes limits takes a policy. What holds for one trust level or
one route only is an `Override` laid over the rest.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from enum import StrEnum
from types import MappingProxyType
from typing import Any

from omninode.core.errors import InvalidArgumentError
from omninode.validation.limits import Limits
from omninode.validation.report import Action, strength

__all__ = ["Override", "Trust", "ValidationPolicy"]

# What the detectors themselves change may be answered more strictly, not undone: that is said by other settings.
_CHANGING = {
    "UNICODE": "hidden characters are always removed",
    "SECRET": "set redact_secrets to false, or allowed_values",
    "PERSONAL": "set personal_data, or allowed_values",
    "PLACEHOLDER": "a forged placeholder is always broken up",
}
NOTING = ("INJECTION", "MARKUP", "CODE")
"""The families of what is only noted by the detector: the policy may take it out of the text."""


class Trust(StrEnum):
    """Where a text came from, most trusted first. Only SYSTEM, INTERNAL and USER text is meant to instruct."""

    SYSTEM = "system"
    INTERNAL = "internal"
    USER = "user"
    AGENT = "agent"
    TOOL = "tool"
    RETRIEVED = "retrieved"

    @property
    def may_instruct(self) -> bool:
        """Whether instructions in such a text are to be followed."""
        return self in {Trust.SYSTEM, Trust.INTERNAL, Trust.USER}


def _no_actions() -> Mapping[str, Action]:
    return MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class Override:
    """What a policy does otherwise for one trust level or route; None keeps what the policy says.

    `actions` and `allow_phrases` are added to the policy's own.
    """

    block_score: float | None = None
    flag_score: float | None = None
    drop_score: float | None = None
    redact_secrets: bool | None = None
    personal_data: Action | None = None
    shadow: bool | None = None
    fails_closed: bool | None = None
    actions: Mapping[str, Action] = field(default_factory=_no_actions)
    allow_phrases: frozenset[str] = frozenset()

    def then(self, later: Override) -> Override:
        """Both, with `later` winning where they differ."""
        return replace(
            self,
            **later._set(),
            actions={**self.actions, **later.actions},
            allow_phrases=self.allow_phrases | later.allow_phrases,
        )

    def on(self, policy: ValidationPolicy, trusts: Mapping[Trust, Override]) -> ValidationPolicy:
        """`policy` with this laid over it, and `trusts` as its trust levels."""
        return replace(
            policy,
            **self._set(),
            actions={**policy.actions, **self.actions},
            allow_phrases=policy.allow_phrases | self.allow_phrases,
            trusts=trusts,
            routes={},
        )

    # Any: fields of several types, handed on by name.
    def _set(self) -> dict[str, Any]:
        named = {each.name: getattr(self, each.name) for each in fields(self)}
        return {
            name: value
            for name, value in named.items()
            if value is not None and name not in {"actions", "allow_phrases"}
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class ValidationPolicy(Limits):
    """Limits, and what is done about what is found.

    Attributes:
        known_agents: names a task may use; None accepts any name.
        block_score: an injection score (0 to 1) from which a prompt or task is refused. The default needs either an
            unmistakable override or two strong rules together; rules alone are too weak to refuse more than that.
        flag_score: a score from which a finding is reported at all.
        drop_score: a score from which a context item is left out of the run.
        redact_secrets: whether secrets are replaced; they are reported either way.
        personal_data: what is done about e-mail and IP addresses and telephone numbers: REDACT, FLAG or ALLOW. They are
            flagged by default, since a request to write to somebody needs the address; with a vault, which puts them
            back, REDACT costs nothing.
        allowed_values: secrets and personal data that are no finding: whole values, or the domain of an address.
        allowed_hosts: hosts that addresses in a model's answer may carry data to; one that begins with a dot stands for
            all below it.
        strip_links: whether addresses in an answer that would carry data elsewhere are taken out of it; they are
            reported either way.
        shadow: nothing that the detectors find changes or refuses anything; the report says what would have been done.
            The limits hold all the same: what is too large or no task list cannot be used.
        actions: what is done about findings, by code or by the family in front of the dot, instead of the default. Of
            INJECTION, MARKUP and CODE any, where REDACT cuts out what was found and nothing around it; of what the detectors change (SECRET, PERSONAL, UNICODE,
            PLACEHOLDER) DROP and BLOCK. A part of a prompt or task cannot be dropped, so there DROP refuses.
        allow_phrases: phrases in which neither injection nor markup is looked for, letter by letter as they are here.
            Text around them is judged as if they were not there; what they waived is counted.
        deadline_s: seconds the detectors have for one call of the validator; None: as long as they take.
        fails_closed: whether text that a detector failed on, or had no time for, is refused (DROP for context). Left
            open, it is passed on with a finding that says so.
        trusts: what is done otherwise for text of a trust level.
        routes: what is done otherwise on a route, whose name the caller gives; it wins over the trust level.
        thread_above_bytes: inputs larger than about this are worked on in a thread that pauses, so that the loop is not held.
        max_findings: the most findings a report holds; what is beyond is counted in one REPORT.MORE.
    """

    known_agents: frozenset[str] | None = None
    block_score: float = 0.85
    flag_score: float = 0.35
    drop_score: float = 0.7
    redact_secrets: bool = True
    personal_data: Action = Action.FLAG
    allowed_values: frozenset[str] = frozenset()
    allowed_hosts: frozenset[str] = frozenset()
    strip_links: bool = True
    shadow: bool = False
    actions: Mapping[str, Action] = field(default_factory=_no_actions)
    allow_phrases: frozenset[str] = frozenset()
    deadline_s: float | None = 30.0
    fails_closed: bool = True
    trusts: Mapping[Trust, Override] = field(default_factory=lambda: MappingProxyType({}))
    routes: Mapping[str, Override] = field(default_factory=lambda: MappingProxyType({}))
    thread_above_bytes: int = 1_000
    max_findings: int = 200

    def __post_init__(self) -> None:
        # A zero-argument super() breaks in a slotted dataclass: the class it closes over is replaced.
        Limits.__post_init__(self)
        self._check_numbers()
        if self.personal_data not in {Action.REDACT, Action.FLAG, Action.ALLOW}:
            raise InvalidArgumentError(f"personal_data is {self.personal_data}; choose redact, flag or allow")
        object.__setattr__(self, "allowed_values", frozenset(self.allowed_values))
        object.__setattr__(self, "allowed_hosts", frozenset(host.lower() for host in self.allowed_hosts))
        object.__setattr__(self, "allow_phrases", frozenset(self.allow_phrases))
        if not all(phrase.strip() for phrase in self.allow_phrases):
            raise InvalidArgumentError("allow_phrases holds an empty phrase; take it out")
        if self.known_agents is not None and not isinstance(self.known_agents, frozenset):
            object.__setattr__(self, "known_agents", frozenset(self.known_agents))
        for code, action in self.actions.items():
            _check_action(code, action)
        # What one override makes of the policy is checked now, not when the first text of its kind arrives.
        for route in self.routes:
            self.for_route(route)
        for trust in self.trusts:
            self.for_trust(trust)

    def _check_numbers(self) -> None:
        for name in ("block_score", "flag_score", "drop_score"):
            if not 0.0 < getattr(self, name) <= 1.0:
                raise InvalidArgumentError(f"{name} is {getattr(self, name)}; choose above 0 and at most 1")
        if self.flag_score > min(self.block_score, self.drop_score):
            raise InvalidArgumentError(
                f"flag_score is {self.flag_score}, above block_score or drop_score; what is refused must be reported"
            )
        for name in ("thread_above_bytes", "max_findings"):
            if getattr(self, name) < 1:
                raise InvalidArgumentError(f"{name} is {getattr(self, name)}; choose at least 1")
        if self.deadline_s is not None and not self.deadline_s > 0:
            raise InvalidArgumentError(f"deadline_s is {self.deadline_s}; choose more than 0 seconds, or None")

    def for_route(self, route: str | None) -> ValidationPolicy:
        """The policy on `route`; this one when nothing is said of it."""
        over = self.routes.get(route) if route is not None else None
        if over is None:
            return self
        return over.on(self, {trust: own.then(over) for trust, own in self.trusts.items()})

    def check_route(self, route: str | None) -> None:
        """Raise InvalidArgumentError for a route that the policy says nothing of; None is no route and always right."""
        if route is not None and route not in self.routes:
            known = f"; there are {', '.join(sorted(self.routes))}" if self.routes else ", nor any other"
            raise InvalidArgumentError(
                f"the policy has no route {route!r}{known}; write [guard.route.{route}] into it, or leave the route out"
            )

    def for_trust(self, trust: Trust) -> ValidationPolicy:
        """The policy for text of `trust`; this one when nothing is said of it. Ask for the route first."""
        over = self.trusts.get(trust)
        return self if over is None else over.on(self, {})

    def action_for(self, code: str) -> Action | None:
        """What `actions` says about `code` or its family; None when nothing."""
        if not self.actions:
            return None
        return self.actions.get(code) or self.actions.get(code.partition(".")[0])


def _check_action(code: str, action: Action) -> None:
    family = code.partition(".")[0]
    if family in _CHANGING:
        if strength(action) < strength(Action.DROP):
            raise InvalidArgumentError(f"actions: {code} cannot be set to {action}; {_CHANGING[family]}")
    elif family not in NOTING:
        known = ", ".join((*NOTING, *_CHANGING))
        raise InvalidArgumentError(f"actions: {code} cannot be set; the families are {known}")
