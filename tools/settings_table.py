"""Write the tables of docs/configuration.md from the settings themselves; `--check` only says whether they are true."""

from __future__ import annotations

import re
import sys
import typing
from pathlib import Path

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from omninode.runtime.declarations import AgentEntry, DeploymentEntry, SourceEntry, SpoolEntry, SpoolTableEntry
from omninode.runtime.settings import Settings
from omninode.validation.declared import GuardEntry, GuardOverrideEntry

PAGE = Path(__file__).resolve().parent.parent / "docs" / "configuration.md"
LISTS: dict[str, type[BaseModel]] = {
    "deployments": DeploymentEntry,
    "agents": AgentEntry,
    "sources": SourceEntry,
    "guard": GuardEntry,
    "guard_override": GuardOverrideEntry,
    "spool": SpoolEntry,
    "spool_tables": SpoolTableEntry,
}
SIGNS = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}


def main() -> int:
    """Bring the page up to date; 1 when `--check` finds that it is not."""
    text = PAGE.read_text(encoding="utf-8")
    true = filled(text)
    if "--check" in sys.argv:
        if text != true:
            print(f"{PAGE.name} is not what the settings say; run `make docs`", file=sys.stderr)
        return int(text != true)
    PAGE.write_text(true, encoding="utf-8")
    return 0


def filled(text: str) -> str:
    """`text` with what stands between each pair of `<!-- table: NAME -->` and `<!-- end -->` generated afresh."""
    tables = {"settings": settings_table(), **{name: list_table(kind) for name, kind in LISTS.items()}}
    return re.sub(
        r"<!-- table: (\w+) -->\n.*?<!-- end -->",
        lambda found: f"<!-- table: {found[1]} -->\n{tables[found[1]]}\n<!-- end -->",
        text,
        flags=re.DOTALL,
    )


def settings_table() -> str:
    """Every setting that is one value."""
    lines = ["| variable | in `omninode.toml` | default | range | what it sets |", "|---|---|---|---|---|"]
    for info in Settings.model_fields.values():
        extra = info.json_schema_extra
        if isinstance(extra, dict):
            cells = [f"`{extra['env']}`", f"`{extra['toml']}`", _default(info), _range(info), info.description or ""]
            lines.append(_row(cells))
    return "\n".join(lines)


def list_table(kind: type[BaseModel]) -> str:
    """The keys of one kind of list entry."""
    lines = ["| key | default | range | what it sets |", "|---|---|---|---|"]
    for name, info in kind.model_fields.items():
        lines.append(_row([f"`{name}`", _default(info), _range(info), info.description or ""]))
    return "\n".join(lines)


def _row(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _default(info: FieldInfo) -> str:
    value = info.default_factory() if info.default_factory is not None else info.default  # type: ignore[call-arg]
    if value == {}:
        return "unset"
    if value is PydanticUndefined or value is ...:
        return "required"
    if isinstance(value, frozenset):
        return ", ".join(f"`{entry}`" for entry in sorted(value)) or "unset"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return "unset" if value in (None, (), {}) else f"`{value}`"


def _range(info: FieldInfo) -> str:
    choices = _choices(info.annotation)
    if choices:
        return ", ".join(f"`{choice}`" for choice in sorted(choices))
    found = {name: getattr(rule, name) for rule in info.metadata for name in SIGNS if hasattr(rule, name)}
    if not found:
        return _kind(info.annotation)
    return ", ".join(f"{SIGNS[name]} {value:,}" for name, value in found.items())


def _choices(annotation: object) -> set[str]:
    if typing.get_origin(annotation) is typing.Literal:
        return set(typing.get_args(annotation))
    return {choice for part in typing.get_args(annotation) for choice in _choices(part)}


def _kind(annotation: object) -> str:
    names = {
        "dict": "a table",
        "frozenset": "list of text",
        "bool": "`true` or `false`",
        "Path": "a directory",
        "SecretStr": "a secret",
        "HttpUrl": "a URL",
        "Mapping": "tables",
    }
    text = str(annotation)
    return next((said for name, said in names.items() if name in text), "list of text" if "tuple" in text else "text")


if __name__ == "__main__":
    sys.exit(main())
