"""Writing a run to a directory: nothing a model wrote becomes a path, and the workspace stays as it is."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import orjson
import pytest

from omninode.core.errors import ConfigurationError
from omninode.core.ids import uuid7
from omninode.workflow.output import check_output_directory, write_outputs
from omninode.workflow.report import RunReport
from omninode.workflow.task import Task, TaskResult

pytestmark = pytest.mark.unit


def report(*results: TaskResult) -> RunReport:
    return RunReport(
        run_id=uuid7(),
        status="done",
        prompt="p",
        started_at=datetime.now(UTC),
        duration_ms=1,
        is_simulated=False,
        tasks=results,
        result="all of it",
    )


def result(name: str, output: str = "text") -> TaskResult:
    return TaskResult(task=Task(id=name, agent="coder", description="d"), status="ok", output=output)


def test_every_finished_task_has_a_file(tmp_path: Path) -> None:
    failed = TaskResult(task=Task(id="b", agent="coder", description="d"), status="failed", error="no")
    written = write_outputs(report(result("a", "hello"), failed), tmp_path / "out")
    assert sorted(path.name for path in written) == ["report.json", "result.md", "task-01-a.md"]
    assert (tmp_path / "out" / "task-01-a.md").read_text() == "hello"
    assert orjson.loads((tmp_path / "out" / "report.json").read_bytes())["status"] == "done"
    assert not list((tmp_path / "out").glob(".*"))


def test_a_file_that_could_not_be_written_leaves_no_part_behind(tmp_path: Path) -> None:
    (tmp_path / "report.json" / "in the way").mkdir(parents=True)
    with pytest.raises(OSError, match=r"report\.json"):
        write_outputs(report(result("a")), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["report.json"]


def test_a_hostile_task_id_stays_inside_the_directory(tmp_path: Path) -> None:
    written = write_outputs(report(result("../../etc/passwd"), result("..")), tmp_path / "out")
    assert {path.parent for path in written} == {tmp_path / "out"}


def test_the_workspace_is_no_output_directory(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="never changed"):
        check_output_directory(tmp_path / "." / "", workspace=tmp_path)


def test_a_directory_in_the_workspace_is_no_output_directory(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="outside"):
        check_output_directory(tmp_path / "src" / "out", workspace=tmp_path)
    assert not list(tmp_path.iterdir())
    check_output_directory(tmp_path / "other", workspace=tmp_path / "work")


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigurationError, match="choose another directory"):
        check_output_directory(tmp_path / "file" / "below", workspace=None)
