"""The Anthropic messages protocol."""

from omninode.providers.anthropic.client import AnthropicProvider

__all__ = ["AnthropicProvider"]
