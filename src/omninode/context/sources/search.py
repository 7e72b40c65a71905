"""The passages of a workspace that share words with a query."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from omninode.context.chunk import chunks
from omninode.context.item import ContextItem
from omninode.context.lexical import Hit, LexicalIndex, tokenize
from omninode.context.offload import Halt
from omninode.context.source import SourceQuery, Traits
from omninode.context.workspace import Snapshot, Workspace, WorkspaceFile
from omninode.core.errors import DeadlineExceededError

__all__ = ["WorkspaceSearch"]

# This share of the time left goes to reading, the rest to building the index and searching it.
_READING_SHARE = 0.4
# Made by tools, long, and never what somebody asks about.
_UNSEARCHED = ("*.lock", "*-lock.json", "*-lock.yaml", "go.sum", "*.min.js", "*.min.css", "*.map", "*.svg")
_PER_FILE = 2


@dataclass(frozen=True, slots=True)
class _Passage:
    path: str
    first: int
    last: int
    text: str


@dataclass(frozen=True, slots=True)
class _Index:
    state: str
    passages: tuple[_Passage, ...]
    lexical: LexicalIndex
    is_cut: bool
    built_at: float


class _Reading:
    """How much may still be read."""

    def __init__(self, max_bytes: int, halt: Halt) -> None:
        self._bytes_left = max_bytes
        self._halt = halt
        start = halt.remaining()
        self._reserve_s = None if start is None else start * (1 - _READING_SHARE)
        self.is_cut = False

    def fits(self, size_bytes: int) -> bool:
        """Whether another file of this size is within the limit; counts it when it is."""
        is_within = size_bytes <= self._bytes_left
        self._bytes_left -= size_bytes if is_within else 0
        return is_within

    @property
    def is_out_of_time(self) -> bool:
        """Whether what time is left belongs to the index."""
        left = self._halt.remaining()
        return self._halt.is_due or (self._reserve_s is not None and left is not None and left < self._reserve_s)


class WorkspaceSearch:
    """BM25 over passages of code and prose.

    The index is kept until the workspace changes, and the tokens of an unchanged file even then. When time is short
    the index covers the files read so far, its items say `is_cut`, and the next query goes on from there.
    """

    name = "workspace_search"
    context_type = "search"

    def __init__(
        self, place: Workspace | Path | str, *, max_bytes: int = 16_000_000, traits: Traits | None = None
    ) -> None:
        self._workspace = Workspace.of(place)
        self._max_bytes = max_bytes
        self.traits = traits or Traits(is_per_query=True)
        self._building = asyncio.Lock()
        self._lock = threading.Lock()
        self._index: _Index | None = None
        self._read: dict[WorkspaceFile, list[tuple[_Passage, list[str]]]] = {}

    async def fetch(self, query: SourceQuery) -> Sequence[ContextItem]:
        """At most `query.max_results` passages for each query, best first, at most two of one file."""
        # Queries of one gathering want the same index: they wait here, where waiting takes no thread.
        async with self._building:
            index = await self._workspace.run(self._current, deadline=query.deadline)
        return await self._workspace.run(lambda halt: self._search(index, query, halt), deadline=query.deadline)

    def _search(self, index: _Index, query: SourceQuery, halt: Halt) -> list[ContextItem]:
        found: dict[int, Hit] = {}
        for text in query.queries or (query.prompt,):
            halt.check("searching the workspace")
            for hit in _spread(index, text, query.max_results):
                if hit.position not in found or found[hit.position].score < hit.score:
                    found[hit.position] = hit
        ranked = sorted(found.values(), key=lambda hit: (-hit.score, hit.position))
        return [self._item(index, hit) for hit in ranked]

    def _item(self, index: _Index, hit: Hit) -> ContextItem:
        passage = index.passages[hit.position]
        return ContextItem(
            id=f"search:{passage.path}:{passage.first}-{passage.last}",
            source=self.name,
            context_type=self.context_type,
            content=passage.text,
            title=f"{passage.path}:{passage.first}-{passage.last}",
            path=passage.path,
            score=hit.score,
            metadata={"first_line": passage.first, "last_line": passage.last, "is_cut": index.is_cut},
        )

    def _current(self, halt: Halt) -> _Index:
        # A build whose waiter was cancelled may still be running; it is worth waiting for.
        allowed = halt.remaining()
        if not self._lock.acquire(timeout=-1 if allowed is None else allowed):
            halt.check("waiting for the index of the workspace")
        try:
            snapshot = self._workspace.snapshot(halt)
            if self._index is None or not self._serves(self._index, snapshot):
                self._index = self._built(snapshot, halt)
            return self._index
        finally:
            self._lock.release()

    def _serves(self, index: _Index, snapshot: Snapshot) -> bool:
        """Whether `index` covers `snapshot`; one of a part of it does for as long as one walk does."""
        is_recent = self._workspace.clock.monotonic() - index.built_at <= self._workspace.limits.max_age_s
        return index.state == snapshot.state and (is_recent or not index.is_cut)

    def _built(self, snapshot: Snapshot, halt: Halt) -> _Index:
        is_cut = self._read_all(snapshot.files, halt)
        if halt.is_requested:
            raise DeadlineExceededError("indexing the workspace: nobody waits for it any more")
        read = [entry for entries in self._read.values() for entry in entries]
        lexical = LexicalIndex([tokens for _, tokens in read])
        passages = tuple(passage for passage, _ in read)
        return _Index(snapshot.state, passages, lexical, is_cut, self._workspace.clock.monotonic())

    def _read_all(self, files: Sequence[WorkspaceFile], halt: Halt) -> bool:
        """Read what is not known yet and forget what is gone; whether time ran out before all was read."""
        known, self._read = self._read, {}
        memo: dict[str, tuple[str, ...]] = {}
        reading = _Reading(self._max_bytes, halt)
        for file in files:
            if file.size_bytes > self._workspace.limits.max_file_bytes or not _is_searched(file.name):
                continue
            if not reading.fits(file.size_bytes):
                continue
            if file in known:
                self._read[file] = known[file]
            elif not reading.is_out_of_time:
                self._read[file] = self._passages(file, memo)
            else:
                reading.is_cut = True
        return reading.is_cut

    def _passages(self, file: WorkspaceFile, memo: dict[str, tuple[str, ...]]) -> list[tuple[_Passage, list[str]]]:
        text = self._workspace.read(file)
        if not text:
            return []
        name = tokenize(file.path, memo=memo)
        return [
            (_Passage(file.path, chunk.first, chunk.last, chunk.text), name + tokenize(chunk.text, memo=memo))
            for chunk in chunks(text)
        ]


def _is_searched(name: str) -> bool:
    return not any(fnmatchcase(name.lower(), pattern) for pattern in _UNSEARCHED)


def _spread(index: _Index, text: str, limit: int) -> list[Hit]:
    """The best hits, at most `_PER_FILE` of one file."""
    taken: dict[str, int] = {}

    def accepts(position: int) -> bool:
        path = index.passages[position].path
        taken[path] = taken.get(path, 0) + 1
        return taken[path] <= _PER_FILE

    return index.lexical.search(text, limit=limit, accepts=accepts)
