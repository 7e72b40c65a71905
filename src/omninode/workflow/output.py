"""Writing a finished run to a directory of the user's choice."""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import orjson

from omninode.core.errors import ConfigurationError
from omninode.workflow.report import RunReport
from omninode.workflow.task import TaskResult

__all__ = ["check_output_directory", "write_outputs"]

_UNSAFE = re.compile(r"[^A-Za-z0-9_.-]+")


def check_output_directory(directory: Path, *, workspace: Path | None) -> None:
    """Make sure that outputs can be written there; raises ConfigurationError otherwise, before money is spent.

    A directory below the workspace is refused too: the next run would gather what this one wrote as context.
    """
    try:
        resolved = directory.resolve()
        if workspace is not None and resolved.is_relative_to(workspace.resolve()):
            raise ConfigurationError(
                f"--output {directory}: that is in the workspace {workspace}, which is never changed; "
                "choose a directory outside of it"
            )
        resolved.mkdir(parents=True, exist_ok=True)
        probe = resolved / ".omninode-write-test"
        probe.write_bytes(b"")
        probe.unlink()
    except OSError as error:
        raise ConfigurationError(
            f"--output {directory}: cannot write there ({error.strerror}); choose another directory"
        ) from error


def write_outputs(report: RunReport, directory: Path) -> Sequence[Path]:
    """Write `report.json`, `result.md` and one file per finished task; returns the paths written.

    File names are made from the task's position and id; nothing a model wrote becomes a path.
    """
    directory.mkdir(parents=True, exist_ok=True)
    written = [
        _write(directory / "report.json", orjson.dumps(report.as_json(), option=orjson.OPT_INDENT_2)),
        _write(directory / "result.md", report.result.encode()),
    ]
    for position, result in enumerate(report.tasks, 1):
        if result.is_ok:
            written.append(_write(directory / _file_name(position, result), result.output.encode()))
    return written


def _file_name(position: int, result: TaskResult) -> str:
    safe = _UNSAFE.sub("-", result.task.id).strip(".-") or "task"
    return f"task-{position:02d}-{safe[:60]}.md"


def _write(path: Path, content: bytes) -> Path:
    # A report that is half there is worse than none: write beside it, then rename.
    beside = path.with_name(f".{path.name}.part")
    try:
        beside.write_bytes(content)
        beside.replace(path)
    except OSError:
        with suppress(OSError):
            beside.unlink(missing_ok=True)
        raise
    return path
