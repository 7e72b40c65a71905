"""One ranking out of several: reciprocal rank fusion.

Scores of different sources cannot be compared, ranks can. An item gets `weight / (k + rank)` from every list it is in
(rank from 1), so items several sources agree on rise. Before that each list is rid of its own repetitions: otherwise
a long document would win by its many chunks.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from omninode.context.item import ContextItem, content_key
from omninode.core.errors import InvalidArgumentError

__all__ = ["K", "Ranking", "fuse", "fuse_keys", "merge_contained"]

# The constant of Cormack, Clarke and Buettcher (2009): how fast the first ranks lose their lead.
K = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranking:
    """One list of items, best first, of the source named, with its weight."""

    source: str
    items: Sequence[ContextItem]
    weight: float = 1.0


def fuse_keys(rankings: Iterable[tuple[Sequence[str], float]], *, k: int = K) -> dict[str, float]:
    """The fused score of every key, best first; equal scores keep the order of first appearance.

    A key that a list names twice counts once there, at its better rank.
    """
    if k < 0:
        raise InvalidArgumentError(f"k is {k}; pass zero or more")
    scores: dict[str, float] = {}
    for keys, weight in rankings:
        for rank, key in enumerate(dict.fromkeys(keys), 1):
            scores[key] = scores.get(key, 0.0) + weight / (k + rank)
    return dict(sorted(scores.items(), key=lambda entry: -entry[1]))


def fuse(rankings: Iterable[Ranking], *, k: int = K) -> list[ContextItem]:
    """One list of items, best first, without repetitions; `score` is the fused score.

    Lists of one source (one per query) are fused among themselves first, so that a source asked five queries has no
    more say than a source asked one. Items are the same when their normalised content is; `metadata["origins"]` of
    the one kept names every source that had it.
    """
    by_source: dict[str, list[Ranking]] = {}
    items: dict[str, ContextItem] = {}
    origins: dict[str, list[str]] = {}
    for ranking in rankings:
        by_source.setdefault(ranking.source, []).append(ranking)
        for item in ranking.items:
            key = content_key(item.content)
            items.setdefault(key, item)
            if ranking.source not in origins.setdefault(key, []):
                origins[key].append(ranking.source)
    lists = [_of_source(own, k) for own in by_source.values()]
    scores = fuse_keys(lists, k=k)
    return _with_unique_ids([_scored(items[key], score, origins[key]) for key, score in scores.items()])


def _of_source(rankings: Sequence[Ranking], k: int) -> tuple[Sequence[str], float]:
    keyed = [([content_key(item.content) for item in ranking.items], 1.0) for ranking in rankings]
    return list(fuse_keys(keyed, k=k)), rankings[0].weight


def _scored(item: ContextItem, score: float, origins: Sequence[str]) -> ContextItem:
    metadata = {**item.metadata, "origins": tuple(origins), "source_score": item.score}
    return replace(item, score=score, metadata=metadata)


def _with_unique_ids(items: Sequence[ContextItem]) -> list[ContextItem]:
    taken: set[str] = set()
    unique = []
    for item in items:
        identity = item.id
        if identity in taken:
            identity = f"{item.id}#{content_key(item.content)[:8]}"
        taken.add(identity)
        unique.append(item if identity == item.id else replace(item, id=identity))
    return unique


def merge_contained(items: Sequence[ContextItem]) -> list[ContextItem]:
    """`items` without those whose text lies inside another item of the same path (and the same trust).

    The larger one takes over the better score and the origins, and stands at the better of the two places.
    """
    by_path: dict[tuple[str, str], list[ContextItem]] = {}
    for item in items:
        if item.path is not None:
            by_path.setdefault((item.path, item.trust), []).append(item)
    into = {item.id: holder for group in by_path.values() for item, holder in _contained(group)}
    best: dict[str, ContextItem] = {}
    for item in items:
        kept = into.get(item.id, item)
        seen = best.get(kept.id)
        best[kept.id] = _absorbed(seen or kept, item)
    return sorted(best.values(), key=lambda item: -item.score)


def _contained(group: Sequence[ContextItem]) -> Iterable[tuple[ContextItem, ContextItem]]:
    largest_first = sorted(group, key=lambda item: -len(item.content))
    for place, item in enumerate(largest_first):
        for holder in largest_first[:place]:
            if item.content.strip() in holder.content:
                yield item, holder
                break


def _absorbed(holder: ContextItem, item: ContextItem) -> ContextItem:
    if holder is item or holder.id == item.id:
        return holder
    origins = tuple(dict.fromkeys((*_origins(holder.metadata), *_origins(item.metadata))))
    return replace(holder, score=max(holder.score, item.score), metadata={**holder.metadata, "origins": origins})


def _origins(metadata: Mapping[str, object]) -> tuple[str, ...]:
    found = metadata.get("origins", ())
    return found if isinstance(found, tuple) else ()
