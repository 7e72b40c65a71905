"""What a request says, read without a model: its content words, and the parts it asks for.

Rules, not understanding: sentences and list items are split where a new action begins ("add a parser and test it" has
two parts). Planner and voter read by the same rules but judge independently.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

__all__ = ["Kind", "Part", "parts", "stem", "terms"]

Kind = Literal["code", "debug", "test", "research", "review", "document"]

_VERBS: dict[Kind, str] = {
    "code": (
        "add implement write create build make extend support introduce refactor rename move remove delete replace"
        " migrate change update convert generate design develop integrate configure set install deploy optimise"
        " optimize improve speed simplify split extract cache parse print log expose port upgrade enable disable"
    ),
    "debug": "fix debug repair solve resolve diagnose troubleshoot reproduce correct trace",
    "test": "test cover check verify measure benchmark profile validate run",
    "research": (
        "find explain investigate research compare summarise summarize analyse analyze list describe explore"
        " identify show tell outline study understand evaluate look search read map count assess propose suggest"
        " recommend plan"
    ),
    "review": "review audit inspect critique proofread",
    "document": "document",
}
_PROPOSING = {"suggest", "propose", "recommend", "plan"}
_KIND_OF: dict[str, Kind] = {verb: kind for kind, verbs in _VERBS.items() for verb in verbs.split()}
_QUESTION = re.compile(
    r"^(how|what|why|where|which|who|when|is|are|does|do|can|could)\b.*\?$", re.IGNORECASE | re.DOTALL
)
_DUTY = re.compile(r"\b(must|should|shall|needs? to|has to|have to)\b", re.IGNORECASE)
_LEAD = re.compile(
    r"^(?:(?:please|also|then|finally|next|first|second|lastly|afterwards|and|now|can you|could you|would you"
    r"|i want you to|i want to|i would like to|we want to|we need to|i need to|you should|let's|let us|help me|to)\b"
    r"[\s,:]*)+",
    re.IGNORECASE,
)
# "I'd like you to add …": the action comes after a wish that `_LEAD` does not know word for word.
_WISH = re.compile(
    r"\b(?:like|want|need|wish|love|please|could|can|would|will)\s+(?:\w+\s+){0,2}?(?:to\s+)?("
    + "|".join(_KIND_OF)
    + r")\b.*",
    re.IGNORECASE | re.DOTALL,
)
_ITEM = re.compile(r"^\s*(?:[-*+•]|\(?\d{1,3}[.)]|\[[ x]\])\s+(?:\[[ x]\]\s+)?")
_SENTENCE_END = re.compile(r"(?<=[.!?])[\"')]*\s+(?=[\"'(`]?[A-Z0-9])")
_JOINT = re.compile(
    r"\s*;\s*|\s*,\s*(?:and\s+)?(?:then\s+|also\s+|finally\s+)*|\s+(?:and|then)\s+(?:then\s+|also\s+|finally\s+)*"
)
_OBJECTS = re.compile(r"\s*,\s*(?:and\s+|or\s+)?|\s+and\s+")
_ARTICLE = re.compile(r"(?:an?|the|one|another)\s", re.IGNORECASE)
_WORD = re.compile(r"[^\W_]+")
_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])")
_STOP_WORDS = (
    "a an and or but not no the this that these those it its i me my we us our you your he she they them their is"
    " are was were be been being do does did done has have had will would can could should shall may might must"
    " need needs to of in on at by for from with without into onto over under about as if then than so such there"
    " here what which who whom whose when where why how all any each every some more most other only own same too"
    " very just also please using use via per up out off again new one make sure let get"
)
_STOP = frozenset(_STOP_WORDS.split())
_MAX_PARTS = 40
# How far to look for the verb a clause begins with; a bound, so that long lines take linear time.
_LOOK_CHARS = 120


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One thing a request asks for: its words, what kind of work it is, and whether it says "then"."""

    text: str
    kind: Kind
    follows: bool = False

    @property
    def object_terms(self) -> frozenset[str]:
        """The stems of its content words without the verb it begins with."""
        verb = _verb(self.text)
        return frozenset(terms(self.text)) - {stem(verb) if verb else ""}


@lru_cache(maxsize=4096)
def stem(word: str) -> str:
    """The word without its commonest English endings, in lower case: "caches", "caching" and "cache" agree."""
    low = word.lower()
    for ending, replacement in (("ies", "y"), ("ing", ""), ("ed", ""), ("es", ""), ("s", ""), ("e", "")):
        if low.endswith(ending) and len(low) - len(ending) >= 3 and not low.endswith("ss"):
            low = low[: -len(ending)] + replacement
            break
    return low.removesuffix("e") if len(low) > 3 else low


def terms(text: str) -> list[str]:
    """The stems of the content words, in order, with repetitions; names are taken apart (snake, camel, paths)."""
    return [stem(word) for word in _WORD.findall(_CAMEL.sub(" ", text)) if word.lower() not in _STOP]


