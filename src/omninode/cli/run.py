"""`omninode run`: the main job."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from omninode.cli.exits import Exit, complain
from omninode.core.errors import ConfigurationError, InputRefusedError
from omninode.core.ids import short

if TYPE_CHECKING:
    from omninode.workflow.report import RunReport

__all__ = ["register"]

MAX_INPUT_BYTES = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class _Options:
    prompt: str | bytes
    workspace: Path | None
    tasks: bytes | None
    output: Path | None
    deadline_s: float | None
    max_concurrency: int
    simulate: bool
    as_json: bool
    require_database: bool
    route: str | None


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command()(run)


def run(
    prompt: Annotated[str, typer.Argument(help="What to do; '-' reads it from standard input.")],
    workspace: Annotated[
        Path | None, typer.Option("--workspace", "-w", help="Directory to gather context from; never changed.")
    ] = None,
    tasks: Annotated[
        Path | None, typer.Option("--tasks", help="JSON file with ready tasks; skips their planning.")
    ] = None,
    simulate: Annotated[
        bool, typer.Option("--simulate", help="Use the bundled model simulator; everything says SIMULATED.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON on standard output.")] = False,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write the report and each task's output there.")
    ] = None,
    deadline: Annotated[float | None, typer.Option("--deadline", help="Seconds the whole run may take.", min=0)] = None,
    max_concurrency: Annotated[int, typer.Option("--max-concurrency", help="Tasks at once.", min=1)] = 8,
    require_database: Annotated[
        bool, typer.Option("--require-database", help="End with code 4 instead of going on without a database.")
    ] = False,
    route: Annotated[
        str | None, typer.Option("--route", help="A route of the guard's policy ([guard.route.NAME]).")
    ] = None,
) -> None:
    """Do what PROMPT asks: gather context, plan, let the models vote, run the agents, report."""
    from omninode.cli.loop import run_async

    chosen = _Options(
        prompt=_read_prompt(prompt),
        workspace=_check_workspace(workspace),
        tasks=_read_tasks(tasks),
        output=output,
        deadline_s=deadline,
        max_concurrency=max_concurrency,
        simulate=simulate,
        as_json=as_json,
        require_database=require_database,
        route=route,
    )
    code = run_async(_run(chosen))
    raise typer.Exit(code)


async def _run(chosen: _Options) -> Exit:
    import omninode
    from omninode.cli.progress import progress
    from omninode.cli.render import render_report
    from omninode.workflow.output import check_output_directory
    from omninode.workflow.parts import RunRequest

    if chosen.output is not None:
        check_output_directory(chosen.output, workspace=chosen.workspace)
    async with omninode.open(simulate=chosen.simulate, require_database=chosen.require_database) as node:
        request = RunRequest(
            prompt=chosen.prompt,
            workspace=chosen.workspace,
            tasks=chosen.tasks,
            deadline_s=chosen.deadline_s,
            max_concurrency=chosen.max_concurrency,
            output=chosen.output,
            route=chosen.route,
        )
        with progress(node):
            report = await node.run(request)
        losses = await node.settle()
    if chosen.as_json:
        _print_json(report, losses)
    else:
        render_report(report, losses=losses, output=chosen.output)
    return _conclude(report)


def _conclude(report: RunReport) -> Exit:
    """The exit code; a run that did not end well is said on standard error too, where scripts look."""
    report.raise_for_status()
    if report.unwritten is not None:
        complain(
            f"output not written: {report.unwritten}; the result is printed above and kept: make room there and see "
            f"'omninode runs show {short(report.run_id)} --json'"
        )
    if report.status == "done":
        return Exit.DONE if report.unwritten is None else Exit.CONFIGURATION
    lost = [result for result in report.tasks if not result.is_ok]
    first = next((result for result in lost if result.status == "failed"), lost[0])
    complain(f"{len(lost)} of {len(report.tasks)} tasks failed or were skipped; first {first.task.id!r}: {first.error}")
    return Exit.FAILED


def _print_json(report: RunReport, losses: tuple[str, ...]) -> None:
    import orjson

    body = {**report.as_json(), "telemetry": list(losses)}
    sys.stdout.buffer.write(orjson.dumps(body, option=orjson.OPT_INDENT_2) + b"\n")


def _read_prompt(prompt: str) -> str | bytes:
    if prompt != "-":
        # Bytes that are no UTF-8 reach us as lone surrogates; validation names them.
        return prompt
    return sys.stdin.buffer.read(MAX_INPUT_BYTES + 1)


def _check_workspace(workspace: Path | None) -> Path | None:
    if workspace is None:
        return None
    if not workspace.is_dir():
        raise ConfigurationError(f"--workspace {workspace}: no such directory; name one that exists")
    return workspace.resolve()


def _read_tasks(path: Path | None) -> bytes | None:
    if path is None:
        return None
    try:
        with path.open("rb") as file:
            content = file.read(MAX_INPUT_BYTES + 1)
    except OSError as error:
        raise ConfigurationError(f"--tasks {path}: {error.strerror}; name a readable JSON file") from error
    if len(content) > MAX_INPUT_BYTES:
        raise InputRefusedError(f"--tasks {path}: larger than {MAX_INPUT_BYTES} bytes; split it")
    return content
