"""Checks that a match of a pattern is what it looks like: a checksum, an issuer's range, not a placeholder or code."""

from __future__ import annotations

import base64
import ipaddress
from collections.abc import Callable, Iterator
from types import MappingProxyType

from omninode.validation.patterns import compiled

__all__ = ["CHECKS"]


def _has_digit(value: str) -> bool:
    return any(character.isdigit() for character in value)


# What stands where a secret would, in examples and in code that reads it from elsewhere.
_STAND_IN = (
    rb"(?i)^\[REDACTED|^\*+$|^x{4,}$|^\.{3}|^<|^\$|^%[({A-Za-z]|^\{|\}$"
    rb"|^(?:your|my|the|some|example|changeme|placeholder|dummy|none|null|true|false|undefined|redacted)(?:[^a-z]|$)"
    rb"|^(?:os\.|process\.|env\.|config\.|settings\.|self\.|this\.|getenv|string|secrets\.|vault:)"
)
_RUNS = "[A-Za-z0-9]{16,}"


def _is_value(value: str) -> bool:
    return not compiled(_STAND_IN).search(value.encode())


def _is_strong(value: str) -> bool:
    """Letters and digits (or other signs) mixed as no word or number is, and nothing that calls or refers."""
    if not _is_value(value) or not any(character.isalpha() for character in value):
        return False
    return _has_digit(value) or any(sign in "!@#$%^*~+/" for sign in value)


def _is_cased(value: str) -> bool:
    """A run of 16 letters and digits or more with letters of both cases, as hardly any word or number has."""
    return any(run != run.lower() and run != run.upper() for run in compiled(_RUNS).findall(value))


def _is_mixed(value: str) -> bool:
    """Such a run with a digit in it too, as names in code seldom have."""
    return any(run != run.lower() and run != run.upper() and _has_digit(run) for run in compiled(_RUNS).findall(value))


def _is_jose(value: str) -> bool:
    """Whether the part before the first dot ends in the header of a token (RFC 7515): an object of JSON in base64."""
    header = value.partition(".")[0]
    # What the token is glued to may itself hold its first letters, so the header begins at one of the last.
    return any(_is_header(header[start:]) for start in _last_starts(header, "eyJ", most=4))


def _last_starts(text: str, part: str, *, most: int) -> Iterator[int]:
    start = text.rfind(part)
    while start >= 0 and most > 0:
        yield start
        start, most = text.rfind(part, 0, start), most - 1


def _is_header(header: str) -> bool:
    try:
        text = base64.urlsafe_b64decode(header + "=" * (-len(header) % 4)).decode("ascii")
    except ValueError:
        return False
    return text.startswith('{"') and text.rstrip().endswith("}")


def _is_card(value: str) -> bool:
    # On a page of numbers this is asked thousands of times, and most begin like no card.
    number = "".join(filter(str.isdecimal, value))
    if not _is_issued(number):
        return False
    digits = list(map(int, reversed(number)))
    return (sum(digits[::2]) + sum(sum(divmod(2 * digit, 10)) for digit in digits[1::2])) % 10 == 0


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


# ITU-T E.164: the first two digits of the country codes there are, of those of three digits too; 1 and 7 stand alone.
_COUNTRIES = frozenset({*range(20, 70), *range(80, 100)} - {28, 83, 89})


def _digits(value: str) -> str:
    return "".join(character for character in value if character.isdigit())


def _is_phone(value: str) -> bool:
    """A number in international form: a country code there is, and in North America an area and exchange there are."""
    digits = _digits(value)
    if digits[0] == "1":
        return digits[1] in "23456789" and digits[4] in "23456789"
    return digits[0] == "7" or int(digits[:2]) in _COUNTRIES


def _is_national_phone(value: str) -> bool:
    """Digits that a word announced as a telephone number, and that are no date."""
    parts = value.replace("/", "-").replace(".", "-").split("-")
    return [len(part) for part in parts] not in ([4, 2, 2], [2, 2, 4])


def _is_ssn(value: str) -> bool:
    """A number that the United States may have given out: no group of zeros, no area 666."""
    digits = _digits(value)
    return digits[:3] not in {"000", "666"} and digits[3:5] != "00" and digits[5:] != "0000"


# Who answers at these is no person, and code is full of them.
_MACHINE_NAMES = frozenset(["git", "hg", "svn", "noreply", "no-reply", "donotreply", "do-not-reply"])
# `icon@2x.png`, `chart@latest.js`: a file, not a domain.
_FILE_ENDINGS = frozenset(
    [
        "css",
        "gif",
        "html",
        "ico",
        "jpeg",
        "jpg",
        "js",
        "json",
        "jsx",
        "md",
        "mjs",
        "pdf",
        "png",
        "svg",
        "toml",
        "ts",
        "tsx",
        "txt",
        "webp",
        "yaml",
        "yml",
    ]
)


def _is_email(value: str) -> bool:
    name, _, domain = value.lower().rpartition("@")
    if name in _MACHINE_NAMES or "noreply" in domain or ".." in name:
        return False
    return domain.rpartition(".")[2] not in _FILE_ENDINGS


def _is_numbering(parts: list[str]) -> bool:
    """Whether four numbers look like those of a release, a section or an object identifier."""
    return sum(map(len, parts)) < 7 or (parts[0] in {"0", "1", "2"} and len(parts[1]) == 1)


# Ranges for examples (RFC 5737, RFC 3849) stand for public addresses, so they are treated as such.
_EXAMPLES = tuple(map(ipaddress.ip_network, ("192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "2001:db8::/32")))
_RESOLVERS = frozenset(["8.8.8.8", "8.8.4.4", "1.1.1.1", "1.0.0.1", "9.9.9.9"])


def _is_public_ip(value: str) -> bool:
    """An address that can tell of a person: public, no name server known to all, and no version number."""
    try:
        address = ipaddress.ip_address(value)
    except ValueError:
        return False
    if value in _RESOLVERS or (address.version == 4 and _is_numbering(value.split("."))):
        return False
    return (address.is_global and not address.is_multicast) or any(address in network for network in _EXAMPLES)


# By the name that rules use.
CHECKS = MappingProxyType[str, Callable[[str], bool]](
    {
        "any": lambda _: True,
        "digit": _has_digit,
        "value": _is_value,
        "strong": _is_strong,
        "mixed": _is_mixed,
        "cased": _is_cased,
        "jose": _is_jose,
        "luhn": _is_card,
        "iban": _is_iban,
        "email": _is_email,
        "phone": _is_phone,
        "national": _is_national_phone,
        "ssn": _is_ssn,
        "ip": _is_public_ip,
    }
)
