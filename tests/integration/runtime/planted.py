"""Fifty secrets, two or more of each kind that the rules know, made from a seed."""

from __future__ import annotations

import base64
import random
import string
from collections.abc import Callable
from dataclasses import dataclass

ALNUM = string.ascii_letters + string.digits


@dataclass(frozen=True)
class Planted:
    """A secret as it would stand in text; `value` must be found nowhere."""

    kind: str
    text: str
    value: str


def _luhn(digits: str) -> str:
    doubled = [int(d) if i % 2 else sum(divmod(2 * int(d), 10)) for i, d in enumerate(reversed(digits))]
    return digits + str(-sum(doubled) % 10)


def _iban(country: str, account: str) -> str:
    number = int("".join(str(int(c, 36)) for c in f"{account}{country}00"))
    return f"{country}{98 - number % 97:02d}{account}"


def planted(seed: int = 50) -> list[Planted]:
    """The secrets, in an order that the seed decides."""
    draw = random.Random(seed)

    def some(size: int, alphabet: str = ALNUM) -> str:
        return "".join(draw.choices(alphabet, k=size - 2)) + draw.choice("abcdef") + draw.choice("123456789")

    def encoded(size: int) -> str:
        return base64.b64encode(draw.randbytes(size)).decode()

    kinds: dict[str, tuple[str, Callable[[], str]]] = {
        "PRIVATE_KEY": (
            "{}",
            lambda: f"-----BEGIN RSA PRIVATE KEY-----\n{encoded(48)}\n{encoded(48)}\n-----END RSA PRIVATE KEY-----",
        ),
        "ANTHROPIC_KEY": ("{}", lambda: "sk-ant-api03-" + some(60)),
        "OPENAI_KEY": ("{}", lambda: "sk-proj-" + some(48)),
        "GITHUB_TOKEN": ("{}", lambda: "ghp_" + some(36)),
        "GITLAB_TOKEN": ("{}", lambda: "glpat-" + some(24)),
        "AWS_ACCESS_KEY": ("{}", lambda: "AKIA" + some(16, string.ascii_uppercase + string.digits).upper()),
        "AWS_SECRET_KEY": ("aws_secret_access_key = {}", lambda: some(40)),
        "GOOGLE_KEY": ("{}", lambda: "AIza" + some(35)),
        "SLACK_TOKEN": ("{}", lambda: "xoxb-" + some(30)),
        "STRIPE_KEY": ("{}", lambda: "sk_live_" + some(24)),
        "HUGGINGFACE_TOKEN": ("{}", lambda: "hf_" + some(34, string.ascii_letters)[:32] + some(3)),
        "PROVIDER_KEY": ("{}", lambda: "gsk_" + some(40)),
        "TELEGRAM_TOKEN": ("{}", lambda: f"{draw.randrange(10**8, 10**9)}:AA{some(33)}"),
        "AZURE_KEY": ("AccountKey={}", lambda: encoded(48)),
        "JWT": ("{}", lambda: f"eyJ{some(20)}.eyJ{some(30)}.{some(40)}"),
        "URL_PASSWORD": ("postgresql://app:{}@db.example/x", lambda: some(16)),
        "AUTHORIZATION": ("Authorization: Bearer {}", lambda: some(32)),
        "COOKIE": ("Cookie: {}", lambda: f"sid={some(32)}"),
        "PASSWORD": ("password is {}", lambda: some(14)),
        "CREDENTIAL": ("client_secret={}", lambda: some(28)),
        "CARD_NUMBER": (
            "card {}",
            lambda: _luhn("4" + some(14, string.digits).translate(str.maketrans("abcdef", "123456"))),
        ),
        "IBAN": ("{}", lambda: _iban("DE", "".join(draw.choice(string.digits) for _ in range(18)))),
        "SSN": ("ssn {}", lambda: f"{draw.randrange(101, 665)}-{draw.randrange(11, 99)}-{draw.randrange(1001, 9999)}"),
    }
    made = []
    for number in range(50):
        kind = list(kinds)[number % len(kinds)]
        template, make = kinds[kind]
        value = make()
        made.append(Planted(kind=kind, text=template.format(value), value=value))
    draw.shuffle(made)
    return made
