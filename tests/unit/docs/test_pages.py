"""The pages say what the code says: generated tables are true, links lead somewhere, commands and files exist."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest

pytestmark = pytest.mark.unit

ROOT = Path(__file__).resolve().parents[3]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
LINK = re.compile(r"\]\((?!https?://|mailto:)([^)#\s]*)(?:#([^)\s]+))?\)")


def tool(name: str):
    spec = importlib.util.spec_from_file_location(f"tool_{name}", ROOT / "tools" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", ["settings_table", "command_table"])
def test_generated_tables_are_true(name: str) -> None:
    module = tool(name)
    text = module.PAGE.read_text(encoding="utf-8")
    assert text == module.filled(text), "run `make docs` and commit what it changes"


def test_the_settings_table_names_every_setting() -> None:
    from omninode.runtime.settings import Settings

    table = tool("settings_table").settings_table()
    named = {line.variable for line in Settings().lines()}
    assert len(named) >= 29
    assert {variable for variable in named if f"`{variable}`" not in table} == set()


def test_every_command_and_option_is_in_the_reference() -> None:
    text = (ROOT / "docs" / "command-line.md").read_text(encoding="utf-8")
    for path, command in tool("command_table").leaves():
        section = text.split(f"### {path}\n", 1)[1].split("\n### ", 1)[0]
        options = {name for entry in command.params for name in entry.opts if name.startswith("-")} - {"--help", "-h"}
        assert {option for option in options if f"`{option}`" not in section} == set(), path


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub gives to the headings of a page."""
    heads = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    for target, anchor in LINK.findall(text):
        place = (page.parent / target).resolve() if target else page
        assert place.exists(), f"{page.name} links to {target}, which is not there"
        assert not anchor or place.suffix != ".md" or anchor in anchors(place), f"{target} has no #{anchor}"


def test_every_guide_is_reachable_from_the_readme() -> None:
    linked = {(ROOT / target).resolve() for target, _ in LINK.findall((ROOT / "README.md").read_text(encoding="utf-8"))}
    assert {page.name for page in (ROOT / "docs").rglob("*.md") if page not in linked} == set()
