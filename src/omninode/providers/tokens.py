"""An estimate of how many tokens a text has, without any model's tokeniser.

Three bytes of UTF-8 a token is close for English prose (3.5 to 4.5 bytes) and code (2.5 to 3.5), and high rather than
low for both; CJK text (3 bytes a character) comes out at about one token a character, as it should. It is meant for
budgets, where too high is safe. Where a provider reports usage, that is used and this is not.
"""

from __future__ import annotations

from collections.abc import Sequence

from omninode.core.usage import Usage
from omninode.providers.messages import Message

__all__ = ["count", "estimated"]

_BYTES_PER_TOKEN = 3


def count(text: str) -> int:
    """About how many tokens `text` has: its UTF-8 bytes divided by three, rounded up; 0 for an empty text."""
    size = len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))
    return -(-size // _BYTES_PER_TOKEN)


def estimated(messages: Sequence[Message], answer: str) -> Usage:
    """The usage of a call whose provider reported none, marked as estimated."""
    # Each turn costs a few tokens of framing in every chat template we know.
    spent = sum(count(message.content) + 4 for message in messages)
    return Usage(input_tokens=spent, output_tokens=count(answer), is_estimated=True)
