"""Prices: the caller's, the published, none."""

from __future__ import annotations

import subprocess
import sys
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from omninode.core.errors import ConfigurationError
from omninode.core.usage import Cost, Usage
from omninode.providers.pricing import ModelPrice, PriceBook

pytestmark = pytest.mark.unit


def test_a_published_price_is_found_once_and_kept():
    book = PriceBook()
    assert not book.is_known("openai", "gpt-4o-mini")
    # 0.15, 0.60 and, for reused input, 0.075 dollars per million tokens
    usage = Usage(input_tokens=1_000_000, output_tokens=100_000, cache_read_tokens=400_000)
    assert book.cost("openai", "gpt-4o-mini", usage) == Cost(micro_usd=90_000 + 30_000 + 60_000)
    assert book.is_known("openai", "gpt-4o-mini")


def test_a_price_with_tiers_is_reckoned_by_the_data():
    usage = Usage(input_tokens=1_000, output_tokens=100, cache_read_tokens=500)
    assert PriceBook().cost("anthropic", "claude-sonnet-4-5", usage) == Cost(micro_usd=3_150)


def test_an_override_beats_the_published_price():
    price = ModelPrice(input_usd=Decimal(1), output_usd=Decimal(2))
    book = PriceBook({("openai", "gpt-4o-mini"): price})
    assert book.cost("openai", "gpt-4o-mini", Usage(input_tokens=10, output_tokens=10)) == Cost(micro_usd=30)


@pytest.mark.parametrize(
    ("provider", "model"), [("openai", "no-such-model"), ("nobody", "m"), ("127.0.0.1", "gpt-4o"), ("simulated", "m")]
)
def test_an_unknown_price_is_unpriced_and_never_zero(provider, model):
    assert PriceBook().cost(provider, model, Usage(input_tokens=10)) == Cost.unpriced()


async def test_preload_makes_a_price_known():
    book = PriceBook()
    await book.preload("openai", "gpt-4o")
    assert book.is_known("openai", "gpt-4o")


def test_a_price_that_is_none_is_refused():
    with pytest.raises(ConfigurationError, match="output_usd is -1"):
        ModelPrice(input_usd=Decimal(1), output_usd=Decimal(-1))
    with pytest.raises(ConfigurationError, match="input_usd is NaN"):
        ModelPrice(input_usd=Decimal("NaN"), output_usd=Decimal(1))


@given(st.integers(0, 10**7), st.integers(0, 10**7), st.integers(0, 10**7))
def test_cost_is_the_sum_of_its_parts_to_the_nearest_micro_dollar(spent, written, reused):
    reused = min(reused, spent)
    price = ModelPrice(input_usd=Decimal("0.15"), output_usd=Decimal("0.6"), cache_read_usd=Decimal("0.075"))
    cost = price.cost(Usage(input_tokens=spent, output_tokens=written, cache_read_tokens=reused))
    exact = Decimal("0.15") * (spent - reused) + Decimal("0.075") * reused + Decimal("0.6") * written
    assert abs(cost.micro_usd - exact) <= Decimal("0.5")


def test_importing_the_rooms_loads_neither_the_http_client_nor_the_prices():
    code = (
        "import sys, omninode.routing.router, omninode.testing.provider\n"
        "print([name for name in ('aiohttp', 'genai_prices', 'pydantic') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"
