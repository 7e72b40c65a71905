"""One model at one endpoint: how it is declared, and what is kept about it while the program runs."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import urlsplit

from omninode.core.errors import ConfigurationError
from omninode.providers.pricing import ModelPrice

__all__ = ["ALL_ROLES", "DeploymentConfig", "Protocol"]

Protocol = Literal["openai", "anthropic"]
ALL_ROLES = frozenset({"planner", "voter", "worker"})

# Hosts whose prices are published under the provider's own name.
_PROVIDERS = {
    "api.openai.com": "openai",
    "api.anthropic.com": "anthropic",
    "api.groq.com": "groq",
    "api.mistral.ai": "mistral",
    "api.deepseek.com": "deepseek",
    "api.together.xyz": "together",
    "api.fireworks.ai": "fireworks",
    "api.cerebras.ai": "cerebras",
    "api.x.ai": "x-ai",
    "api.perplexity.ai": "perplexity",
    "openrouter.ai": "openrouter",
    "generativelanguage.googleapis.com": "google",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class DeploymentConfig:
    """A model at an endpoint, with what may be asked of it.

    `roles` are the parts it may play. `weight` is its share of the calls of a role; a deployment of weight 0 stands
    by and is called only when the others of its role have failed. `timeout_s` bounds one attempt, `max_concurrency`
    how many run at once. `is_streaming` fetches answers as streams, which measures the time to the first token and
    notices a stalled answer earlier. `price` beats the published price; `provider` names whose price that is and is
    derived from the host of `base_url` where it is not given. The key is in no repr and no message.
    """

    name: str
    protocol: Protocol
    base_url: str
    model: str
    api_key: str | None = field(default=None, repr=False)
    weight: float = 1.0
    roles: frozenset[str] = ALL_ROLES
    timeout_s: float = 60.0
    max_concurrency: int = 16
    price: ModelPrice | None = None
    provider: str = ""
    is_streaming: bool = False
    is_simulated: bool = False

    def __post_init__(self) -> None:
        where = f"deployment {self.name!r}"
        if not self.name:
            raise ConfigurationError("a deployment without a name; give it one")
        if self.protocol not in {"openai", "anthropic"}:
            raise ConfigurationError(f"{where}: protocol {self.protocol!r}; it is 'openai' or 'anthropic'")
        if not self.model:
            raise ConfigurationError(f"{where}: no model named")
        parts = urlsplit(self.base_url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ConfigurationError(f"{where}: base_url is not an http or https address")
        if not math.isfinite(self.weight) or self.weight < 0:
            raise ConfigurationError(f"{where}: weight is {self.weight}; zero or more")
        if not self.roles:
            raise ConfigurationError(f"{where}: no roles; name at least one of {', '.join(sorted(ALL_ROLES))}")
        if not math.isfinite(self.timeout_s) or self.timeout_s <= 0:
            raise ConfigurationError(f"{where}: timeout_s is {self.timeout_s}; more than zero")
        if self.max_concurrency < 1:
            raise ConfigurationError(f"{where}: max_concurrency is {self.max_concurrency}; at least 1")
        if not self.provider:
            object.__setattr__(self, "provider", _provider_of(parts.hostname, is_simulated=self.is_simulated))

    @property
    def is_standby(self) -> bool:
        """Whether it is called only when others have failed."""
        return self.weight == 0


def _provider_of(host: str, *, is_simulated: bool) -> str:
    if is_simulated:
        return "simulated"
    return _PROVIDERS.get(host, host)
