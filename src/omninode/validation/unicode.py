"""Text freed of characters nobody sees, composed to NFC, with a note of what was removed.

What is passed on is NFC and nothing more: NFKC would change meaning (superscripts, ligatures, code). Removed are
characters that show nothing and can hide text or reorder it. The joiners ZWJ and ZWNJ stay where a script or an emoji
needs them: removing them misspells Persian and Hindi and takes families apart.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass

from omninode.validation.origin import Derived, Pieces
from omninode.validation.patterns import compiled
from omninode.validation.report import Action, Finding, Severity

__all__ = ["Cleaned", "clean"]

# The one legitimate use of tag characters: the flags of England, Scotland and Wales.
_FLAGS = ("gbeng", "gbsct", "gbwls")
_FLAG = "|".join("".join(f"\\x{{{0xE0000 + ord(letter):X}}}" for letter in flag) for flag in _FLAGS)

# Every alternative is one kind of thing to act on; `_kind` tells them apart. No groups: those would cost the automaton.
_PATTERN = (
    rf"(?:\x{{1F3F4}}(?:{_FLAG})\x{{E007F}})"
    r"|(?:\r\n?)"
    r"|(?:\x1b\[[0-9;?]*[ -/]*[@-~])"
    r"|(?:[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x{9f}]+)"
    r"|(?:[\x{202A}-\x{202E}\x{2066}-\x{2069}]+)"
    r"|(?:[\x{E0000}-\x{E007F}]+)"
    r"|(?:[\x{AD}\x{180E}\x{200B}\x{2060}-\x{2065}\x{206A}-\x{206F}\x{FEFF}\x{FFF9}-\x{FFFB}"
    r"\x{1D173}-\x{1D17A}]+)"
    r"|(?:[\x{FE00}-\x{FE0F}\x{E0100}-\x{E01EF}]{2,})"
    r"|(?:[\x{200C}\x{200D}]+)"
)

_BEYOND_ASCII = r"[\x00-\x7f]?[^\x00-\x7f]+"

_KINDS: dict[str, tuple[str, Severity, str]] = {
    "tag": ("UNICODE.TAG", Severity.WARNING, "tag characters, which can carry a hidden message"),
    "bidi": ("UNICODE.BIDI", Severity.WARNING, "bidirectional controls, which show text in another order"),
    "invisible": ("UNICODE.INVISIBLE", Severity.INFO, "characters of no width"),
    "joiner": ("UNICODE.INVISIBLE", Severity.INFO, "characters of no width"),
    "control": ("UNICODE.CONTROL", Severity.INFO, "control characters"),
    "terminal": ("UNICODE.CONTROL", Severity.INFO, "control characters"),
    "variation": ("UNICODE.VARIATION", Severity.INFO, "repeated variation selectors, which can carry hidden data"),
}

# Blocks whose spelling uses joiners: Arabic and its extensions, Syriac, N'Ko, Indic, Sinhala, Myanmar, Khmer, Mongolian.
_JOINING = ((0x0600, 0x08FF), (0x0900, 0x0DFF), (0x1000, 0x109F), (0x1780, 0x18AF), (0xFB50, 0xFDFF), (0xFE70, 0xFEFC))
_EMOJI = ((0x2190, 0x21FF), (0x2300, 0x23FF), (0x2600, 0x27BF), (0x2B00, 0x2BFF), (0x1F000, 0x1FAFF))
_VARIATION_16 = 0xFE0F
# Of a longer text this look would hold up every other thread, and be no quicker than the pattern.
_SHORT = 4_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Cleaned:
    """The cleaned text with its way back, and the kinds of removals, each with its places in the text given."""

    derived: Derived
    removed: dict[str, list[tuple[int, int]]]

    @property
    def text(self) -> str:
        """The cleaned text."""
        return self.derived.text

    def findings(self, *, path: str) -> Iterator[Finding]:
        """One finding per kind of character removed; its span is the first place."""
        for code in sorted({_KINDS[kind][0] for kind in self.removed}):
            kinds = [kind for kind in self.removed if _KINDS[kind][0] == code]
            places = sorted(place for kind in kinds for place in self.removed[kind])
            _, severity, what = _KINDS[kinds[0]]
            count = sum(end - start for start, end in places)
            yield Finding(
                code=code,
                severity=severity,
                path=path,
                span=places[0],
                message=f"{count} {what}, were removed" if "," in what else f"{count} {what} were removed",
                action=Action.REDACT,
            )


def clean(text: str) -> Cleaned:
    """`text` as it may be passed on. Cleaning twice gives the same as cleaning once; line ends become newlines.

    The text holds no lone surrogates (`limits.not_text` has said so).
    """
    removed: dict[str, list[tuple[int, int]]] = {}
    current = Derived(text=text)
    if len(text) <= _SHORT and text.isascii() and text.isprintable():
        return Cleaned(derived=current, removed=removed)
    while True:
        # Composing can bring together what only then is to be removed, and the reverse; a second look settles it.
        before = current.text
        current = _composed(_revealed(current, removed))
        if current.text == before:
            return Cleaned(derived=current, removed=removed)


def _revealed(source: Derived, removed: dict[str, list[tuple[int, int]]]) -> Derived:
    text, pieces, done = source.text, Pieces(), 0
    for match in compiled(_PATTERN).finditer(text):
        start, end = match.span()
        kind = _kind(text[start:end])
        kept = _kept(kind, text, start, end)
        if kept == text[start:end]:
            continue
        pieces.add(text[done:start], start=done, end=start)
        pieces.add(kept, start=start, end=end)
        done = end
        if kind in _KINDS:
            removed.setdefault(kind, []).append(source.span(start + len(kept), end))
    if done == 0:
        return source
    pieces.add(text[done:], start=done, end=len(text))
    return pieces.derived(source)


_KIND_OF = (
    ((0x202A, 0x202E), "bidi"),
    ((0x2066, 0x2069), "bidi"),
    ((0xFE00, 0xFE0F), "variation"),
    ((0xE0100, 0xE01EF), "variation"),
    ((0xE0000, 0xE007F), "tag"),
    ((0x1F3F4, 0x1F3F4), "flag"),
    ((0x200C, 0x200D), "joiner"),
    ((0x0D, 0x0D), "newline"),
    ((0x00, 0x9F), "control"),
)


def _kind(stretch: str) -> str:
    """What the pattern found, told by its first character; what no range names is invisible."""
    if stretch[0] == "\x1b" and len(stretch) > 2 and stretch[1] == "[":
        return "terminal"
    code = ord(stretch[0])
    return next((kind for (low, high), kind in _KIND_OF if low <= code <= high), "invisible")


def _kept(kind: str, text: str, start: int, end: int) -> str:
    """What stays of the stretch: the flag, one newline, the first variation selector, a joiner that is needed."""
    match kind:
        case "flag":
            return text[start:end]
        case "newline":
            return "\n"
        case "variation":
            return text[start]
        case "joiner":
            return text[end - 1] if _joins(text, start, end) else ""
        case _:
            return ""


def _joins(text: str, start: int, end: int) -> bool:
    if start == 0:
        return False
    before = ord(text[start - 1])
    if _within(before, _JOINING):
        return True
    if end == len(text) or text[end - 1] != "\u200d":
        return False
    return (before == _VARIATION_16 or _within(before, _EMOJI)) and _within(ord(text[end]), _EMOJI)


def _within(code: int, ranges: tuple[tuple[int, int], ...]) -> bool:
    return any(low <= code <= high for low, high in ranges)


def _composed(source: Derived) -> Derived:
    text = source.text
    if text.isascii() or unicodedata.is_normalized("NFC", text):
        return source
    # An ASCII character never composes with what stands before it, so text may be cut there.
    pieces, done = Pieces(), 0
    for match in compiled(_BEYOND_ASCII).finditer(text):
        start, end = match.span()
        stretch = text[start:end]
        composed = unicodedata.normalize("NFC", stretch)
        if composed == stretch:
            continue
        pieces.add(text[done:start], start=done, end=start)
        pieces.add(composed, start=start, end=end)
        done = end
    pieces.add(text[done:], start=done, end=len(text))
    return pieces.derived(source)
