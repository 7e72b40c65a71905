"""What a workspace is made of: its tree, languages, entry points and sizes, as one short item."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

from omninode.context.item import ContextItem
from omninode.context.offload import Halt
from omninode.context.source import SourceQuery, Traits
from omninode.context.workspace import Snapshot, Workspace, WorkspaceFile

__all__ = ["WorkspaceStructure", "language_of"]

_LANGUAGES = {
    ".py": "Python", ".pyi": "Python", ".js": "JavaScript", ".mjs": "JavaScript", ".cjs": "JavaScript",
    ".jsx": "JavaScript", ".ts": "TypeScript", ".tsx": "TypeScript", ".go": "Go", ".rs": "Rust", ".java": "Java",
    ".kt": "Kotlin", ".scala": "Scala", ".c": "C", ".h": "C", ".cc": "C++", ".cpp": "C++", ".hpp": "C++",
    ".cs": "C#", ".rb": "Ruby", ".php": "PHP", ".swift": "Swift", ".sh": "Shell", ".bash": "Shell", ".sql": "SQL",
    ".html": "HTML", ".css": "CSS", ".scss": "CSS", ".vue": "Vue", ".lua": "Lua", ".r": "R", ".jl": "Julia",
    ".ex": "Elixir", ".exs": "Elixir", ".erl": "Erlang", ".hs": "Haskell", ".clj": "Clojure", ".dart": "Dart",
    ".md": "Markdown", ".rst": "reStructuredText", ".txt": "Text", ".yaml": "YAML", ".yml": "YAML", ".toml": "TOML",
    ".json": "JSON", ".xml": "XML", ".tf": "Terraform", ".proto": "Protocol Buffers",
}  # fmt: skip
_ENTRY_NAMES = frozenset({
    "__main__.py", "main.py", "manage.py", "app.py", "wsgi.py", "asgi.py", "setup.py", "pyproject.toml",
    "package.json", "index.js", "index.ts", "main.js", "main.ts", "server.js", "server.ts", "main.go", "go.mod",
    "main.rs", "lib.rs", "cargo.toml", "main.java", "pom.xml", "build.gradle", "makefile", "dockerfile",
    "docker-compose.yml", "compose.yaml", "program.cs", "main.c", "main.cpp", "cmakelists.txt", "gemfile",
})  # fmt: skip


def language_of(file: WorkspaceFile) -> str | None:
    """The language a file's suffix stands for; None when we do not know it."""
    return _LANGUAGES.get(file.suffix)


class WorkspaceStructure:
    """One item that describes the whole workspace in at most `max_lines` lines of tree."""

    name = "workspace_structure"
    context_type = "structure"

    def __init__(self, place: Workspace | Path | str, *, max_lines: int = 80, traits: Traits | None = None) -> None:
        self._workspace = Workspace.of(place)
        self._max_lines = max_lines
        self.traits = traits or Traits()

    async def fetch(self, query: SourceQuery) -> Sequence[ContextItem]:
        """The item; nothing for an empty workspace."""
        return await self._workspace.run(self._describe, deadline=query.deadline)

    def _describe(self, halt: Halt) -> list[ContextItem]:
        snapshot = self._workspace.snapshot(halt)
        if not snapshot.files:
            return []
        name = self._workspace.root.name or "workspace"
        parts = (_summary(snapshot), _languages(snapshot), _entry_points(snapshot), self._tree(snapshot, name))
        return [
            ContextItem(
                id="structure:workspace",
                source=self.name,
                context_type=self.context_type,
                content="\n\n".join(part for part in parts if part),
                title=f"Structure of {name}",
                score=1.0,
                metadata={"files": len(snapshot.files), "is_cut": snapshot.is_cut, "excluded": dict(snapshot.excluded)},
            )
        ]

    def _tree(self, snapshot: Snapshot, name: str) -> str:
        lines = [f"{name}/"]
        tree = list(_tree_lines(snapshot, self._max_lines))
        lines += tree[: self._max_lines]
        if len(tree) > self._max_lines:
            lines.append(f"  … {len(tree) - self._max_lines} more")
        return "Tree:\n" + "\n".join(lines)


def _summary(snapshot: Snapshot) -> str:
    cut = "; more than the limits allow, so the list is cut" if snapshot.is_cut else ""
    return f"{len(snapshot.files)} files, {_size(snapshot.size_bytes)}{cut}."


def _languages(snapshot: Snapshot) -> str:
    sizes: Counter[str] = Counter()
    counts: Counter[str] = Counter()
    for file in snapshot.files:
        language = language_of(file)
        if language is not None:
            sizes[language] += file.size_bytes
            counts[language] += 1
    told = [f"{language} {counts[language]} files, {_size(size)}" for language, size in sizes.most_common(8)]
    return f"Languages: {'; '.join(told)}." if told else ""


def _entry_points(snapshot: Snapshot) -> str:
    found = [file.path for file in snapshot.files if file.name.lower() in _ENTRY_NAMES][:20]
    return f"Entry points and manifests: {', '.join(found)}." if found else ""


def _tree_lines(snapshot: Snapshot, max_lines: int) -> Iterator[str]:
    """The tree to the greatest depth whose lines still fit; deeper directories are told by their file count."""
    for depth in (4, 3, 2, 1):
        lines = list(_lines_to(snapshot, depth))
        if len(lines) <= max_lines or depth == 1:
            yield from lines
            return


def _lines_to(snapshot: Snapshot, depth: int) -> Iterator[str]:
    below: Counter[str] = Counter()
    entries: dict[str, str] = {}
    for file in snapshot.files:
        parts = PurePosixPath(file.path).parts
        for level in range(1, min(len(parts), depth + 1)):
            entries["/".join(parts[:level])] = "directory"
        if len(parts) <= depth:
            entries[file.path] = _size(file.size_bytes)
        elif depth < len(parts):
            below["/".join(parts[:depth])] += 1
    for path in sorted(entries):
        indent = "  " * (path.count("/") + 1)
        name = PurePosixPath(path).name
        if entries[path] == "directory":
            deeper = f" ({below[path]} files)" if below[path] else ""
            yield f"{indent}{name}/{deeper}"
        else:
            yield f"{indent}{name} {entries[path]}"


def _size(size_bytes: int) -> str:
    if size_bytes < 1_000:
        return f"{size_bytes} B"
    return f"{size_bytes / 1_000:.0f} kB" if size_bytes < 1_000_000 else f"{size_bytes / 1_000_000:.1f} MB"
