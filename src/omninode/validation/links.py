"""Addresses in what a model wrote, and what is made of those that would carry data to a host nobody allowed.

A text is searched the way the programs that show it read it: Markdown links, images, reference definitions and
autolinks, plain addresses, HTML attributes, CSS. Code is left alone, since nothing there is followed. Only addresses
are rewritten, never what stands around them, so a text this module reads wrongly loses an address and nothing else.
"""

from __future__ import annotations

import html
import ipaddress
import math
import unicodedata
from bisect import bisect_right
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

from omninode.validation.patterns import compiled

__all__ = ["REMOVED", "Danger", "Place", "danger_of", "hosts_in", "places"]

REMOVED = "#removed"
Danger = Literal["exfiltration", "script", "data"]

# How an address is followed: by whatever shows the text, by a click, or by a click where it is only plain text.
Use = Literal["loaded", "clicked", "plain"]

_DEST = r"(?P<url><[^<>\n]*>|[^\s<>()]*(?:\([^\s()]*\)[^\s<>()]*)*)"
_VALUE = r"(?P<url>\"[^\"]*\"|'[^']*'|[^\s\"'<>`]+)"
_LOADING = "src|srcset|imagesrcset|poster|background|data|action|formaction|ping|lowsrc|dynsrc|xlink:href"
# In the order of precedence where two match at one place.
_FORMS: tuple[tuple[Use, str], ...] = (
    ("loaded", rf"\]\(\s*{_DEST}"),
    ("loaded", rf"(?m)^[ \t>]*\[[^\]\n]+\]:\s*{_DEST}"),
    ("clicked", r"<(?P<url>[A-Za-z][A-Za-z0-9+.-]{1,31}:[^\s<>]*)>"),
    ("clicked", rf"(?i)[\s\"'/]href\s*=\s*{_VALUE}"),
    ("loaded", rf"(?i)[\s\"'/](?:{_LOADING})\s*=\s*{_VALUE}"),
    ("loaded", r"(?i)\burl\s*\(\s*(?P<url>\"[^\"]*\"|'[^']*'|[^\s\"'()]+)"),
    ("loaded", r"(?i)@import\s+(?P<url>\"[^\"]*\"|'[^']*')"),
    ("loaded", r"(?i)\bcontent\s*=\s*[\"']?\s*[0-9.]*\s*;\s*url\s*=\s*(?P<url>[^\s\"'<>]+)"),
    ("plain", r"(?i)(?:^|[\s(*_~\[>])(?P<url>(?:https?://|www\.)[^\s<>]+)"),
)
_SCHEME = r"^([A-Za-z][A-Za-z0-9+.-]*):"
_RASTER = r"(?i)^data:image/(?:png|jpe?g|gif|webp)[;,]"
_RUN = r"[A-Za-z0-9+_=%-]{20,}"
_ESCAPED = r"\\([!-/:-@\[-`{-~])"
_ADDRESS = r"(?i)\bhttps?://[^\s<>\"'`]+"
_FENCE = r"(?m)^ {0,3}(`{3,}|~{3,})([^\n]*)$"
_TAG = r"<[A-Za-z/!?]"
_TAG_LINE = r"(?m)^[ \t>]*<[A-Za-z/!?]"
_VERBATIM = r"(?i)</?(?:style|script|pre|textarea)\b"
_TICKS = "`+"
_WEB = frozenset(["http", "https", "ftp", "ws", "wss"])
_LEAST_PLAIN = 20
_LOOK_BACK = 4000


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """An address in a text, without quotes and brackets, and how it is followed."""

    start: int
    end: int
    use: Use


def places(text: str) -> list[Place]:
    """The addresses in `text` outside of code, in order, none overlapping another."""
    code = _code(text)
    starts = [start for start, _ in code]
    images, has_image = _images(text) if "](" in text else set(), "![" in text
    found: list[Place] = []
    for use, pattern in _FORMS:
        for match in compiled(pattern).finditer(text):
            start, end = _bare(text, *match.span(1))
            index = bisect_right(starts, start) - 1
            if start < end and not (index >= 0 and start < code[index][1]):
                found.append(
                    Place(start=start, end=end, use=_use(use, text, match.start(), images=images, has_image=has_image))
                )
    found.sort(key=lambda place: (place.start, place.use == "plain", -place.end))
    kept: list[Place] = []
    for place in found:
        if not kept or place.start >= kept[-1].end:
            kept.append(place)
    return kept


