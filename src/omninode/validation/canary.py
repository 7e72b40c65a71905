"""Canaries: a token in the system prompt that has no business in an answer, and the ways to find it there all the same.

A token is drawn from a secret of this process and the request it goes into, so nobody can guess it, and a request
that is asked again is the same to the last letter, as a cache of answers needs it to be.
"""

from __future__ import annotations

import base64
import codecs
import hashlib
import html
import unicodedata
from urllib.parse import unquote

__all__ = ["drawn_token", "holds_canary"]

_TAGS = {0xE0000 + code: code for code in range(0x20, 0x7F)}


def drawn_token(secret: bytes, *, about: bytes, size: int = 16) -> str:
    """`size` lower-case letters and digits (5 bits each) that only who knows `secret` can tell from `about`."""
    digest = hashlib.blake2b(about, key=secret, digest_size=32).digest()
    return base64.b32encode(digest).decode().lower()[:size]


def holds_canary(text: str, canary: str) -> bool:
    """Whether `text` tells `canary`: as it is, spaced out, in other widths, reversed, rot13, hex, base64 or escaped."""
    if not canary:
        return False
    shown = html.unescape(unquote(text)).translate(_TAGS)
    letters = "".join(filter(str.isalnum, unicodedata.normalize("NFKC", shown).casefold()))
    token = canary.casefold()
    if any(form in letters for form in (token, token[::-1], codecs.encode(token, "rot13"), token.encode().hex())):
        return True
    packed = "".join(shown.split()).replace("-", "+").replace("_", "/")
    return any(form in packed for word in (canary, canary.upper()) for form in _in_base64(word.encode()))


def _in_base64(token: bytes) -> list[str]:
    """What of `token` base64 always shows, at each of the three places it can begin in a group of three bytes."""
    forms = []
    for shift in range(3):
        encoded = base64.b64encode(b"\0" * shift + token).decode().rstrip("=")
        first = -(-shift * 8 // 6)
        forms.append(encoded[first : first + (len(token) * 8 - 12) // 6])
    return forms
