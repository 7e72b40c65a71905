"""The tables of `omninode.toml` that declare things: deployments, agents, context sources."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, HttpUrl

__all__ = ["AgentEntry", "DeploymentEntry", "SourceEntry"]

Role = Literal["planner", "voter", "worker"]


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


# Any: what pydantic's Field takes and gives.
def _key(default: Any, doc: str, **bounds: Any) -> Any:
    return Field(default, description=doc, **bounds)


class DeploymentEntry(_Entry):
    """`[[deployments]]`: one model at one endpoint. The key is named, never written into the file."""

    name: str = _key(..., "what it is called in reports, agents and metrics", min_length=1, max_length=100)
    protocol: Literal["openai", "anthropic"] = _key("openai", "what its endpoint speaks")
    base_url: HttpUrl = _key(..., "the endpoint; for `openai` with its `/v1`")
    model: str = _key(..., "the model's name at that endpoint", min_length=1)
    api_key_env: str | None = _key(None, "the environment variable that holds its key; unset: no key is sent")
    weight: float = _key(
        1.0, "its share of the calls, and what its vote counts; 0: stands by for the others", ge=0, le=1000
    )
    roles: frozenset[Role] = _key(frozenset({"planner", "voter", "worker"}), "what it may be asked to do")
    timeout_s: float = _key(60.0, "seconds one attempt may take", gt=0, le=3600)
    max_concurrency: int = _key(32, "calls at once", ge=1, le=10_000)
    streaming: bool = _key(
        False, "fetch answers piece by piece, which measures the time to the first token and notices a stall earlier"
    )
    send_deadline: bool = _key(
        False, "say in the header `x-deadline-ms` how long the answer is waited for; for servers that know it"
    )
    input_usd_per_million: float | None = _key(None, "price of a million tokens sent; unset: the price list's", ge=0)
    output_usd_per_million: float | None = _key(None, "price of a million tokens received", ge=0)


class AgentEntry(_Entry):
    """`[[agents]]`: a named worker; a name that ships with OmniNode replaces the shipped one."""

    name: str = _key(..., "what tasks call it", min_length=1, max_length=64)
    purpose: str = _key(..., "one line that the planner chooses by", min_length=1)
    instructions: str = _key(..., "what the model is told when it works as this agent", min_length=1)
    task_types: tuple[str, ...] = _key((), "kinds of task it is good at")
    deployment: str | None = _key(None, "the deployment it always uses; unset: any worker")


class SourceEntry(_Entry):
    """`[[sources]]`: an HTTP retrieval service that answers `{"results": [...]}`."""

    name: str = _key(..., "what it is called in reports", min_length=1, max_length=100)
    url: HttpUrl = _key(..., 'where `{"query": …, "max_results": …}` is posted')
    timeout_s: float = _key(5.0, "seconds it is given", gt=0, le=600)
    api_key_env: str | None = _key(None, "the environment variable that holds its key, sent as a bearer token")
