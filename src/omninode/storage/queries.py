"""The named statements of `queries/*.sql`.

A file `llm.sql` with `-- name: by_run` holds the statement `llm.by_run`. Files are read once per `Queries`, so a
statement that is not there fails on first use with the names that are.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib import resources

from omninode.core.errors import DefectError

__all__ = ["Queries", "parse_statements"]

_HEADING = re.compile(r"^--\s*name:\s*(?P<name>[a-z][a-z0-9_]*)\s*$", re.MULTILINE)


def parse_statements(text: str, *, file: str) -> dict[str, str]:
    """The statements of one file by name; raises DefectError for text before the first name, a repeat or an empty."""
    pieces = _HEADING.split(text)
    if any(line.strip() and not line.lstrip().startswith("--") for line in pieces[0].splitlines()):
        raise DefectError(f"queries/{file}.sql: a statement stands before the first '-- name:'")
    found: dict[str, str] = {}
    for name, body in zip(pieces[1::2], pieces[2::2], strict=True):
        statement = body.strip().rstrip(";").rstrip()
        if not statement or name in found:
            raise DefectError(f"queries/{file}.sql: statement {name!r} is {'empty' if not statement else 'repeated'}")
        found[name] = statement
    return found


class Queries:
    """Statements by `file.name`; each file is read when it is first asked for."""

    def __init__(self) -> None:
        self._files: dict[str, Mapping[str, str]] = {}

    def text(self, name: str) -> str:
        """The SQL of `name`; raises DefectError, listing what the file holds, when it is not there."""
        file, _, statement = name.partition(".")
        if file not in self._files:
            self._files[file] = self._read(file)
        try:
            return self._files[file][statement]
        except KeyError:
            known = ", ".join(sorted(self._files[file])) or "nothing"
            raise DefectError(f"queries/{file}.sql has no statement {statement!r}; it holds {known}") from None

    @staticmethod
    def files() -> tuple[str, ...]:
        """The names of all query files, sorted."""
        folder = resources.files("omninode.storage") / "queries"
        return tuple(
            sorted(entry.name.removesuffix(".sql") for entry in folder.iterdir() if entry.name.endswith(".sql"))
        )

    @staticmethod
    def _read(file: str) -> Mapping[str, str]:
        if not re.fullmatch(r"[a-z][a-z0-9_]*", file):
            raise DefectError(f"{file!r} cannot be the name of a query file")
        place = resources.files("omninode.storage") / "queries" / f"{file}.sql"
        if not place.is_file():
            raise DefectError(f"there is no query file queries/{file}.sql")
        return parse_statements(place.read_text(encoding="utf-8"), file=file)
