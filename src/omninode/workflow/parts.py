"""What a run is asked to do, what it is made of, and its bounds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from omninode.context.gather import ContextGatherer
from omninode.context.optimizer import ContextOptimizer
from omninode.core.clock import Clock
from omninode.core.events import Tee
from omninode.monitoring.monitor import PerformanceMonitor
from omninode.quorum.validator import QuorumValidator
from omninode.routing.router import Router
from omninode.validation.validator import InputValidator
from omninode.validation.vault import Vault
from omninode.workflow.agent import AgentCatalog
from omninode.workflow.guard import Marks

__all__ = ["Parts", "PipelineLimits", "RunRequest"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRequest:
    """What to do: a prompt, or a prompt with ready tasks.

    `tasks` skips decomposition (a list of task objects, an object with `tasks`, or their JSON). `deadline_s` bounds
    the whole run, `output` receives its files and lies outside of `workspace`, which is read and never
    written. `route` is a route of the guard's policy: what it says holds for the prompt, the tasks, the context and what
    models write in this run.
    """

    prompt: str | bytes
    workspace: Path | None = None
    # Any: tasks as the user wrote them; validation reads them strictly.
    tasks: Any = None
    rag_queries: Sequence[str] | None = None
    deadline_s: float | None = None
    max_concurrency: int = 8
    output: Path | None = None
    route: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineLimits:
    """Bounds of every run."""

    gather_timeout_s: float = 15.0
    max_rag_results: int = 5
    planner_context_tokens: int = 6_000
    task_context_tokens: int = 6_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What a pipeline is made of."""

    validator: InputValidator
    gatherer_for: Callable[[Path | None], ContextGatherer]
    optimizer: ContextOptimizer
    router: Router
    quorum: QuorumValidator
    agents: AgentCatalog
    monitor: PerformanceMonitor
    sink: Tee
    clock: Clock
    is_simulated: bool = False
    marks: Marks = field(default_factory=Marks)
    # A vault of its own for each run, so that nothing of one can be put back in another.
    open_vault: Callable[[], Vault] | None = None
