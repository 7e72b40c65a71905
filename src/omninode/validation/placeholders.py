"""What stands in the place of a value that a model is not to see: `<<EMAIL_1>>`, the same for the same value.

Numbers are given once per run, so a model can tell two addresses apart and an answer can be read. No value is kept
here, only a keyed fingerprint of it; with a vault the value can be put back later.
"""

from __future__ import annotations

import hashlib
import os
import re
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

from omninode.core.errors import InvalidArgumentError
from omninode.validation.patterns import compiled
from omninode.validation.vault import Vault

__all__ = ["LONGEST", "Mention", "Placeholders", "mentions"]

_MAX_VALUES = 10_000
# Up to so many characters it is asked first whether there is a digit, without which there is no name.
_SHORT = 4_000
# What the pattern below matches at most: brackets of 20 and 17 characters, and a name of 60.
LONGEST = 100

_OPEN = r"(?:\\?(?:<|&lt;){1,3}\\?(?:<|&lt;)?|\[\[)\s{0,2}"
_CLOSE = r"(?:\s{0,2}(?:\\?(?:>|&gt;)){1,3}|\s{0,2}\]\])"
_LOOSE = r"[A-Za-z]{1,16}(?:(?:\\?_| )[A-Za-z]{1,16}){0,2}(?:\\?_| |-)?[0-9]{1,6}"
_CLOSED = r"[A-Za-z]{1,16}(?:\\?_[A-Za-z]{1,16}){0,2}(?:\\?_)?[0-9]{1,6}"
_STRICT = r"[A-Z]{1,16}(?:\\?_[A-Z]{1,16}){0,2}\\?_[0-9]{1,6}"
# A model changes case, adds spaces and loses brackets. Without any bracket only the exact letters count: `email_1` may
# be a variable.
_PATTERN = rf"{_OPEN}(?P<loose>{_LOOSE})(?:{_CLOSE})?|\b(?P<tail>{_CLOSED}){_CLOSE}|\b(?P<bare>{_STRICT})\b"


@dataclass(frozen=True, slots=True)
class Mention:
    """Something that reads as a placeholder, where it stands, and the name it means."""

    start: int
    end: int
    name: str


class Placeholders:
    """Gives out placeholders for one run. Safe to use from several threads.

    Args:
        vault: keeps the values for the way back; None when they are not to come back.
        max_values: how many values get a number; what is beyond is replaced by `<<KIND>>` and counted in `overflowed`.
    """

    def __init__(self, *, vault: Vault | None = None, max_values: int = _MAX_VALUES) -> None:
        if max_values < 1:
            raise InvalidArgumentError(f"max_values is {max_values}; choose at least 1")
        self.vault = vault
        self.overflowed = 0
        self._max_values = max_values
        self._key = os.urandom(32)
        self._names: dict[bytes, str] = {}
        self._given: set[str] = set()
        self._taken: set[str] = set()
        self._counts: Counter[str] = Counter()
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"Placeholders({len(self._names)} values)"

    def replace(self, kind: str, value: str) -> str:
        """The placeholder of `value`, which is of `kind`; the same one each time."""
        data = f"{kind}\0{value}".encode("utf-8", "surrogatepass")
        mark = hashlib.blake2b(data, key=self._key, digest_size=16).digest()
        with self._lock:
            name = self._names.get(mark)
            if name is None and len(self._names) < self._max_values:
                name = self._next(kind)
                self._names[mark] = name
                self._given.add(name)
                if self.vault is not None:
                    self.vault.keep(name, value)
            if name is None:
                self.overflowed += 1
                return f"<<{kind}>>"
        return f"<<{name}>>"

    def reserve(self, text: str) -> None:
        """Give no value a name that `text` already holds: it would be put back where no value ever stood."""
        names = {mention.name for mention in mentions(text)}
        if not names:
            return
        with self._lock:
            # Bounded: a text of names only must not grow the set without end; ours are numbered from 1.
            self._taken.update(sorted(names - self._given)[: max(0, self._max_values - len(self._taken))])

    def forged(self, text: str) -> list[Mention]:
        """The places where `text`, which nobody gave placeholders to, holds one that stands for a value."""
        return [mention for mention in mentions(text) if mention.name in self._given]

    def _next(self, kind: str) -> str:
        while True:
            self._counts[kind] += 1
            name = f"{kind}_{self._counts[kind]}"
            if name not in self._taken:
                return name


def mentions(text: str) -> Iterator[Mention]:
    """What reads as a placeholder in `text`, as written or as a model mangles it, in order."""
    if len(text) <= _SHORT and _digit().search(text) is None:
        return
    # A lone surrogate becomes one question mark, so places stay the same.
    for match in compiled(_PATTERN).finditer(text if text.isascii() else text.encode("utf-8", "replace").decode()):
        written = match.group("loose") or match.group("tail") or match.group("bare")
        start, end = match.span()
        yield Mention(start, end, _name(written))


@cache
def _digit() -> re.Pattern[str]:
    # Of the standard library, which is quicker to begin, and holds up every other thread while it is at it.
    return re.compile("[0-9]")


def _name(written: str) -> str:
    plain = written.upper().replace("\\", "").replace(" ", "_").replace("-", "_")
    letters = plain.rstrip("0123456789")
    return f"{letters.rstrip('_')}_{int(plain[len(letters) :])}"
