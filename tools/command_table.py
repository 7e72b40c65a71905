"""Write the commands and options of docs/command-line.md from the command line itself; `--check` only compares."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer.main

from omninode.cli.main import app

PAGE = Path(__file__).resolve().parent.parent / "docs" / "command-line.md"
BEGIN, END = "<!-- commands -->", "<!-- end -->"


def main() -> int:
    """Bring the page up to date; 1 when `--check` finds that it is not."""
    text = PAGE.read_text(encoding="utf-8")
    true = filled(text)
    if "--check" in sys.argv:
        if text != true:
            print(f"{PAGE.name} is not what the command line says; run `make docs`", file=sys.stderr)
        return int(text != true)
    PAGE.write_text(true, encoding="utf-8")
    return 0


def filled(text: str) -> str:
    """`text` with what stands between the two markers generated afresh."""
    sections = "\n\n".join(_section(path, command) for path, command in leaves())
    return re.sub(f"{BEGIN}\n.*?{END}", lambda _: f"{BEGIN}\n{sections}\n{END}", text, flags=re.DOTALL)


# Any: Typer carries a click of its own, whose types have no public name.
def leaves(command: Any = None, path: str = "omninode") -> Iterator[tuple[str, Any]]:
    """Every command that does something, with the words that call it."""
    command = command or typer.main.get_command(app)
    inner = getattr(command, "commands", None)
    if inner is None:
        yield path, command
        return
    for name, entry in inner.items():
        yield from leaves(entry, f"{path} {name}")


def _section(path: str, command: Any) -> str:
    takes = [entry for entry in command.params if "--help" not in entry.opts]
    words = [path, *(_argument(entry) for entry in takes if not _is_option(entry)), "[OPTIONS]"]
    usage = " ".join(words if any(map(_is_option, takes)) else words[:-1])
    lines = [f"### {path}", "", (command.help or "").strip(), "", f"`{usage}`"]
    if takes:
        lines += ["", "| argument or option | default | what it does |", "|---|---|---|"]
        lines += [_row(entry) for entry in takes]
    return "\n".join(lines)


def _row(entry: Any) -> str:
    if not _is_option(entry):
        return f"| `{_argument(entry)}` | {'required' if entry.required else 'none'} | {entry.help} |"
    names = ", ".join(f"`{name}`" for name in sorted(entry.opts, key=len, reverse=True))
    default = "off" if entry.is_flag else "unset" if entry.default is None else f"`{entry.default}`"
    return f"| {names} | {default} | {entry.help} |"


def _argument(entry: Any) -> str:
    return entry.name.upper() + ("…" if entry.nargs == -1 else "")


def _is_option(entry: Any) -> bool:
    return bool(entry.opts[0].startswith("-"))


if __name__ == "__main__":
    sys.exit(main())
