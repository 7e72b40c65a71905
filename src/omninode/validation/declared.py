"""A policy as it is written down: the table `[guard]` of a TOML file, read strictly."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from dataclasses import fields
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from omninode.core.errors import ConfigurationError, InvalidArgumentError
from omninode.validation.limits import Limits
from omninode.validation.policy import Override, Trust, ValidationPolicy
from omninode.validation.report import Action

__all__ = ["GuardEntry", "GuardOverrideEntry", "parse_policy", "read_policy"]


# Any: what pydantic's Field takes and gives.
def _key(name: str, doc: str, **bounds: Any) -> Any:
    """A key of `[guard]` with the default that the policy has."""
    default = next(each.default for each in fields(ValidationPolicy) if each.name == name)
    return Field(default, description=doc, **bounds)


def _empty(kind: Any, doc: str) -> Any:
    return Field(default_factory=kind, description=doc)


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class GuardOverrideEntry(_Entry):
    """`[guard.trust.LEVEL]` and `[guard.route.NAME]`: what is done otherwise there; what is unset stays as it is."""

    block_score: float | None = Field(
        None, description="injection score from which a prompt or task is refused", gt=0, le=1
    )
    flag_score: float | None = Field(None, description="injection score from which a finding is reported", gt=0, le=1)
    drop_score: float | None = Field(
        None, description="injection score from which a context item is left out", gt=0, le=1
    )
    redact_secrets: bool | None = Field(None, description="replace secrets")
    personal_data: Action | None = Field(None, description="`redact`, `flag` or `allow` personal data")
    shadow: bool | None = Field(None, description="change and refuse nothing, only report")
    fails_closed: bool | None = Field(None, description="refuse what a detector failed on")
    actions: dict[str, Action] = _empty(dict, "what is done about a code or family of findings")
    allow_phrases: frozenset[str] = _empty(frozenset, "phrases in which nothing is looked for")

    def override(self) -> Override:
        """The same as the policy takes it."""
        return Override(**{name: getattr(self, name) for name in type(self).model_fields})


class GuardEntry(_Entry):
    """`[guard]`: how input is validated."""

    block_score: float = _key(
        "block_score", "injection score (0 to 1) from which a prompt or task is refused", gt=0, le=1
    )
    flag_score: float = _key("flag_score", "injection score from which a finding is reported", gt=0, le=1)
    drop_score: float = _key("drop_score", "injection score from which a context item is left out", gt=0, le=1)
    redact_secrets: bool = _key("redact_secrets", "replace secrets; they are reported either way")
    personal_data: Action = _key("personal_data", "`redact`, `flag` or `allow` addresses and telephone numbers")
    allowed_values: frozenset[str] = _key("allowed_values", "secrets and personal data that are none")
    allowed_hosts: frozenset[str] = _key("allowed_hosts", "hosts that addresses in an answer may carry data to")
    strip_links: bool = _key("strip_links", "take addresses that carry data elsewhere out of an answer")
    shadow: bool = _key("shadow", "change and refuse nothing that a detector found, only report what would have been")
    actions: dict[str, Action] = _empty(dict, "what is done about a code or family of findings")
    allow_phrases: frozenset[str] = _key("allow_phrases", "phrases in which nothing is looked for")
    deadline_s: float = _key("deadline_s", "seconds the detectors have for one call", gt=0, le=86_400)
    fails_closed: bool = _key("fails_closed", "refuse what a detector failed on or had no time for")
    max_findings: int = _key("max_findings", "findings a report holds at most", ge=1, le=100_000)
    limits: dict[str, int] = _empty(dict, "limits by name, for example `max_prompt_bytes`")
    trust: dict[Trust, GuardOverrideEntry] = _empty(dict, "a table for each trust level that differs")
    route: dict[str, GuardOverrideEntry] = _empty(dict, "a table for each route that differs")

    @model_validator(mode="after")
    def _makes_a_policy(self) -> GuardEntry:
        try:
            self.policy()
        except InvalidArgumentError as error:
            raise ValueError(error.message) from None
        return self

    def policy(self, *, known_agents: Iterable[str] | None = None) -> ValidationPolicy:
        """The policy that the table describes, for these agents."""
        known = {each.name for each in fields(Limits)}
        unknown = sorted(set(self.limits) - known)
        if unknown:
            raise InvalidArgumentError(f"limits: there is no {unknown[0]}; there are {', '.join(sorted(known))}")
        # Any: fields of several types, handed on by name.
        plain: dict[str, Any] = {
            name: getattr(self, name) for name in type(self).model_fields if name not in _OTHERWISE
        }
        plain |= self.limits
        return ValidationPolicy(
            **plain,
            known_agents=None if known_agents is None else frozenset(known_agents),
            trusts={trust: entry.override() for trust, entry in self.trust.items()},
            routes={route: entry.override() for route, entry in self.route.items()},
        )


_OTHERWISE = frozenset({"limits", "trust", "route"})


def read_policy(path: Path) -> ValidationPolicy:
    """The policy in the table `[guard]` of the file; other tables of it are not looked at.

    Raises ConfigurationError when there is no such file or table, or what is in it cannot be meant.
    """
    try:
        return parse_policy(path.read_bytes(), name=str(path))
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be read as TOML ({error})") from None


def parse_policy(data: bytes, *, name: str) -> ValidationPolicy:
    """The policy that `data`, the contents of a file called `name`, holds; raises ConfigurationError as above."""
    try:
        tables = tomllib.loads(data.decode("utf-8"))
    except RecursionError:
        raise ConfigurationError(f"{name}: cannot be read as TOML (it nests too deep)") from None
    except ValueError as error:  # of the decoder, of TOML, and of a number with thousands of digits
        raise ConfigurationError(f"{name}: cannot be read as TOML ({error})") from None
    if "guard" not in tables:
        raise ConfigurationError(f"{name}: there is no table [guard] in it; write the policy there")
    try:
        return GuardEntry.model_validate(tables["guard"]).policy()
    except ValidationError as error:
        told = "; ".join(f"{'.'.join(map(str, ('guard', *each['loc'])))}: {each['msg']}" for each in error.errors())
        raise ConfigurationError(f"{name}: {told}") from None
