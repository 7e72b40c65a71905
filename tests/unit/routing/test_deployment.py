"""Deployments as they are declared and discovered."""

from __future__ import annotations

import pytest

from omninode.core.errors import ConfigurationError
from omninode.providers.catalog import FoundDeployment
from omninode.routing.deployment import DeploymentConfig

pytestmark = pytest.mark.unit

GOOD = {"name": "a", "protocol": "openai", "base_url": "https://api.openai.com/v1", "model": "m"}


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("name", "", "without a name"),
        ("protocol", "grpc", "'openai' or 'anthropic'"),
        ("base_url", "localhost:8000", "http or https"),
        ("base_url", "ftp://x", "http or https"),
        ("model", "", "no model"),
        ("weight", -1.0, "weight is -1"),
        ("weight", float("nan"), "weight is nan"),
        ("roles", frozenset(), "no roles"),
        ("timeout_s", 0.0, "timeout_s is 0"),
        ("max_concurrency", 0, "max_concurrency is 0"),
    ],
)
def test_a_value_out_of_range_is_named(field, value, said):
    with pytest.raises(ConfigurationError, match=said):
        DeploymentConfig(**(GOOD | {field: value}))


@pytest.mark.parametrize(
    ("url", "provider"),
    [
        ("https://api.openai.com/v1", "openai"),
        ("https://api.groq.com/openai/v1", "groq"),
        ("http://127.0.0.1:11434/v1", "127.0.0.1"),
    ],
)
def test_the_provider_comes_from_the_host(url, provider):
    assert DeploymentConfig(**(GOOD | {"base_url": url})).provider == provider


def test_the_simulator_is_nobodys_price():
    assert DeploymentConfig(**GOOD, is_simulated=True).provider == "simulated"


def test_the_key_is_in_no_repr():
    key = "sk-0123456789"
    found = FoundDeployment(name="o", protocol="openai", base_url="http://h/v1", model="m", api_key=key)
    config = DeploymentConfig(**GOOD, api_key=key)
    assert key not in repr(found) + repr(config) + str(config)
