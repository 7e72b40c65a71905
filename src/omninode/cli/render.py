"""The report of a run on the terminal."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console, Group, RenderableType
from rich.markdown import Markdown
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from omninode.core.ids import short
from omninode.validation.report import Finding, Severity
from omninode.workflow.report import RunReport
from omninode.workflow.task import TaskResult

__all__ = ["render_report"]

_STYLES = {"ok": "green", "done": "green", "failed": "red", "skipped": "yellow", "late": "yellow", "open": "yellow"}
_ENDINGS = {
    "done": "done",
    "failed_tasks": "finished with failed tasks",
    "refused": "input refused",
    "rejected": "plan voted down",
    "failed": "failed",
    "cancelled": "cancelled",
}


def render_report(
    report: RunReport, *, losses: Sequence[str] = (), output: Path | None = None, console: Console | None = None
) -> None:
    """Print the result, then the report, then what to type next."""
    out = console or Console()
    if report.result:
        out.print(Markdown(report.result))
        out.print()
    out.print(Panel(_body(report), title=_title(report), title_align="left", border_style="dim", padding=(1, 2)))
    if report.tainted_by:
        names = ", ".join(report.tainted_by[:3]) + (" and more" if len(report.tainted_by) > 3 else "")
        out.print(Text(f"tainted: flagged items had a part in the result: {names}", style="yellow"))
    for line in (*report.degraded, *losses):
        out.print(Text(f"degraded: {line}", style="yellow"))
    if output is not None and report.result and report.unwritten is None:
        out.print(f"written to {output}/", highlight=False)
    command = _command()
    out.print(
        Text.assemble(
            "next: ", (f"{command} runs show {short(report.run_id)}", "bold"), "  or  ", (f"{command} serve", "bold")
        )
    )


def _command() -> str:
    """How the user calls us: by name when that is found, by the path they used otherwise."""
    found = shutil.which("omninode")
    called = Path(sys.argv[0])
    return "omninode" if found or called.name != "omninode" else os.path.relpath(called)


def _title(report: RunReport) -> Text:
    ending = _ENDINGS.get(report.status, report.status)
    title = Text.assemble(f"run {short(report.run_id)}: ", (ending, "green" if report.status == "done" else "red"))
    if report.is_simulated:
        title.append("  SIMULATED", style="black on yellow")
    return title


def _body(report: RunReport) -> RenderableType:
    parts: list[RenderableType] = [_phases(report)]
    if report.sources:
        parts += [Text(""), _sources(report)]
    if report.tasks:
        parts += [Text(""), _tasks(report.tasks)]
    if any(_matters(finding) for finding in report.findings):
        parts += [Text(""), _findings(report)]
    parts += [Text(""), _calls(report)]
    return Group(*parts)


def _phases(report: RunReport) -> RenderableType:
    table = _table("phase", "time", "")
    longest = max((line.duration_ms for line in report.phases), default=0.0)
    for line in report.phases:
        name = line.name if line.attempt == 1 else f"{line.name} (attempt {line.attempt})"
        bar = "█" * max(1, round(24 * line.duration_ms / longest)) if longest else ""
        table.add_row(
            Text(name, style="" if line.ok else "red"), f"{line.duration_ms:,.0f} ms", Text(bar, style="cyan")
        )
    table.add_row(
        Text("total", style="bold"), f"{report.duration_ms:,.0f} ms", f"{report.speed_up:.1f}x against one by one"
    )
    return table


def _sources(report: RunReport) -> RenderableType:
    table = _table("context source", "items", "time", "status")
    for source in report.sources:
        table.add_row(source.source, str(source.items), f"{source.duration_ms:,.0f} ms", _status(source.status))
    return table


def _tasks(results: Sequence[TaskResult]) -> RenderableType:
    table = _table("task", "agent", "time", "status", "")
    for result in results[:50]:
        table.add_row(
            result.task.id,
            result.task.agent,
            f"{result.duration_ms:,.0f} ms",
            _status(result.status),
            Text(result.error or "", style="red", overflow="fold"),
        )
    if len(results) > 50:
        table.add_row(f"and {len(results) - 50} more (--json shows all)", "", "", "", "")
    return table


def _findings(report: RunReport) -> RenderableType:
    table = _table("finding", "where", "")
    for finding in [finding for finding in report.findings if _matters(finding)][:20]:
        table.add_row(Text(finding.code, style="yellow"), Text(finding.path), Text(finding.message))
    return table


def _matters(finding: Finding) -> bool:
    # What was noted and passed on unchanged is in --json; on the screen it would cry wolf.
    return finding.severity is not Severity.INFO


def _calls(report: RunReport) -> RenderableType:
    counts = report.calls
    money = f"${counts['cost_usd']:.4f}"
    if counts["unpriced_calls"]:
        unpriced = f"unpriced ({counts['unpriced_calls']} calls)"
        money = f"{money} and {unpriced}" if counts["cost_usd"] else unpriced
    told = "{calls} model calls, {attempts} attempts, {retries} retries, {cache_hits} from the cache".format_map(counts)
    if counts.get("stopped_early"):
        told += f"; {counts['stopped_early']} stopped early, no longer needed"
    lines = [
        told,
        f"{counts['tokens_in']:,} tokens in, {counts['tokens_out']:,} out, cost {money}",
    ]
    if report.quorum is not None:
        quorum = report.quorum
        lines.append(
            f"quorum: {quorum.decision.value}, confidence {quorum.confidence:.2f}, "
            f"{quorum.counted} of {quorum.asked} votes counted, {quorum.saved} not needed"
        )
    return Text("\n".join(lines))


def _table(*headings: str) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for heading in headings:
        table.add_column(heading, justify="right" if heading in {"time", "items"} else "left")
    return table


def _status(status: str) -> Text:
    return Text(status, style=_STYLES.get(status, ""))