def danger_of(url: str, *, use: Use, hosts: Collection[str]) -> tuple[Danger, str, str] | None:
    """What is wrong with following `url`: the danger, the host, and the address without it; None when nothing is.

    `hosts` are those that may be sent data; one that begins with a dot stands for all below it.
    """
    for read in {_plain(html.unescape(url)), _plain(compiled(_ESCAPED).sub(r"\1", html.unescape(url)))}:
        scheme = compiled(_SCHEME).search(read)
        name = scheme.group(1).lower() if scheme else ""
        if name in {"javascript", "vbscript"}:
            return "script", name, REMOVED
        if name == "data" and not (use == "loaded" and compiled(_RASTER).search(read)):
            return "data", name, REMOVED
        if name in _WEB or read.startswith(("//", "www.")):
            host = _host(read)
            if not _is_allowed(host, hosts) and _carries(read, host, use):
                return "exfiltration", host, REMOVED if use == "loaded" else _without_query(url)
        elif name == "mailto" and "?" in read and use != "plain":
            return "exfiltration", read.partition("?")[0].rpartition("@")[2], _without_query(url)
    return None


def hosts_in(text: str) -> frozenset[str]:
    """The hosts of the addresses that `text` holds, as whoever wrote it knows them already."""
    return frozenset(_host(_plain(match.group())) for match in compiled(_ADDRESS).finditer(text)) - {""}


def _code(text: str) -> list[tuple[int, int]]:
    """The stretches of code: fenced blocks that are closed, and spans between equal runs of backticks in between.

    A fence that nothing closes is no code here: some programs show what follows it as text. Neither is one inside of
    HTML, where Markdown has no say.
    """
    blocks: list[tuple[int, int]] = []
    opened: tuple[str, int] | None = None
    verbatim = [(tag.start(), not tag.group().startswith("</")) for tag in compiled(_VERBATIM).finditer(text)]
    for match in compiled(_FENCE).finditer(text):
        mark, rest = match.group(1), match.group(2)
        if opened is None:
            if "`" not in rest and not _is_in_html(text, match.start(), verbatim):
                opened = mark, match.end()
        elif mark[0] == opened[0][0] and len(mark) >= len(opened[0]) and not rest.strip():
            blocks.append((opened[1], match.start()))
            opened = None
    spans: list[tuple[int, int]] = []
    done = 0
    for start, end in [*blocks, (len(text), len(text))]:
        spans += [
            (done + low, done + high)
            for low, high in _code_spans(text[done:start])
            if not _is_verbatim(done + low, verbatim)
        ]
        spans.append((start, end))
        done = end
    return spans


def _is_in_html(text: str, start: int, verbatim: list[tuple[int, bool]]) -> bool:
    """Whether an HTML block, which a blank line or its own end tag ends, may still be open at `start`."""
    blank = text.rfind("\n\n", max(0, start - _LOOK_BACK), start)
    if blank < 0 and start > _LOOK_BACK:
        return True
    if compiled(_TAG_LINE).search(text[blank + 1 : start]):
        return True
    return _is_verbatim(start, verbatim)


def _is_verbatim(at: int, verbatim: list[tuple[int, bool]]) -> bool:
    index = bisect_right(verbatim, (at, False)) - 1
    return index >= 0 and verbatim[index][1]


def _code_spans(text: str) -> Iterator[tuple[int, int]]:
    base = 0
    for paragraph in text.split("\n\n"):
        ticks = [match.span() for match in compiled(_TICKS).finditer(paragraph)]
        # Where the next run of each length is, so that runs without a partner cost no search.
        later: dict[int, list[tuple[int, int]]] = {}
        for span in reversed(ticks):
            later.setdefault(span[1] - span[0], []).append(span)
        done = 0
        for start, end in ticks:
            same = later[end - start]
            while same and same[-1][0] <= start:
                same.pop()
            # A tick after the beginning of a tag may stand in one of its attributes.
            if start >= done and compiled(_TAG).search(paragraph[done:start]):
                break
            if start >= done and same:
                yield base + end, base + same[-1][0]
                done = same[-1][1]
        base += len(paragraph) + 2


