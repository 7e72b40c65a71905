"""Agents: named workers, each with a purpose, instructions and the task types it is good at."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from omninode.core.errors import ConfigurationError

__all__ = ["Agent", "AgentCatalog"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Agent:
    """A named worker. `deployment` pins it to one deployment; None lets the router choose among the workers."""

    name: str
    purpose: str
    instructions: str
    task_types: tuple[str, ...] = ()
    deployment: str | None = None

    @classmethod
    def from_mapping(cls, fields: Mapping[str, Any]) -> Agent:
        """The agent that a table of a TOML file declares; raises ConfigurationError for a missing or unknown key."""
        known = {"name", "purpose", "instructions", "task_types", "deployment"}
        unknown = sorted(set(fields) - known)
        missing = sorted({"name", "purpose", "instructions"} - set(fields))
        if unknown or missing:
            what = f"unknown key {unknown[0]!r}" if unknown else f"no {missing[0]!r}"
            raise ConfigurationError(
                f"agent {fields.get('name', '?')!r}: {what}; the keys are {', '.join(sorted(known))}"
            )
        return cls(
            name=str(fields["name"]),
            purpose=str(fields["purpose"]),
            instructions=str(fields["instructions"]).strip(),
            task_types=tuple(str(kind) for kind in fields.get("task_types", ())),
            deployment=fields.get("deployment"),
        )

    def as_offer(self) -> Mapping[str, Any]:
        """What a planner is told about this agent."""
        return {"name": self.name, "purpose": self.purpose, "task_types": list(self.task_types)}


class AgentCatalog(Mapping[str, Agent]):
    """The agents a run may use, by name."""

    def __init__(self, agents: Iterable[Agent]) -> None:
        self._agents = {agent.name: agent for agent in agents}
        if not self._agents:
            raise ConfigurationError("there is no agent; declare one under [[agents]] in omninode.toml")

    @classmethod
    def default(cls, *, extra: Iterable[Agent] = ()) -> AgentCatalog:
        """The agents that come with OmniNode, with `extra` added; an extra one replaces its namesake."""
        text = files("omninode.workflow").joinpath("agents.toml").read_text(encoding="utf-8")
        shipped = [Agent.from_mapping(entry) for entry in tomllib.loads(text)["agents"]]
        return cls([*shipped, *extra])

    def __getitem__(self, name: str) -> Agent:
        return self._agents[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._agents)

    def __len__(self) -> int:
        return len(self._agents)
