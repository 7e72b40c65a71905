"""The files a prompt names or hints at."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from omninode.context.item import ContextItem
from omninode.context.lexical import tokenize
from omninode.context.offload import Halt
from omninode.context.source import SourceQuery, Traits
from omninode.context.workspace import Workspace, WorkspaceFile

__all__ = ["WorkspaceFiles"]

_MENTION = re.compile(r"[\w./\\-]*[\w-]\.\w{1,12}|[\w-]+(?:[/\\][\w.-]+)+|\b[A-Z][a-z]*file\b", re.UNICODE)
_HINT_FLOOR = 0.34


class WorkspaceFiles:
    """Whole files (cut at `max_chars`): those the prompt names first, then those whose path shares its rarer words."""

    name = "workspace_files"
    context_type = "files"

    def __init__(self, place: Workspace | Path | str, *, max_chars: int = 12_000, traits: Traits | None = None) -> None:
        self._workspace = Workspace.of(place)
        self._max_chars = max_chars
        self.traits = traits or Traits()

    async def fetch(self, query: SourceQuery) -> Sequence[ContextItem]:
        """At most `query.max_results` files, best first."""
        return await self._workspace.run(lambda halt: self._pick(query, halt), deadline=query.deadline)

    def _pick(self, query: SourceQuery, halt: Halt) -> list[ContextItem]:
        files = self._workspace.snapshot(halt).files
        wanted = " ".join((query.prompt, *query.queries))
        ranked = sorted(_scores(files, wanted).items(), key=lambda entry: (-entry[1], entry[0].depth, entry[0].path))
        items: list[ContextItem] = []
        for file, score in ranked:
            halt.check("reading the files the prompt names")
            if len(items) == query.max_results:
                break
            text = self._workspace.read(file)
            if text is not None and text.strip():
                items.append(self._item(file, text, score))
        return items

    def _item(self, file: WorkspaceFile, text: str, score: float) -> ContextItem:
        kept = text if len(text) <= self._max_chars else text[: self._max_chars].rsplit("\n", 1)[0]
        return ContextItem(
            id=f"file:{file.path}",
            source=self.name,
            context_type=self.context_type,
            content=kept,
            title=file.path,
            path=file.path,
            score=score,
            metadata={"size_bytes": file.size_bytes, "is_cut": len(kept) < len(text)},
        )


def _scores(files: Sequence[WorkspaceFile], wanted: str) -> dict[WorkspaceFile, float]:
    """What speaks for each file: 2 and more when its path is named, 1 and more its name, below 1 a hint."""
    mentions = {mention.replace("\\", "/").removeprefix("./").lower() for mention in _MENTION.findall(wanted)}
    hints = _hints(files, set(tokenize(wanted)))
    scores: dict[WorkspaceFile, float] = {}
    for file in files:
        hint = hints.get(file, 0.0)
        named = max((_named(file.path.lower(), mention) for mention in mentions), default=0)
        if named or hint >= _HINT_FLOOR:
            scores[file] = named + hint
    return scores


def _named(path: str, mention: str) -> int:
    if path == mention or ("/" in mention and path.endswith(f"/{mention}")):
        return 2
    return 1 if PurePosixPath(path).name == mention else 0


def _hints(files: Sequence[WorkspaceFile], wanted: set[str]) -> dict[WorkspaceFile, float]:
    """The share of each path's words, weighted by how rare they are among paths, that the prompt has."""
    memo: dict[str, tuple[str, ...]] = {}
    words = {file: set(tokenize(str(PurePosixPath(file.path).with_suffix("")), memo=memo)) for file in files}
    spread = Counter(word for own in words.values() for word in own)
    weight = {word: math.log(1 + len(files) / count) for word, count in spread.items()}
    hints: dict[WorkspaceFile, float] = {}
    for file, own in words.items():
        shared = own & wanted
        if shared:
            hints[file] = 0.99 * sum(weight[word] for word in shared) / sum(weight[word] for word in own)
    return hints
