"""The token estimate."""

from __future__ import annotations

import pytest

from omninode.core.errors import InvalidArgumentError
from omninode.core.usage import Usage
from omninode.providers import tokens
from omninode.providers.messages import ChatRequest, Message

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(("text", "expected"), [("", 0), ("a", 1), ("abc", 1), ("abcd", 2), ("日本", 2), ("\ud800", 1)])
def test_count_is_a_third_of_the_bytes_rounded_up(text, expected):
    assert tokens.count(text) == expected


def test_an_estimate_is_marked_as_one():
    messages = (Message(role="system", content="abc"), Message(role="user", content="abcdef"))
    assert tokens.estimated(messages, "abcd") == Usage(input_tokens=11, output_tokens=2, is_estimated=True)


@pytest.mark.parametrize(
    "fields",
    [{"messages": ()}, {"temperature": 2.5}, {"temperature": float("nan")}, {"max_tokens": 0}],
)
def test_a_request_out_of_range_is_refused(fields):
    with pytest.raises(InvalidArgumentError):
        ChatRequest(**({"messages": (Message(role="user", content="x"),)} | fields))


def test_half_a_surrogate_pair_is_refused_before_it_reaches_the_wire():
    with pytest.raises(InvalidArgumentError, match="character 1"):
        Message(role="user", content="x\ud800")
