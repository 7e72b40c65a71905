"""The shapes input arrives in: how much there is of it, and the parts of a context item however it is written."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import accumulate, chain

from omninode.validation.policy import Trust

__all__ = ["is_heavier", "item_parts", "listed"]

# A task of a list counts as this many bytes when what is asked is only whether a thread is worth it.
_BYTES_PER_ENTRY = 500


def is_heavier(*values: object, than: int) -> bool:
    """Whether `values` hold more than about so many characters; no more of them is looked at than it takes to tell."""
    return any(weight > than for weight in accumulate(chain.from_iterable(map(_weights, values))))


def _weights(value: object) -> Iterator[int]:
    if isinstance(value, str | bytes | bytearray):
        yield len(value)
    elif isinstance(value, Mapping):
        yield from map(_weight_of_entry, value.values())
    elif isinstance(value, list | tuple):
        yield from map(_weight_of_entry, value)


def _weight_of_entry(entry: object) -> int:
    if isinstance(entry, str | bytes):
        return len(entry)
    if isinstance(entry, list | tuple):
        return _BYTES_PER_ENTRY * len(entry)
    content = entry.get("content") if isinstance(entry, Mapping) else getattr(entry, "content", None)
    return len(content) if isinstance(content, str) else _BYTES_PER_ENTRY


def listed(items: object) -> Iterable[object]:
    """Context items one by one: of a sequence its members, of a mapping its values under their keys, else itself."""
    if isinstance(items, Mapping):
        return list(items.items())
    if isinstance(items, list | tuple | set | frozenset):
        return list(items)
    return [items]


def item_parts(item: object, index: int) -> tuple[str, object, Trust]:
    """The name, content and trust of a context item: a string, a dict, an object, or a (name, one of these) pair."""
    name: object = index
    if isinstance(item, tuple) and len(item) == 2:
        name, item = item
    if isinstance(item, str):
        return str(name), item, Trust.RETRIEVED
    if isinstance(item, Mapping):
        name, content, trust = item.get("id", name), item.get("content"), item.get("trust")
    else:
        name, content, trust = getattr(item, "id", name), getattr(item, "content", item), getattr(item, "trust", None)
    return str(name), content, _trust(trust)


def _trust(value: object) -> Trust:
    """The trust named by `value`; what is not a name of one is the least trusted."""
    try:
        return Trust(str(value).lower())
    except ValueError:
        return Trust.RETRIEVED
