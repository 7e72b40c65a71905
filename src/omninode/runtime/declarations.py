"""The tables of `omninode.toml` that declare things: deployments, agents, context sources, the spool's promises."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, HttpUrl, model_validator

from omninode.core.errors import ConfigurationError
from omninode.storage.kept import KEPT_DAYS
from omninode.storage.policies import DEFAULT_POLICIES, Durability, SpoolConfig, TablePolicy, WhenFull

__all__ = ["AgentEntry", "DeploymentEntry", "SourceEntry", "SpoolEntry", "SpoolTableEntry"]

Role = Literal["planner", "voter", "worker"]

_MIB = 1024 * 1024
# These are written in the transactions of what they tell about, and never wait by themselves.
_WRITTEN_AT_ONCE = {"batch_operation_logs", "dead_letters", "rollup_minutes", "rollup_hours"}
_SPOOLED = sorted(KEPT_DAYS.keys() - _WRITTEN_AT_ONCE)


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


class SpoolTableEntry(_Entry):
    """`[spool.tables.NAME]`: what is promised of the rows of one table; what is unset stays as it ships."""

    when_full: Literal["block", "drop_new", "drop_oldest", "sample"] | None = _key(
        None, "what becomes of a row when memory and disk are full"
    )
    sample: int | None = _key(
        None, "for `sample`: one row in so many is taken from three quarters of the disk's bound on", ge=1, le=1_000_000
    )
    durability: Literal["telemetry", "ledger"] | None = _key(
        None, "`ledger`: each row is synced to the disk at once, and is neither displaced nor thinned"
    )

    def policy(self, shipped: TablePolicy) -> TablePolicy:
        """The promise, as it differs from the `shipped` one; raises ConfigurationError."""
        return replace(
            shipped,
            when_full=shipped.when_full if self.when_full is None else WhenFull(self.when_full),
            sample=shipped.sample if self.sample is None else self.sample,
            durability=shipped.durability if self.durability is None else Durability(self.durability),
        )


class SpoolEntry(_Entry):
    """`[spool]`: how much may wait for the database, and what becomes of it when that is not enough."""

    memory_rows: int = _key(20_000, "rows that wait in memory, per file on disk", ge=1, le=10_000_000)
    memory_mib: int = _key(32, "their size in MiB", ge=1, le=65_536)
    disk_mib: int = _key(1024, "size in MiB of what waits on disk, for each kind of rows", ge=1, le=16_777_216)
    max_age_days: float = _key(7.0, "days that rows wait while the database is away", gt=0, le=3_650)
    tables: Mapping[str, SpoolTableEntry] = _key({}, "`[spool.tables.NAME]`, below")

    def config(self) -> SpoolConfig:
        """The same as the spool takes it; raises ConfigurationError."""
        shipped = SpoolConfig()
        policies = {**DEFAULT_POLICIES}
        for name, entry in self.tables.items():
            if name not in _SPOOLED:
                raise ConfigurationError(f"no rows of {name!r} wait in the spool; the tables are {', '.join(_SPOOLED)}")
            try:
                policies[name] = entry.policy(shipped.policy(name))
            except ConfigurationError as error:
                raise ConfigurationError(f"tables.{name}: {error.message}") from error
        return SpoolConfig(
            memory_rows=self.memory_rows,
            memory_bytes=self.memory_mib * _MIB,
            disk_bytes=self.disk_mib * _MIB,
            segment_bytes=min(shipped.segment_bytes, self.disk_mib * _MIB // 8),
            max_age_s=self.max_age_days * 86_400,
            tables=policies,
        )

    @model_validator(mode="after")
    def _fits(self) -> Self:
        try:
            self.config()
        except ConfigurationError as error:
            raise ValueError(error.message) from error
        return self
