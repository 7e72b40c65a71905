"""Which deployments there are: declared ones, or those found from what is set on this machine."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

from omninode.core.errors import ConfigurationError
from omninode.providers.catalog import FoundDeployment, discover
from omninode.providers.http import HttpClient
from omninode.providers.pricing import ModelPrice
from omninode.routing.deployment import DeploymentConfig
from omninode.runtime.declarations import DeploymentEntry
from omninode.runtime.settings import Settings

__all__ = ["NO_MODEL", "find_deployments"]

NO_MODEL = (
    "no model is configured: set OPENAI_API_KEY (with OPENAI_BASE_URL for another endpoint) or ANTHROPIC_API_KEY, "
    "start Ollama, or declare [[deployments]] in omninode.toml; to try without a model add --simulate"
)


async def find_deployments(settings: Settings, http: HttpClient) -> Sequence[DeploymentConfig]:
    """The declared deployments; with none declared, the ones found. Empty when there is no model at all."""
    if settings.deployments:
        return [_declared(entry, settings) for entry in settings.deployments]
    openai_key, anthropic_key = settings.openai_api_key, settings.anthropic_api_key
    found = await discover(
        http,
        openai_api_key=openai_key.get_secret_value() if openai_key else None,
        openai_base_url=settings.openai_base_url,
        anthropic_api_key=anthropic_key.get_secret_value() if anthropic_key else None,
        # A local model beside a named one would only slow it down.
        ollama_url=None if openai_key or anthropic_key or settings.openai_base_url else settings.ollama_url,
    )
    return [_found(entry) for entry in found]


def _found(entry: FoundDeployment) -> DeploymentConfig:
    return DeploymentConfig(
        name=entry.name,
        protocol=entry.protocol,
        base_url=entry.base_url,
        model=entry.model,
        api_key=entry.api_key,
        # Every model found votes; the preferred one of each endpoint also plans and works.
        roles=frozenset({"planner", "voter", "worker"} if entry.is_first else {"voter"}),
        # A model on this machine is slow to load and runs few calls at a time.
        timeout_s=300.0 if entry.is_local else 60.0,
        max_concurrency=2 if entry.is_local else 16,
    )


def _declared(entry: DeploymentEntry, settings: Settings) -> DeploymentConfig:
    key = settings.api_key(entry.api_key_env) if entry.api_key_env else None
    if entry.api_key_env and key is None:
        raise ConfigurationError(
            f"deployment {entry.name!r}: the variable {entry.api_key_env} that holds its key is not set"
        )
    return DeploymentConfig(
        name=entry.name,
        protocol=entry.protocol,
        base_url=str(entry.base_url).rstrip("/"),
        model=entry.model,
        api_key=key,
        weight=entry.weight,
        roles=frozenset(entry.roles),
        timeout_s=entry.timeout_s,
        max_concurrency=entry.max_concurrency,
        price=_price(entry),
        is_streaming=entry.streaming,
        sends_deadline=entry.send_deadline,
    )


def _price(entry: DeploymentEntry) -> ModelPrice | None:
    if entry.input_usd_per_million is None or entry.output_usd_per_million is None:
        return None
    return ModelPrice(
        input_usd=Decimal(str(entry.input_usd_per_million)), output_usd=Decimal(str(entry.output_usd_per_million))
    )
