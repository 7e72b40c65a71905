"""Many short texts at once: which of them hold nothing that any detector would so much as look at twice.

They are read as one text, so that the cost of a call is shared; where something is found, each half by itself. A text
that is let through would have been passed on unchanged, without a finding; any other is screened by itself.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from omninode.validation import injection, markup
from omninode.validation.batch import log_odds
from omninode.validation.glance import direct
from omninode.validation.limits import not_text
from omninode.validation.model import packaged
from omninode.validation.origin import Derived
from omninode.validation.pace import Pace
from omninode.validation.placeholders import Placeholders
from omninode.validation.policy import ValidationPolicy
from omninode.validation.report import Action
from omninode.validation.secrets import scan
from omninode.validation.turned import turned
from omninode.validation.unicode import clean
from omninode.validation.views import is_leet, leet, ordinary

__all__ = ["quiet"]

# A text up to this length is one window to the model.
_SHORT = 300
_TOGETHER = 4_000


def quiet(texts: Sequence[str], *, policy: ValidationPolicy, placeholders: Placeholders, pace: Pace) -> list[bool]:
    """Whether each of `texts`, all of somebody who may instruct, would be passed on as it is, with no finding.

    False only means that it has to be screened. Names that they use for placeholders are reserved.
    """
    readings: list[list[str] | None] = [None] * len(texts)
    for batch in _batches(texts):
        sifted = _sifted([texts[index] for index in batch], policy=policy, placeholders=placeholders)
        for index, own in zip(batch, sifted, strict=True):
            readings[index] = own
        pace.pause()
    return _are_low(readings, below=policy.flag_score, pace=pace)


def _batches(texts: Sequence[str]) -> Iterator[list[int]]:
    """Which texts are taken together: those of ASCII apart from the others, for which more is to be done."""
    ascii_only = list(map(str.isascii, texts))
    for are_ascii in (True, False):
        batch: list[int] = []
        size = 0
        for index in np.flatnonzero(np.array(ascii_only) == are_ascii).tolist():
            if batch and size + len(texts[index]) > _TOGETHER:
                yield batch
                batch, size = [], 0
            batch.append(index)
            size += len(texts[index])
        if batch:
            yield batch


def _sifted(texts: list[str], *, policy: ValidationPolicy, placeholders: Placeholders) -> list[list[str] | None]:
    """What the model has to read of each text; None for one that another detector may have something to say of."""
    readings = _readings(texts, policy=policy, placeholders=placeholders)
    if readings is not None:
        return readings
    if len(texts) == 1:
        return [None]
    middle = len(texts) // 2
    first = _sifted(texts[:middle], policy=policy, placeholders=placeholders)
    return first + _sifted(texts[middle:], policy=policy, placeholders=placeholders)


def _readings(
    texts: list[str], *, policy: ValidationPolicy, placeholders: Placeholders
) -> list[list[str] | None] | None:
    """The same for texts taken together; None when there is anything in one that cannot be told to be harmless here."""
    joined = "\n".join(texts)
    if len(max(texts, key=len)) > _SHORT or not all(map(str.strip, texts)) or not_text(joined) is not None:
        return None
    cleaned = clean(joined)
    if cleaned.text != joined:
        return None
    placeholders.reserve(joined)
    if scan(joined, personal=policy.personal_data is not Action.ALLOW) or any(markup.notes(cleaned.derived, path="")):
        return None
    latin = ordinary(cleaned.derived)
    if latin is None:
        return None
    ends = np.cumsum([len(text) + 1 for text in texts]).tolist()
    starts = [0, *ends[:-1]]
    plain = {latin.text, leet(latin.text), *([latin.source.text] if latin.source else [])}
    parts = [latin.text[start : end - 1] for start, end in zip(starts, ends, strict=True)]
    may_be_leet = len(plain) > 1 and leet(latin.text) in plain and leet(latin.text) != latin.text
    readings: list[list[str] | None] = [[leet(part) if may_be_leet and is_leet(part) else part] for part in parts]
    others: dict[int, list[str]] = {}
    for index in _at([place for each in turned(latin, are_several=True) for place in each.stretches], starts):
        others[index] = [each.derived.text for each in turned(Derived(text=parts[index]))]
        readings[index] = [*(readings[index] or ()), *others[index]]
    matched = _at([place for text in plain for place in injection.rule_places(text)], starts)
    for index in matched | others.keys():
        whole = [text[starts[index] : ends[index] - 1] for text in plain]
        if any(injection.rule_score(text) >= policy.flag_score for text in (*whole, *others.get(index, ()))):
            readings[index] = None
    return readings


def _at(places: Iterable[tuple[int, int]], starts: list[int]) -> set[int]:
    """Which of the texts that begin at `starts` hold any of the stretches."""
    return {
        index
        for start, end in places
        for index in range(bisect_right(starts, start) - 1, max(bisect_left(starts, end), bisect_right(starts, start)))
    }


def _are_low(readings: Sequence[list[str] | None], *, below: float, pace: Pace) -> list[bool]:
    """Whether the model gives every reading of a text less than the score `below`; not for a text without."""
    are_low = [own is not None for own in readings]
    asked = [(index, each) for index, own in enumerate(readings) for each in own or ()]
    if below >= injection.REPORTED:
        asked = [each for lot in _lots(asked) for each in _not_passed(lot, pace)]
    for lot in _lots(asked):
        odds = log_odds(packaged().direct, [each for _, each in lot]).tolist()
        for (index, _), each in zip(lot, odds, strict=True):
            are_low[index] = are_low[index] and injection.score_of(each) < below
        pace.pause()
    return are_low


def _not_passed(lot: Sequence[tuple[int, str]], pace: Pace) -> list[tuple[int, str]]:
    """Those that a glance does not pass over."""
    pace.pause()
    passed = direct().passes_over([each for _, each in lot])
    return [each for each, is_passed in zip(lot, passed, strict=True) if not is_passed]


def _lots(asked: Sequence[tuple[int, str]]) -> Iterator[Sequence[tuple[int, str]]]:
    ends = np.cumsum([len(each) for _, each in asked])
    start = 0
    while start < len(asked):
        end = max(start + 1, int(np.searchsorted(ends, (ends[start - 1] if start else 0) + _TOGETHER)))
        yield asked[start:end]
        start = end
