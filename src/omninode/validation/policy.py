"""How strict validation is: the thresholds and the limits, as one frozen value.

A policy is a `Limits` with opinions added, so whatever takes limits takes a policy.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from omninode.core.errors import InvalidArgumentError
from omninode.validation.limits import Limits
from omninode.validation.report import Action

__all__ = ["Trust", "ValidationPolicy"]


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
        thread_above_bytes: inputs larger than this are worked on in a thread, so that the loop is not held.
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
    thread_above_bytes: int = 50_000
    max_findings: int = 200

    def __post_init__(self) -> None:
        # A zero-argument super() breaks in a slotted dataclass: the class it closes over is replaced.
        Limits.__post_init__(self)
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
        if self.personal_data not in {Action.REDACT, Action.FLAG, Action.ALLOW}:
            raise InvalidArgumentError(f"personal_data is {self.personal_data}; choose redact, flag or allow")
        object.__setattr__(self, "allowed_values", frozenset(self.allowed_values))
        object.__setattr__(self, "allowed_hosts", frozenset(host.lower() for host in self.allowed_hosts))
        if self.known_agents is not None and not isinstance(self.known_agents, frozenset):
            object.__setattr__(self, "known_agents", frozenset(self.known_agents))
