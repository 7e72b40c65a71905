"""The OpenAI chat completions protocol, as OpenAI and most other servers speak it."""

from omninode.providers.openai.client import OpenAIProvider

__all__ = ["OpenAIProvider"]