def _use(use: Use, text: str, start: int, *, images: set[int], has_image: bool) -> Use:
    """How a Markdown destination or a `href` is followed, which what stands before it decides."""
    if text[start : start + 2] == "](":
        return "loaded" if start in images else "clicked"
    if use == "loaded" and text[start : start + 1] in "[ \t>":
        return "loaded" if has_image or "]:" not in text[start : start + 1000] else "clicked"
    if use == "clicked" and text[start] != "<":
        tag = text.rfind("<", max(0, start - 2000), start)
        return "clicked" if text[tag + 1 : tag + 2].lower() == "a" else "loaded"
    return use


def _images(text: str) -> set[int]:
    """Where a `]` closes a `![`, or closes nothing that is to be seen, so that it may."""
    opened: list[int] = []
    images = set()
    for at in [at for at, letter in enumerate(text) if letter in "[]"]:
        if text[at - 1 : at] == "\\":
            continue
        if text[at] == "[":
            opened.append(at)
        elif not opened or text[max(0, opened.pop() - 1)] == "!":
            images.add(at)
    return images


def _bare(text: str, start: int, end: int) -> tuple[int, int]:
    """The span without the quotes or angle brackets around it, and without the full stop of its sentence."""
    if end - start >= 2 and text[start] in "\"'<" and text[end - 1] in "\"'>":
        return start + 1, end - 1
    while end > start and text[end - 1] in ".,;:!?'\"*_~])}" and not (text[end - 1] == ")" and "(" in text[start:end]):
        end -= 1
    return start, end


def _plain(url: str) -> str:
    """`url` as a browser reads it: no control characters or line breaks, backslashes as slashes, no wide letters."""
    kept = "".join(character for character in unicodedata.normalize("NFKC", url) if character >= " ")
    return kept.strip().replace("\\", "/")


def _host(url: str) -> str:
    # Browsers take any number of slashes after the scheme.
    rest = compiled(_SCHEME).sub("", url).lstrip("/")
    try:
        return (urlsplit("//" + rest).hostname or "").rstrip(".").lower()
    except ValueError:
        return "?"


def _is_allowed(host: str, hosts: Collection[str]) -> bool:
    if host in hosts or any(entry.startswith(".") and f".{host}".endswith(entry) for entry in hosts):
        return True
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _carries(url: str, host: str, use: Use) -> bool:
    """Whether following `url` tells its host something: a query, or a path or name that holds encoded data."""
    before, mark, query = url.partition("#")[0].partition("?")
    if mark and query:
        return use != "plain" or len(query) >= _LEAST_PLAIN
    if "@" in before.partition("//")[2].partition("/")[0]:
        return True
    if any(len(label) > 30 for label in host.split(".")):
        return True
    return use == "loaded" and any(_bits(match.group()) >= 3.3 for match in compiled(_RUN).finditer(before))


def _bits(run: str) -> float:
    """Bits per character; 0 for words with hyphens or underscores between them."""
    if not any(character.isdigit() for character in run) and run.lower() == run:
        return 0.0
    return -sum(count / len(run) * math.log2(count / len(run)) for count in Counter(run).values())


def _without_query(url: str) -> str:
    cut = min((place for place in (url.find("?"), url.find("&quest;"), url.find("&#")) if place >= 0), default=-1)
    return url[:cut] if cut > 0 and _host_is_plain(url) else REMOVED


def _host_is_plain(url: str) -> bool:
    """Whether what remains of `url` is as harmless as it looks: no user name, no encoded name of a host."""
    authority = _plain(url).partition("//")[2].partition("/")[0].partition("?")[0]
    return "@" not in authority and all(len(label) <= 30 for label in authority.split("."))
