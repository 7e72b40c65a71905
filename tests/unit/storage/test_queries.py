"""Named statements, and what a driver's error means."""

from __future__ import annotations

import pytest

from omninode.core.errors import DefectError
from omninode.storage.queries import Queries, parse_statements

pytestmark = pytest.mark.unit


def test_statements_are_split_by_their_names() -> None:
    text = "-- What it is about.\n\n-- name: one\nSELECT 1;\n\n-- name: two\n-- a comment\nSELECT\n  2;\n"
    assert parse_statements(text, file="f") == {"one": "SELECT 1", "two": "-- a comment\nSELECT\n  2"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("SELECT 1;\n-- name: one\nSELECT 1;", "before the first"),
        ("-- name: one\nSELECT 1;\n-- name: one\nSELECT 2;", "repeated"),
        ("-- name: one\n\n-- name: two\nSELECT 2;", "'one' is empty"),
    ],
)
def test_malformed_file_is_a_defect(text: str, message: str) -> None:
    with pytest.raises(DefectError, match=message):
        parse_statements(text, file="f")


def test_every_file_of_the_package_can_be_read() -> None:
    queries = Queries()
    for file in Queries.files():
        with pytest.raises(DefectError, match="has no statement 'nothing_of_this_name'"):
            queries.text(f"{file}.nothing_of_this_name")


@pytest.mark.parametrize("name", ["../secrets.x", "nope.x", "x", ""])
def test_unknown_file_is_a_defect(name: str) -> None:
    with pytest.raises(DefectError):
        Queries().text(name)
