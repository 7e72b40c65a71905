"""Packages whose names are imported when they are first used."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["finder"]


# Any: a public name is a class or a function.
def finder(package: str, homes: Mapping[str, str]) -> Callable[[str], Any]:
    """The `__getattr__` for `package`: `homes` tells in which of its modules a name lives.

    A home is `module`, or `module:other` where the name is called `other` there. A found name stays in the package, so
    that it is looked for once. A name that is also that of a module directly in the package must not be among them: the
    module, once it is imported, takes its place.
    """

    def find(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        module, _, other = homes[name].partition(":")
        found = getattr(import_module(f"{package}.{module}"), other or name)
        setattr(sys.modules[package], name, found)
        return found

    return find
