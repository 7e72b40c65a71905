"""Dependencies as a graph: levels that can run at once, and the cycle when there is one. Nothing here recurses."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping

from omninode.core.errors import InvalidArgumentError

__all__ = ["arrange", "find_cycle", "levels", "longest"]

Edges = Mapping[str, Collection[str]]
Pause = Callable[[], None]
# Nodes between two pauses.
_AT_ONCE = 500


def _never() -> None:
    pass


def levels(depends_on: Edges) -> tuple[tuple[str, ...], ...]:
    """The nodes in layers: each depends only on layers before its own. Time and space linear in nodes and edges.

    Dependencies on names that are not keys are ignored. Raises InvalidArgumentError, with the path, on a cycle.
    """
    layers, cycle = arrange(depends_on)
    if cycle is not None:
        path = " -> ".join(cycle)
        raise InvalidArgumentError(f"the tasks depend on each other in a circle ({path}); remove one dependency")
    return layers


def find_cycle(depends_on: Edges) -> tuple[str, ...] | None:
    """A cycle as its path, first node repeated at the end (each depends on the next); None when there is none."""
    return arrange(depends_on)[1]


def longest(nodes: Iterable[tuple[str, Collection[str]]], *, pause: Pause = _never) -> int | None:
    """The number of nodes in the longest chain, when each stands after all it depends on and by a name of its own.

    None when one does not; `arrange` knows then. One pass, which is enough for a list written in order.
    """
    depth: dict[str, int] = {}
    for count, (node, names) in enumerate(nodes):
        if count % _AT_ONCE == 0:
            pause()
        if node in depth:
            return None
        try:
            depth[node] = 1 + max(map(depth.__getitem__, names), default=0)
        except KeyError:
            return None
    return max(depth.values(), default=0)


def arrange(depends_on: Edges, *, pause: Pause = _never) -> tuple[tuple[tuple[str, ...], ...], tuple[str, ...] | None]:
    """The layers of what can be put in order, and the path of a cycle when not everything can."""
    layers, left = _peeled(depends_on, pause)
    return tuple(layers), _walk(depends_on, left) if left else None


def _peeled(depends_on: Edges, pause: Pause) -> tuple[list[tuple[str, ...]], dict[str, int]]:
    """Kahn's algorithm, layer by layer: the layers, and what could never be taken with its open dependencies."""
    waiting: dict[str, int] = {}
    dependents: dict[str, list[str]] = {}
    for count, (node, names) in enumerate(depends_on.items()):
        if count % _AT_ONCE == 0:
            pause()
        known = [name for name in dict.fromkeys(names) if name in depends_on]
        waiting[node] = len(known)
        for name in known:
            dependents.setdefault(name, []).append(node)
    layers: list[tuple[str, ...]] = []
    ready = [node for node, count in waiting.items() if count == 0]
    while ready:
        pause()
        layers.append(tuple(ready))
        ready = list(_released(ready, dependents, waiting))
    return layers, waiting


def _released(done: list[str], dependents: Mapping[str, list[str]], waiting: dict[str, int]) -> Iterator[str]:
    for node in done:
        del waiting[node]
        for dependent in dependents.get(node, ()):
            waiting[dependent] -= 1
            if waiting[dependent] == 0:
                yield dependent


def _walk(depends_on: Edges, left: Collection[str]) -> tuple[str, ...]:
    """Follow dependencies inside the remainder until a node repeats; every node there has one that also is there."""
    node = next(iter(left))
    seen: dict[str, int] = {}
    path: list[str] = []
    while node not in seen:
        seen[node] = len(path)
        path.append(node)
        node = next(name for name in depends_on[node] if name in left)
    return (*path[seen[node] :], node)