@lru_cache(maxsize=256)
def parts(request: str) -> tuple[Part, ...]:
    """What `request` asks for, in its order; never empty for a request with words, at most 40."""
    found: list[Part] = []
    statements: list[str] = []
    for sentence, is_item in _sentences(request):
        pieces = list(_clauses(sentence))
        actions = [piece for piece in pieces if piece is not None]
        if actions:
            found.extend(actions)
        elif is_item:
            found.append(Part(text=sentence, kind=_kind_by_words(sentence)))
        else:
            statements.append(sentence)
    if not found:
        found = [Part(text=text, kind=_kind_by_words(text)) for text in statements]
    return tuple(_unique(found))[:_MAX_PARTS]


def _sentences(request: str) -> Iterable[tuple[str, bool]]:
    heading = ""
    for line in request.splitlines():
        text = line.strip()
        if not text:
            heading = ""
            continue
        is_item = bool(_ITEM.match(line))
        text = _ITEM.sub("", line).strip() if is_item else text.lstrip("# ")
        if text.endswith(":") and not is_item:
            heading = text[:-1].strip() if _verb(text) else ""
            continue
        if is_item and heading and not _verb(text):
            text = f"{heading} {text}"
        for sentence in _SENTENCE_END.split(text):
            if _WORD.search(sentence):
                yield sentence.strip(), is_item


def _clauses(sentence: str) -> Iterable[Part | None]:
    if _QUESTION.match(sentence) and not _verb(sentence):
        yield Part(text=sentence, kind="research")
        return
    start, follows = 0, False
    for joint in [*_JOINT.finditer(sentence), None]:
        end = len(sentence) if joint is None else joint.start()
        if joint is not None and not _begins_action(sentence, joint):
            continue
        yield from _objects(_clause(sentence[start:end], follows=follows))
        if joint is not None:
            start, follows = joint.end(), "then" in joint.group().split()


def _begins_action(sentence: str, joint: re.Match[str]) -> bool:
    if not _verb(sentence[joint.end() : joint.end() + _LOOK_CHARS]):
        return False
    before = _WORD.findall(sentence[max(0, joint.start() - _LOOK_CHARS) : joint.start()])
    # "how to read and write": two verbs that share an object stay together.
    return not (joint.group().strip() == "and" and before and before[-1].lower() in _KIND_OF)


def _clause(text: str, *, follows: bool) -> Part | None:
    clean = text.strip(" \t,;.?!")
    verb = _verb(clean)
    if not verb and (wish := _WISH.search(clean)):
        verb = wish.group(1).lower()
        clean = clean[wish.start(1) :]
    if verb:
        bare = _LEAD.sub("", clean)
        kind = _KIND_OF[verb]
        return Part(text=bare[:1].upper() + bare[1:], kind=_refined(kind, bare), follows=follows)
    if _DUTY.search(clean):
        return Part(text=clean, kind=_kind_by_words(clean, otherwise="code"), follows=follows)
    return None


def _objects(part: Part | None) -> Iterable[Part | None]:
    """A list of three or more short objects of one verb becomes a part each ("summarise a, b and c").

    Where things are made, each must begin with an article: "add a small, fast and simple parser" is one thing.
    """
    if part is None:
        yield part
        return
    verb, _, rest = part.text.partition(" ")
    items = _OBJECTS.split(rest)
    is_list = len(items) >= 3 and all(1 <= len(item.split()) <= 5 for item in items)
    if not is_list or (part.kind in {"code", "debug"} and not all(_ARTICLE.match(item) for item in items)):
        yield part
        return
    for item in items:
        yield Part(text=f"{verb} {item}", kind=part.kind, follows=part.follows)


def _verb(text: str) -> str | None:
    """The action verb `text` begins with, after polite words; None when it begins otherwise."""
    match = _WORD.search(_LEAD.sub("", text[:_LOOK_CHARS]))
    word = match.group().lower() if match else ""
    return word if word in _KIND_OF else None


def _refined(kind: Kind, text: str) -> Kind:
    """Writing or suggesting tests is testing, and writing a manual is documenting, whatever the verb."""
    verb, *following = _WORD.findall(text.lower())[:5]
    words = set(following)
    if (kind == "code" or verb in _PROPOSING) and words & {"test", "tests"}:
        return "test"
    if kind in {"code", "debug"} and words & {
        "readme",
        "docs",
        "documentation",
        "changelog",
        "docstring",
        "docstrings",
    }:
        return "document"
    return kind


def _kind_by_words(text: str, *, otherwise: Kind = "research") -> Kind:
    for word in _WORD.findall(text.lower()):
        if word in _KIND_OF:
            return _KIND_OF[word]
    return otherwise


def _unique(found: Iterable[Part]) -> Iterable[Part]:
    seen: set[str] = set()
    for part in found:
        key = part.text.casefold()
        if key not in seen:
            seen.add(key)
            yield part
