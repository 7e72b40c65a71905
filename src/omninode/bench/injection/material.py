"""The head for material from outside: what it is trained on, what it is measured on, and with what threshold."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from random import Random

import numpy as np

from omninode.bench.injection.data import Sample, made, made_documents, written
from omninode.bench.injection.planted import FOLDS, Planted, documents, fold, payloads, planted
from omninode.bench.injection.training import Fitted, Labelled, calibrated, counted, placed, trained
from omninode.validation.features import Concepts
from omninode.validation.model import PLANTED
from omninode.validation.views import scored_text

__all__ = ["measured_documents", "planted_head"]

_COST = 1.0
# Our own documents that tell of attacks: too few for a threshold of their own.
_ON_SECURITY = "written on security"
# As long as a window; of a clean document one for so many characters, within these bounds.
_SNIPPET = 120
_APART, _FEWEST, _MOST = 150, 6, 60


def planted_head(samples: Sequence[Sample], *, concepts: Concepts, say: Callable[[str], None]) -> Fitted:
    """The head for material from outside; calibrated on documents and payloads of a fold it was not trained on."""
    clean, told = _clean(samples), _told(samples)
    asked = [*told, *_own_payloads()]
    facts, labels, source = [], [], []
    for held in range(FOLDS):
        rest = _snippets(
            [text for text in clean if fold(text) != held],
            [text for text in asked if fold(text) != held],
            concepts=concepts,
        )
        head = trained(rest, cost=_COST).head(shape=PLANTED, concepts=concepts)
        for text, label, name in _measured(clean, told, held):
            facts.append(head.facts(scored_text(text))[0])
            labels.append(label)
            source.append(name)
        say(f"planted head without fold {held}")
    joined, is_attack = np.array(facts), np.array(labels)
    scale = calibrated(
        joined,
        is_attack=is_attack,
        importance=np.ones(is_attack.size),
        threshold=lambda benign: placed(benign, np.array(source)[~is_attack], hard=(), aside=[_ON_SECURITY]),
    )
    return Fitted(
        stored=trained(_snippets(list(clean), asked, concepts=concepts), cost=_COST),
        scale=scale,
        log_odds=joined @ scale[:-1] + scale[-1],
        is_attack=is_attack,
        source=tuple(source),
        kind=tuple(source),
        group=tuple(range(len(source))),
        is_ordinary=~is_attack & (np.array(source) != _ON_SECURITY),
    )


def measured_documents(samples: Sequence[Sample]) -> list[str]:
    """What the head for material is measured on: each clean document as it is, and with something planted in it."""
    clean, told = _clean(samples), _told(samples)
    return [text for held in range(FOLDS) for text, _, _ in _measured(clean, told, held)]


def _clean(samples: Sequence[Sample]) -> dict[str, str]:
    """Clean documents, each with where it is from."""
    return {
        **dict.fromkeys(made_documents(1_200, seed=3), "own"),
        **dict.fromkeys(_written("documents,"), "written"),
        **dict.fromkeys(_written("documents, security_text"), _ON_SECURITY),
        **dict.fromkeys(_written("pages,"), "pages"),
        **dict.fromkeys(documents(samples), "folder"),
    }


def _told(samples: Sequence[Sample]) -> dict[str, str]:
    """What is planted in documents to measure, each with where it is from."""
    return {**dict.fromkeys(_written("planted,"), "written"), **dict.fromkeys(payloads(samples), "folder")}


def _written(*kinds: str) -> list[str]:
    """Our own texts of the kinds that begin so."""
    return [sample.text for sample in written() if sample.kind.startswith(kinds)]


def _own_payloads() -> list[str]:
    """What ordinary requests and attacks say; planted in a document both are instructions out of place."""
    kinds = {"own_instruct", "own_describe", "own_plain", "own_override", "own_reveal", "own_boundary", "own_harm"}
    own = [*made("benign", seed=4), *made("attack", seed=5)]
    told = [sample.text for sample in own if sample.kind in kinds]
    told += _written(*_TELLING)
    return [text for text in told if len(text) < 400]


_TELLING = ("override, override", "extract, prompt_extraction", "extract, credentials", "general, instruction")


def _measured(clean: Mapping[str, str], told: Mapping[str, str], held: int) -> list[tuple[str, bool, str]]:
    """Documents of the fold as they are, and with a payload of the same kind and the fold planted in each."""
    random = Random(held)  # noqa: S311 - draws places
    asked: dict[str, list[str]] = {}
    for text, name in told.items():
        if fold(text) == held:
            asked.setdefault(name, []).append(text)
    found = []
    for text, name in clean.items():
        if fold(text) == held:
            payload = random.choice(asked["folder" if name in {"folder", "own"} else "written"])
            found += [(text, False, name), (planted(text, payload, random=random).text, True, name)]
    return found


def _snippets(clean: Sequence[str], asked: Sequence[str], *, concepts: Concepts) -> Labelled:
    """Stretches as long as a window: of clean documents, and of documents where something is planted."""
    random = Random(7)  # noqa: S311 - draws places
    texts: list[str] = []
    labels: list[bool] = []
    for text in clean:
        for _ in range(min(_MOST, max(_FEWEST, len(text) // _APART))):
            at = random.randrange(max(1, len(text) - _SNIPPET + 1))
            texts.append(text[at : at + _SNIPPET])
            labels.append(False)
    for payload in asked:
        for _ in range(3):
            texts.append(_around(planted(random.choice(clean), payload, random=random), random))
            labels.append(True)
    folded = [scored_text(text) for text in texts]
    return Labelled(counts=counted(folded, concepts), is_attack=np.array(labels), importance=np.ones(len(labels)))


def _around(found: Planted, random: Random) -> str:
    """A stretch of the document that holds the payload, or as much of it as a window can."""
    spare = max(0, _SNIPPET - len(found.payload))
    at = max(0, found.start - random.randint(0, spare))
    if len(found.payload) > _SNIPPET:
        at = found.start + random.randrange(len(found.payload) - _SNIPPET + 1)
    return found.text[at : at + _SNIPPET]
