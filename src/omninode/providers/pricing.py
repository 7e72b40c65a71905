"""What a call cost: the caller's own prices first, then the public price data of genai-prices, else unpriced.

A price is looked up once per provider and model and kept. The data takes about 0.3 s of CPU to load, so it is loaded
by the first lookup that needs it, and `preload` does that on a thread while the first model call is under way.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal
from typing import TYPE_CHECKING

from omninode.core.errors import ConfigurationError
from omninode.core.usage import Cost, Usage

if TYPE_CHECKING:
    from genai_prices.types import ModelPrice as PublishedPrice

__all__ = ["ModelPrice", "PriceBook"]

_MAX_KNOWN = 4_096

Pricer = Callable[[Usage], Cost]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelPrice:
    """Dollars per million tokens. `cache_read_usd` None means that reused input costs what other input costs."""

    input_usd: Decimal
    output_usd: Decimal
    cache_read_usd: Decimal | None = None

    def __post_init__(self) -> None:
        for name in ("input_usd", "output_usd", "cache_read_usd"):
            value = getattr(self, name)
            if value is not None and (not value.is_finite() or value < 0):
                raise ConfigurationError(f"price {name} is {value}; pass dollars per million tokens, zero or more")

    def cost(self, usage: Usage) -> Cost:
        """What `usage` costs, rounded to the nearest micro-dollar."""
        reused = usage.cache_read_tokens
        reused_usd = self.input_usd if self.cache_read_usd is None else self.cache_read_usd
        # A dollar per million tokens is a micro-dollar per token.
        amount = (
            self.input_usd * (usage.input_tokens - reused) + reused_usd * reused + self.output_usd * usage.output_tokens
        )
        return Cost(micro_usd=int(amount.to_integral_value(ROUND_HALF_UP)))


class PriceBook:
    """Knows what calls cost. `overrides` maps (provider, model) to a price, and beats the published data.

    Providers are named as in genai-prices ("openai", "anthropic", "groq", ...); any other name, such as that of a
    host, is unpriced unless there is an override. Safe from any thread.
    """

    def __init__(self, overrides: Mapping[tuple[str, str], ModelPrice] | None = None) -> None:
        self._overrides = dict(overrides or {})
        self._known: dict[tuple[str, str], Pricer] = {}
        self._lock = threading.Lock()

    def cost(self, provider: str, model: str, usage: Usage) -> Cost:
        """What `usage` of `model` costs at `provider`; `Cost.unpriced()` where nobody knows, never zero."""
        key = (provider, model)
        pricer = self._known.get(key)
        if pricer is None:
            pricer = self._resolved(key)
            with self._lock:
                if len(self._known) >= _MAX_KNOWN:  # when full: the oldest is forgotten and looked up again if needed
                    del self._known[next(iter(self._known))]
                self._known[key] = pricer
        return pricer(usage)

    def is_known(self, provider: str, model: str) -> bool:
        """Whether the price has been looked up already."""
        return (provider, model) in self._known

    async def preload(self, provider: str, model: str) -> None:
        """Look the price up on a thread, so that the first `cost` does not hold the event loop."""
        if not self.is_known(provider, model):
            await asyncio.to_thread(self.cost, provider, model, Usage())

    def _resolved(self, key: tuple[str, str]) -> Pricer:
        override = self._overrides.get(key)
        return override.cost if override is not None else _published(*key)


def _published(provider: str, model: str) -> Pricer:
    if "." in provider or provider in {"localhost", "simulated"}:
        return _unpriced  # a host or the simulator: not worth loading the data to find nothing
    from genai_prices import Usage as PublishedUsage
    from genai_prices import calc_price

    try:
        found = calc_price(PublishedUsage(), model_ref=model, provider_id=provider).model_price
    except LookupError:
        return _unpriced
    flat = _flat(found)
    if flat is not None:
        return flat.cost

    def tiered(usage: Usage) -> Cost:
        amount = found.calc_price(
            PublishedUsage(
                input_tokens=usage.input_tokens,
                output_tokens=usage.output_tokens,
                cache_read_tokens=usage.cache_read_tokens,
            )
        )["total_price"]
        return Cost(micro_usd=int((amount * 1_000_000).to_integral_value(ROUND_HALF_UP)))

    return tiered


def _flat(price: PublishedPrice) -> ModelPrice | None:
    """The price as three plain rates, None where it is not that simple (tiers by length of input)."""
    spent, written, reused = price.input_mtok, price.output_mtok, price.cache_read_mtok
    if isinstance(spent, Decimal) and isinstance(written, Decimal) and (reused is None or isinstance(reused, Decimal)):
        return ModelPrice(input_usd=spent, output_usd=written, cache_read_usd=reused)
    return None


def _unpriced(usage: Usage) -> Cost:  # noqa: ARG001 - the signature of a pricer
    return Cost.unpriced()
