"""Reading a request: its parts, their kinds, their words."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from omninode.simulation.reading import parts, terms

pytestmark = pytest.mark.unit


def read(request: str) -> list[tuple[str, str]]:
    return [(part.kind, part.text) for part in parts(request)]


@pytest.mark.parametrize(
    ("request_text", "expected"),
    [
        (
            "Fix the parser, add tests for it and then update the README.",
            [("debug", "Fix the parser"), ("test", "Add tests for it"), ("document", "Update the README")],
        ),
        (
            "Please do the following:\n- Add a cache\n- Review everything",
            [("code", "Add a cache"), ("review", "Review everything")],
        ),
        ("Add tests for:\n* parser\n* lexer", [("test", "Add tests for parser"), ("test", "Add tests for lexer")]),
        (
            "Summarise the storage, routing and quorum rooms",
            [
                ("research", "Summarise the storage"),
                ("research", "Summarise routing"),
                ("research", "Summarise quorum rooms"),
            ],
        ),
        (
            "I'd like you to add a --json flag and test it",
            [("code", "Add a --json flag"), ("test", "Test it")],
        ),
        ("How do I read and write files?", [("research", "How do I read and write files?")]),
        ("The build is broken. Find the cause.", [("research", "Find the cause")]),
        ("The lexer must handle unicode.", [("code", "The lexer must handle unicode")]),
        ("add a small, fast and simple parser", [("code", "Add a small, fast and simple parser")]),
        (
            "add a login page, a logout button and a reset flow",
            [("code", "Add a login page"), ("code", "Add a logout button"), ("code", "Add a reset flow")],
        ),
        ("修复解析器", [("research", "修复解析器")]),
        ("", []),
    ],
)
def test_a_request_is_split_where_a_new_action_begins(request_text, expected):
    assert read(request_text) == expected


def test_then_is_remembered():
    assert [part.follows for part in parts("Measure the cache, then fix the cache")] == [False, True]


def test_words_of_one_stem_and_the_pieces_of_names_agree():
    assert set(terms("caches caching cached")) == {"cach"}
    assert terms("the src/core/parseErrors.py") == ["src", "cor", "pars", "error", "py"]


@given(text=st.text(max_size=400))
def test_any_text_with_words_has_parts_and_a_bounded_number_of_them(text):
    found = parts(text)
    assert len(found) <= 40
    assert all(part.text.strip() for part in found)
