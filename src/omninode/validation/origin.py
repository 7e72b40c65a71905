"""Text that remembers where each part of it came from, so that findings point into the text as it was handed in.

A derived text (cleaned, case-folded, decoded) is made of pieces. A piece is either copied, character by character, or
replaced, and then every place in it stands for the whole original stretch. Only pieces are kept, not one number per
character: a long text with three odd characters costs four pieces.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field

__all__ = ["Derived", "Pieces"]


class Pieces:
    """Collects the pieces of a derived text, in order."""

    __slots__ = ("_length", "copied", "ends", "starts", "texts", "views")

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.views: list[int] = []
        self.starts: list[int] = []
        self.ends: list[int] = []
        self.copied: list[bool] = []
        self._length = 0

    def add(self, text: str, *, start: int, end: int, is_copy: bool = True) -> None:
        """Let `text` stand for the original `[start, end)`; an empty text leaves the stretch out.

        A text as long as the stretch counts as copied character by character, unless `is_copy` is False.
        """
        if text:
            self.texts.append(text)
            self.views.append(self._length)
            self.starts.append(start)
            self.ends.append(end)
            self.copied.append(is_copy and len(text) == end - start)
            self._length += len(text)

    def derived(self, source: Derived | None = None) -> Derived:
        """The whole; `source` is the derived text the pieces were taken from, when that is not the original."""
        return Derived(text="".join(self.texts), pieces=self if self.texts else None, source=source, is_identity=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Derived:
    """A text and the way back to what it was made from."""

    text: str
    pieces: Pieces | None = field(default=None, repr=False)
    source: Derived | None = field(default=None, repr=False)
    is_identity: bool = True

    def span(self, start: int, end: int) -> tuple[int, int]:
        """The original stretch that `[start, end)` of this text came from; for an empty stretch its place."""
        if not self.is_identity:
            pieces = self.pieces
            if pieces is None:
                return 0, 0
            low = _original(pieces, start, is_end=False)
            high = _original(pieces, max(start, end - 1), is_end=True) if end > start else low
            start, end = low, max(low, high)
        return self.source.span(start, end) if self.source is not None else (start, end)


def _original(pieces: Pieces, position: int, *, is_end: bool) -> int:
    index = max(0, bisect_right(pieces.views, position) - 1)
    start, end = pieces.starts[index], pieces.ends[index]
    if not pieces.copied[index]:
        return end if is_end else start
    return min(end, start + position - pieces.views[index] + is_end)
