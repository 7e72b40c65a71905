"""What the conformance, degradation and troubleshooting pages name is there."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from omninode.bench.scenarios import ALL

pytestmark = pytest.mark.unit

ROOT = Path(__file__).resolve().parents[2]
PAGES = ["conformance.md", "degradation.md", "troubleshooting.md"]
ACCEPTANCE = ROOT / "agents" / "tests" / "test_performance_optimizations.py"
PLACE = re.compile(r"(?<![\w/])((?:src|tests|agents|docs)/[\w/.]*\w)(?:::(\w+))?")
# The document's own words.
ISSUES = ["slow", "breaker is open", "Retries", "Memory", "locked"]
HINTS = ["debug logging", "metrics", "database", "logs", "parts"]


def page(name: str) -> str:
    return (ROOT / "docs" / name).read_text(encoding="utf-8")


def names_in(path: Path) -> set[str]:
    kinds = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
    return {node.name for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, kinds)}


@pytest.mark.parametrize("name", PAGES)
def test_every_path_and_test_named_is_there(name: str) -> None:
    missing = []
    for path, test in set(PLACE.findall(page(name))):
        place = ROOT / path
        if not place.exists() or (test and test not in names_in(place)):
            missing.append(f"{path}::{test}")
    assert missing == []


def test_every_scenario_named_is_there() -> None:
    named = {
        word for words in re.findall(r"omninode bench((?: \w+)+)`", page("conformance.md")) for word in words.split()
    }
    assert named <= {scenario.name for scenario in ALL}


@pytest.mark.parametrize("name", ["conformance.md", "degradation.md"])
def test_every_row_is_whole(name: str) -> None:
    rows = [line for line in page(name).splitlines() if line.startswith("|")]
    assert {line.count(" | ") for line in rows if not line.startswith("|--")} == {4}


def test_a_row_without_a_test_says_not_yet() -> None:
    rows = [line.strip("| ").split(" | ") for line in page("conformance.md").splitlines() if line.startswith("| ")]
    assert [cells[0] for cells in rows if cells[2] == "—" and "not yet" not in cells[4]] == []


def test_every_issue_of_the_document_is_answered() -> None:
    headings = re.findall(r"^## (.+)$", page("troubleshooting.md"), re.MULTILINE)
    assert len(headings) == 10
    for word, heading in zip([*ISSUES, *HINTS], headings, strict=True):
        assert word in heading


def test_the_documents_four_kinds_are_in_its_tests() -> None:
    text = ACCEPTANCE.read_text(encoding="utf-8")
    assert all(f"@pytest.mark.{kind}" in text for kind in ("unit", "integration", "performance", "fault"))
