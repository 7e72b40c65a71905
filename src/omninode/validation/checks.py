"""Checks that a match of a pattern is what it looks like: a checksum, an issuer's range, not a placeholder or code."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from types import MappingProxyType

import re2

__all__ = ["CHECKS"]


def _has_digit(value: str) -> bool:
    return any(character.isdigit() for character in value)


# What stands where a secret would, in examples and in code that reads it from elsewhere.
_STAND_IN = (
    rb"(?i)^\[REDACTED|^\*+$|^x{4,}$|^\.{3}|^<|^\$|^%[({A-Za-z]|^\{|\}$"
    rb"|^(?:your|my|the|some|example|changeme|placeholder|dummy|none|null|true|false|undefined|redacted)(?:[^a-z]|$)"
    rb"|^(?:os\.|process\.|env\.|config\.|settings\.|self\.|this\.|getenv|string|secrets\.|vault:)"
)


@cache
def _stand_in() -> re2._Regexp:
    return re2.compile(_STAND_IN)


def _is_value(value: str) -> bool:
    return not _stand_in().search(value.encode())


def _is_strong(value: str) -> bool:
    """Letters and digits (or other signs) mixed as no word or number is, and nothing that calls or refers."""
    if not _is_value(value) or not any(character.isalpha() for character in value):
        return False
    return _has_digit(value) or any(sign in "!@#$%^*~+/" for sign in value)


def _is_card(value: str) -> bool:
    digits = [int(character) for character in value if character.isdigit()]
    if not _is_issued("".join(map(str, digits))):
        return False
    doubled = [digit if index % 2 == 0 else sum(divmod(2 * digit, 10)) for index, digit in enumerate(reversed(digits))]
    return sum(doubled) % 10 == 0


def _is_issued(number: str) -> bool:
    """Whether the first digits and the length are those of a card issuer (ISO/IEC 7812)."""
    first, two, four, length = number[0], int(number[:2]), int(number[:4]), len(number)
    return (
        (first == "4" and length in {13, 16, 19})
        or (length == 16 and (51 <= two <= 55 or 2221 <= four <= 2720 or two in {35, 62, 64, 65} or four == 6011))
        or (length == 15 and two in {34, 37})
        or (length == 14 and two in {30, 36, 38, 39})
    )


def _is_iban(value: str) -> bool:
    """ISO 13616: the first four characters moved to the end, letters as 10 to 35, leaves 1 modulo 97."""
    compact = value.replace(" ", "")
    return 15 <= len(compact) <= 34 and int("".join(str(int(c, 36)) for c in compact[4:] + compact[:4])) % 97 == 1


# By the name that rules use.
CHECKS = MappingProxyType[str, Callable[[str], bool]](
    {
        "any": lambda _: True,
        "digit": _has_digit,
        "value": _is_value,
        "strong": _is_strong,
        "luhn": _is_card,
        "iban": _is_iban,
    }
)
