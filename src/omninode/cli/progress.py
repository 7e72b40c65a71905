"""Live progress of a run, drawn from its events: a redrawn panel on a terminal, plain lines elsewhere.

It goes to standard error, so that standard output holds the report alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from omninode.core.events import (
    AttemptFinished,
    CallFinished,
    Event,
    PhaseFinished,
    PhaseStarted,
    RetryScheduled,
    RunStarted,
    SourceFinished,
    TaskFinished,
    TaskStarted,
    VoteCast,
)
from omninode.core.ids import short

if TYPE_CHECKING:
    from omninode.runtime.runtime import Runtime

__all__ = ["progress"]


@contextmanager
def progress(node: Runtime) -> Iterator[None]:
    """Show the progress of runs of `node` while the body runs."""
    console = Console(stderr=True)
    if not console.is_terminal:
        with node.sink.attached(_Lines(console)):
            yield
        return
    board = _Board()
    with (
        Live(board, console=console, refresh_per_second=10, transient=True),
        node.sink.attached(board),
    ):
        yield


class _Lines:
    """One line per thing that happened."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def emit(self, event: Event) -> None:
        line = self._line(event)
        if line:
            self._console.print(line, markup=False, highlight=False, soft_wrap=True)

    def _line(self, event: Event) -> str | None:
        match event:
            case RunStarted() if event.run_id is not None:
                return f"run {short(event.run_id)}" + (" SIMULATED" if event.is_simulated else "")
            case PhaseFinished():
                return f"{'done' if event.ok else 'failed'}  {event.phase}  {event.duration_ms:.0f} ms"
            case TaskFinished():
                return f"  task {event.task_id} ({event.agent_id}): {event.status}  {event.duration_ms:.0f} ms"
            case RetryScheduled():
                return f"  retry {event.attempt} of {event.call} in {event.wait_s:.1f} s: {event.error_class}"
            case _:
                return None


class _Phase:
    def __init__(self, name: str) -> None:
        self.name = name
        self.spinner = Spinner("dots", style="cyan")
        self.duration_ms: float | None = None
        self.ok = True
        self.notes: dict[str, str] = {}


class _Board:
    """What the terminal shows: one line per phase, with what is known about it so far."""

    def __init__(self) -> None:
        self._phases: dict[str, _Phase] = {}
        self._title = Text("OmniNode")
        self._running: dict[str, str] = {}
        self._ended: dict[str, int] = {}
        self._votes: list[str] = []
        self._calls = 0
        self._troubles = 0

    def emit(self, event: Event) -> None:
        """Take in one event; drawing happens elsewhere, ten times a second."""
        self._take_phase(event)
        self._take_work(event)

    def _take_phase(self, event: Event) -> None:
        match event:
            case RunStarted() if event.run_id is not None:
                self._title = Text.assemble(("OmniNode", "bold"), "  run ", (short(event.run_id), "cyan"))
                if event.is_simulated:
                    self._title.append("  SIMULATED", style="black on yellow")
            case PhaseStarted() if event.phase:
                self._phases[event.phase] = _Phase(event.phase)
            case PhaseFinished() if event.phase in self._phases:
                phase = self._phases[event.phase]
                phase.duration_ms, phase.ok = event.duration_ms, event.ok
            case _:
                pass

    def _take_work(self, event: Event) -> None:
        match event:
            case SourceFinished():
                self._note("context_gathering", event.source, _source_note(event))
            case VoteCast():
                self._votes.append(event.decision or ("lost" if event.error_class else "not needed"))
                self._note("quorum_validation", "votes", " ".join(self._votes))
            case TaskStarted():
                self._running[event.task_id] = event.agent_id
                self._note_tasks()
            case TaskFinished():
                self._running.pop(event.task_id, None)
                self._ended[event.status] = self._ended.get(event.status, 0) + 1
                self._note_tasks()
            case CallFinished():
                self._calls += 1
            case AttemptFinished() if event.error_class:
                self._troubles += 1
            case _:
                pass

    def _note(self, phase: str, key: str, text: str) -> None:
        if phase in self._phases:
            self._phases[phase].notes[key] = text

    def _note_tasks(self) -> None:
        ended = ", ".join(f"{count} {status}" for status, count in self._ended.items())
        busy = ", ".join(f"{task} ({agent})" for task, agent in list(self._running.items())[:3])
        more = f" and {len(self._running) - 3} more" if len(self._running) > 3 else ""
        self._note("parallel_execution", "tasks", "  ".join(part for part in (ended, busy + more) if part))

    def __rich__(self) -> RenderableType:
        table = Table.grid(padding=(0, 2))
        for phase in self._phases.values():
            table.add_row(_mark(phase), phase.name, _time(phase), Text(" · ".join(phase.notes.values()), style="dim"))
        foot = Text(f"{self._calls} calls, {self._troubles} failed attempts. Ctrl-C cancels.", style="dim")
        return Group(self._title, table, foot)


def _mark(phase: _Phase) -> RenderableType:
    if phase.duration_ms is None:
        return phase.spinner
    return Text("✓", style="green") if phase.ok else Text("✗", style="red")


def _time(phase: _Phase) -> Text:
    return Text("" if phase.duration_ms is None else f"{phase.duration_ms:,.0f} ms", justify="right")


def _source_note(event: SourceFinished) -> str:
    return f"{event.source} {event.items}" if event.status == "ok" else f"{event.source} {event.status}"
