"""Every code block of the documentation works: Python runs, TOML loads, commands exist.

A block under `<!-- not run: reason -->` is left out. A text block under `<!-- output -->` is what the Python block
before it prints, to the letter. Python blocks of one page share a directory, and run against the test database.
"""

from __future__ import annotations

import contextlib
import io
import re
import shlex
from dataclasses import dataclass
from pathlib import Path

import pytest
import typer.main

from omninode.cli.main import app
from omninode.runtime.settings import load_settings
from omninode.storage.config import ConnectionConfig

pytestmark = pytest.mark.integration

ROOT = Path(__file__).resolve().parents[3]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
FENCE = re.compile(
    r"(?:^<!-- (?P<note>[^\n]*?) -->\n\s*)?^```(?P<kind>\w*)\n(?P<text>.*?)^```$", re.DOTALL | re.MULTILINE
)
KINDS = {"python", "bash", "toml", "text", "json", "sql", "markdown"}
# What else may stand at the beginning of a line of a shell block.
PROGRAMS = {"pip", "psql", "curl", "git", "jq", "tail", "export", "cd", "python", "docker", "createdb", "pytest", "rm"}


@dataclass(frozen=True)
class Block:
    page: Path
    line: int
    kind: str
    text: str
    note: str
    output: str | None = None

    @property
    def is_run(self) -> bool:
        return not self.note.startswith("not run:")


def blocks_of(page: Path) -> list[Block]:
    source = page.read_text(encoding="utf-8")
    found: list[Block] = []
    for match in FENCE.finditer(source):
        line = source.count("\n", 0, match.start("text"))
        note = match["note"] or ""
        if note == "output":
            before = found.pop()
            found.append(Block(**{**vars(before), "output": match["text"]}))
            continue
        found.append(Block(page, line, match["kind"], match["text"], note))
    return found


BLOCKS = [block for page in PAGES for block in blocks_of(page)]


def of_kind(kind: str) -> list:
    return [
        pytest.param(block, id=f"{block.page.relative_to(ROOT)}:{block.line}")
        for block in BLOCKS
        if block.kind == kind and block.is_run
    ]


def test_every_block_says_what_it_is() -> None:
    assert {(block.page.name, block.line) for block in BLOCKS if block.kind not in KINDS} == set()
    assert {(block.page.name, block.line) for block in BLOCKS if not block.is_run and len(block.note) < 20} == set()


@pytest.fixture
def reader(tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A reader's working directory: a small project, no settings but those of the test database."""
    config = ConnectionConfig.from_url(database_url)
    settings = load_settings().lines()
    for line in settings:
        monkeypatch.delenv(line.variable, raising=False)
    monkeypatch.delenv("OMNINODE_CONFIG", raising=False)
    monkeypatch.setenv("POSTGRES_HOST", config.host)
    monkeypatch.setenv("POSTGRES_PORT", str(config.port))
    monkeypatch.setenv("POSTGRES_USER", config.user)
    monkeypatch.setenv("POSTGRES_DB", config.database)
    monkeypatch.setenv("OMNINODE_DATA_DIR", str(tmp_path / "data"))
    work = tmp_path / "work"
    (work / "src").mkdir(parents=True)
    (work / "src" / "retry.py").write_text("MAX_RETRIES = 3\n\n\ndef wait_s(attempt):\n    return 0.1 * 2**attempt\n")
    (work / "README.md").write_text("# A small project\n\nIt retries failed uploads.\n")
    monkeypatch.chdir(work)
    return work


@pytest.mark.parametrize("block", of_kind("python"))
def test_python_runs(block: Block, reader: Path) -> None:
    code = compile("\n" * block.line + block.text, str(block.page), "exec")
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(code, {"__name__": "__main__"})
    if block.output is not None:
        assert printed.getvalue() == block.output


@pytest.mark.parametrize("block", of_kind("toml"))
def test_toml_loads(block: Block, reader: Path) -> None:
    (reader / "omninode.toml").write_text(block.text, encoding="utf-8")
    load_settings()


def test_the_example_file_loads_and_names_every_key(reader: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    example = ROOT / "examples" / "omninode.toml"
    for variable in ("POSTGRES_HOST", "POSTGRES_PORT", "POSTGRES_USER", "POSTGRES_DB", "OMNINODE_DATA_DIR"):
        monkeypatch.delenv(variable)
    monkeypatch.setenv("OMNINODE_CONFIG", str(example))
    settings = load_settings()
    assert len(settings.deployments) >= 3
    assert settings.agents
    assert settings.sources
    text = example.read_text(encoding="utf-8")
    keys = {
        field.json_schema_extra["toml"] for field in type(settings).model_fields.values() if field.json_schema_extra
    }
    for section, name in (key.split(".") for key in keys):
        part = text.split(f"[{section}]\n", 1)[1].split("\n[", 1)[0]
        assert re.search(rf"^(# )?{name} = ", part, re.MULTILINE), f"{section}.{name} is missing"
    # With the comment signs taken away, every value is one that is allowed.
    (reader / "all.toml").write_text(re.sub(r"^# (?=\w+ = )", "", text, flags=re.MULTILINE), encoding="utf-8")
    monkeypatch.setenv("OMNINODE_CONFIG", "all.toml")
    load_settings()


@pytest.mark.parametrize("block", of_kind("json"))
def test_json_is_json(block: Block) -> None:
    import json

    json.loads(block.text)


@pytest.mark.parametrize("block", of_kind("bash"))
def test_commands_exist(block: Block) -> None:
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    for words in commands_in(block.text):
        if words[0] == "omninode":
            parse_omninode(words[1:])
        elif words[0] == "make":
            assert set(words[1:]) <= targets, words
        else:
            assert words[0] in PROGRAMS, f"{words[0]}: neither ours nor one a reader is known to have"


def commands_in(text: str) -> list[list[str]]:
    """The commands of a shell block, without prompts, assignments in front, pipes and redirections."""
    found = []
    for line in text.replace("\\\n", " ").splitlines():
        parts = shlex.shlex(line.removeprefix("$ "), posix=True, punctuation_chars="|&;<>")
        parts.whitespace_split = True
        words: list[str] = []
        for word in [*parts, ";"]:
            if set(word) <= set("|&;"):
                if words:
                    found.append(words)
                words = []
            elif words or "=" not in word:
                words.append(word)
    cut = [words[: next((i for i, word in enumerate(words) if set(word) <= set("<>")), None)] for words in found]
    return [words for words in cut if words]


def parse_omninode(words: list[str]) -> None:
    """Parse without calling; raises for an unknown command, option or value."""
    command = typer.main.get_command(app)
    words = [word for word in words if word != "--debug"]
    while (inner := getattr(command, "commands", None)) is not None:
        if words and words[0] in {"--help", "-h"}:
            return
        command, words = inner[words[0]], words[1:]
    command.make_context("omninode", list(words))


def test_the_check_itself_notices_what_is_wrong() -> None:
    for wrong in ("omninode runs shoe x", "omninode run x --simulated", "omninode serve --port many"):
        with pytest.raises(Exception):  # noqa: B017, PT011 - of Typer's own click, which has no public name
            parse_omninode(commands_in(wrong)[0][1:])
    parse_omninode(commands_in('OMNINODE_PORT=1 omninode run "a | b" --json > out.json')[0][1:])
