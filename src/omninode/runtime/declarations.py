"""The tables of `omninode.toml` that declare things: deployments, agents, context sources."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, HttpUrl

__all__ = ["AgentEntry", "DeploymentEntry", "SourceEntry"]

Role = Literal["planner", "voter", "worker"]


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class DeploymentEntry(_Entry):
    """`[[deployments]]`: one model at one endpoint. The key is named, never written into the file."""

    name: str = Field(min_length=1, max_length=100)
    protocol: Literal["openai", "anthropic"] = "openai"
    base_url: HttpUrl
    model: str = Field(min_length=1)
    api_key_env: str | None = None
    weight: float = Field(default=1.0, gt=0, le=1000)
    roles: frozenset[Role] = frozenset({"planner", "voter", "worker"})
    timeout_s: float = Field(default=60.0, gt=0, le=3600)
    max_concurrency: int = Field(default=32, ge=1, le=10_000)
    input_usd_per_million: float | None = Field(default=None, ge=0)
    output_usd_per_million: float | None = Field(default=None, ge=0)


class AgentEntry(_Entry):
    """`[[agents]]`: a named worker; a name that ships with OmniNode replaces the shipped one."""

    name: str = Field(min_length=1, max_length=64)
    purpose: str = Field(min_length=1)
    instructions: str = Field(min_length=1)
    task_types: tuple[str, ...] = ()
    deployment: str | None = None


class SourceEntry(_Entry):
    """`[[sources]]`: an HTTP retrieval service that answers `{"results": [...]}`."""

    name: str = Field(min_length=1, max_length=100)
    url: HttpUrl
    timeout_s: float = Field(default=5.0, gt=0, le=600)
