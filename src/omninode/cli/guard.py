"""`omninode guard`: a file of inputs examined, without a database and without a model."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, BinaryIO

import typer

from omninode.cli.exits import Exit
from omninode.core.errors import InvalidArgumentError

if TYPE_CHECKING:
    from omninode.validation.policy import Trust, ValidationPolicy
    from omninode.validation.records import Record

__all__ = ["register"]

_LINES = (".jsonl", ".ndjson")


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command()(guard)


def guard(
    file: Annotated[str, typer.Argument(help="A text, or JSON lines (.jsonl, .ndjson); '-' reads standard input.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object per input, and a last one.")] = False,
    as_sarif: Annotated[bool, typer.Option("--sarif", help="Print SARIF 2.1.0 for editors and code hosts.")] = False,
    lines: Annotated[bool, typer.Option("--lines", help="Read JSON lines whatever the file is called.")] = False,
    trust: Annotated[
        str | None,
        typer.Option("--trust", help="Where it came from: system, internal, user, agent, tool or retrieved."),
    ] = None,
    route: Annotated[str | None, typer.Option("--route", help="The policy's route for a text.")] = None,
    policy: Annotated[
        Path | None, typer.Option("--policy", help="TOML file with a table [guard]; default omninode.toml.")
    ] = None,
    shadow: Annotated[bool, typer.Option("--shadow", help="Refuse nothing; say what would have been.")] = False,
    replays: Annotated[
        bool, typer.Option("--replay", help="Print how often the policy would refuse recorded inputs.")
    ] = False,
    against: Annotated[
        Path | None, typer.Option("--against", help="With --replay: another policy, to see which inputs change.")
    ] = None,
) -> None:
    """Examine prompts, context, tool output or messages; code 1 when something may not be passed on."""
    from dataclasses import replace

    from omninode.cli.guarded import show_json, show_sarif, show_text
    from omninode.validation.guard import guard as guarded
    from omninode.validation.validator import InputValidator

    if as_json and as_sarif:
        raise InvalidArgumentError("--json and --sarif exclude each other; choose one")
    if against is not None and not replays:
        raise InvalidArgumentError("--against needs --replay; add it")
    if replays and as_sarif:
        raise InvalidArgumentError("--replay prints rates, which SARIF cannot hold; choose --json or neither")
    rules = _policy(policy)
    rules.check_route(route)
    if shadow:
        rules = replace(rules, shadow=True)
    show = show_json if as_json else show_sarif if as_sarif else show_text
    with _opened(file) as stream:
        records = _records(stream, file, lines=lines, trust=_trust(trust), route=route, policy=rules)
        name = "stdin" if file == "-" else file
        if replays:
            _replay(records, rules, against, name=name, as_json=as_json)
            return
        stopped = show(guarded(records, validator=InputValidator(rules)), name=name)
    raise typer.Exit(Exit.FAILED if stopped else Exit.DONE)


def _replay(
    records: Iterator[Record], policy: ValidationPolicy, against: Path | None, *, name: str, as_json: bool
) -> None:
    from omninode.cli.guarded import show_replay
    from omninode.validation.replay import replay

    other = None if against is None else _policy(against)
    replayed = replay(records, policy=policy, against=other)
    show_replay(replayed, name=name, is_compared=other is not None, as_json=as_json)


def _policy(path: Path | None) -> ValidationPolicy:
    if path is not None:
        from omninode.validation.declared import read_policy

        return read_policy(path)
    from omninode.runtime.settings import load_settings

    return load_settings().guard.policy()


def _trust(name: str | None) -> Trust | None:
    from omninode.validation.policy import Trust

    if name is None:
        return None
    try:
        return Trust(name)
    except ValueError:
        raise InvalidArgumentError(f"--trust is {name!r}; choose {', '.join(Trust)}") from None


@contextmanager
def _opened(file: str) -> Iterator[BinaryIO]:
    if file == "-":
        yield sys.stdin.buffer
        return
    with ExitStack() as opened:
        try:
            stream = opened.enter_context(Path(file).open("rb"))
        except OSError as error:
            raise InvalidArgumentError(f"{file} cannot be read ({error.strerror}); name a file, or '-'") from None
        yield stream


def _records(
    stream: BinaryIO, file: str, *, lines: bool, trust: Trust | None, route: str | None, policy: ValidationPolicy
) -> Iterator[Record]:
    from omninode.validation.policy import Trust
    from omninode.validation.records import read_lines, read_text

    if lines or file.endswith(_LINES):
        return read_lines(stream, limits=policy, trust=trust)
    given = trust or Trust.USER
    most = policy.max_prompt_bytes if given.may_instruct else policy.max_item_bytes
    return read_text(stream, trust=given, most_bytes=most, route=route)
