"""The document's paths lead to the one class of each concept, and to nothing that is installed."""

from __future__ import annotations

import runpy
import tomllib
from pathlib import Path

import pytest

import omninode

pytestmark = pytest.mark.unit

ROOT = Path(__file__).resolve().parents[2]
AGENTS = ROOT / "agents"
# What the document calls by another name than we do.
RENAMED = {"ContextManager": "ContextGatherer"}
SIGNPOSTS = sorted([*AGENTS.glob("lib/*.py"), *AGENTS.glob("parallel_execution/*.py")])


def test_every_path_of_the_document_is_there() -> None:
    assert [path.relative_to(AGENTS).as_posix() for path in SIGNPOSTS] == [
        "lib/agent_analytics.py",
        "lib/circuit_breaker.py",
        "lib/context_optimizer.py",
        "lib/input_validator.py",
        "lib/performance_monitor.py",
        "lib/performance_optimization.py",
        "lib/retry_manager.py",
        "parallel_execution/context_manager.py",
        "parallel_execution/quorum_validator.py",
    ]


@pytest.mark.parametrize("path", SIGNPOSTS, ids=lambda path: path.stem)
def test_a_signpost_exports_the_public_object_itself(path: Path) -> None:
    found = runpy.run_path(str(path))
    for name in found["__all__"]:
        assert found[name] is getattr(omninode, RENAMED.get(name, name))


@pytest.mark.parametrize("path", SIGNPOSTS, ids=lambda path: path.stem)
def test_a_signpost_holds_no_code(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 10


def test_the_folder_is_no_package_so_that_it_never_shadows_the_one_of_that_name() -> None:
    assert list(AGENTS.rglob("__init__.py")) == []


def test_the_wheel_holds_omninode_only() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"] == ["src/omninode"]
