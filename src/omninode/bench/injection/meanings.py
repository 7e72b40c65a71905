"""Which words mean the same to the injection model, whatever their language: the table of `concepts.toml`."""

from __future__ import annotations

import tomllib
from importlib.resources import files

from omninode.validation.features import Concepts, no_concepts, word_at
from omninode.validation.views import scored_text

__all__ = ["concepts"]


def concepts() -> Concepts:
    """The concept of each word; of a word that is listed twice, or falls together with another, the first."""
    text = files(__package__).joinpath("concepts.toml").read_text(encoding="utf-8")
    found = no_concepts()
    for number, words in enumerate(tomllib.loads(text).values(), start=1):
        for word in words.split():
            place = word_at(scored_text(word))
            if place is not None and not found[place]:
                found[place] = number
    return found
