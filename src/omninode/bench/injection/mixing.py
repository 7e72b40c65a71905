"""More texts to train on, made of the ones there are: attacks amid harmless text, harmless text beside its like.

An attack rarely comes alone, and a classifier that has only seen it alone is talked down by what stands around it. And
since long texts are read by window, windows of harmless ones are texts as well.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

__all__ = ["Mixed", "mixed"]

# Characters of a text that may be mixed; a longer one is mixed already.
_SHORT_ATTACK, _SHORT_HARMLESS, _LEAST = 300, 200, 15
_ATTACKS = 0.6
_WINDOW = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class Mixed:
    """A text made of others, and the number of the one that it belongs to: it has its label and its say."""

    text: str
    of: int


def mixed(texts: Sequence[str], *, is_attack: Sequence[bool], folds: Sequence[str], seed: int) -> list[Mixed]:
    """Mixtures of `texts`, the same for the same seed; what is mixed is of one fold, so that none tells of another."""
    random = Random(seed)  # noqa: S311 - draws texts
    harmless: dict[str, list[int]] = {}
    for number, text in enumerate(texts):
        if not is_attack[number] and _LEAST < len(text) < _SHORT_HARMLESS:
            harmless.setdefault(folds[number], []).append(number)
    found = []
    for number, text in enumerate(texts):
        partners = harmless.get(folds[number], [])
        if is_attack[number] and len(text) < _SHORT_ATTACK and len(partners) > 1 and random.random() < _ATTACKS:
            around = " ".join(texts[each] for each in random.sample(partners, random.choice((1, 1, 2))))
            found.append(Mixed(text=_beside(text, around, random), of=number))
            first, second = random.sample(partners, 2)
            found.append(Mixed(text=f"{texts[first]} {texts[second]}", of=first))
        elif not is_attack[number] and len(text) > _WINDOW + _WINDOW // 2:
            at = random.randrange(len(text) - _WINDOW)
            found.append(Mixed(text=text[at : at + _WINDOW], of=number))
    return found


def _beside(attack: str, around: str, random: Random) -> str:
    """The attack before or behind what is harmless, which may break off."""
    if random.random() < 0.3:
        around = around[: random.randrange(len(around))]
    return random.choice((f"{around} {attack}", f"{around}. {attack}", f"{attack} {around}", f"{around}\n{attack}"))
