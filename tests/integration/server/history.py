"""A history as weeks of use would leave it: runs with phases, sources, tasks, calls, votes, errors and alerts.

Everything is made as events and turned into rows by the product's own mapping, so the pages are tested against what
is really written. Seeded; the newest run ends a few seconds before `now`.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from omninode.core import events
from omninode.core.ids import uuid7
from omninode.monitoring.rows import row_of

PROMPTS = (
    "Find where retries and circuit breakers are configured, and explain how they work together",
    "Write tests for the edge cases of the token bucket limiter",
    "Why does the nightly import time out since Tuesday? Suggest a fix",
    "Review the error handling of the payment webhook <b>and</b> say what is missing",
    "Summarise the architecture of this repository for a new colleague",
    "Port the date parsing from strptime to fromisoformat and prove nothing changes",
)
DEPLOYMENTS = (
    # name, provider, model, typical milliseconds, micro-dollars per thousand tokens (None: nobody knows)
    ("gpt-eu", "openai", "gpt-5-mini", 900, 600),
    ("sonnet", "anthropic", "claude-sonnet-4-5", 1600, 4200),
    ("haiku", "anthropic", "claude-haiku-4-5", 600, 1100),
    ("local", "ollama", "qwen3:14b", 2400, None),
)
AGENTS = {
    "coder": ("code", 0.93),
    "debugger": ("debug", 0.86),
    "tester": ("test", 0.97),
    "researcher": ("research", 0.90),
    "reviewer": ("review", 0.95),
}
ERRORS = (
    ("ThrottledError", "openai answered 429 for model gpt-5-mini; it asks to wait 12 s", "providers.openai:complete"),
    ("AttemptTimeoutError", "no answer from deployment 'local' within 20.0 s", "routing.router:_attempt"),
    ("MalformedAnswerError", "the plan is not JSON: Expecting value at line 1", "workflow.decompose:parse"),
    ("SourceError", "http://127.0.0.1:9200/search answered 503", "context.sources.http:fetch"),
)


@dataclass
class History:
    """Rows by table, and the ids that tests ask for."""

    tables: dict[str, list[dict[str, Any]]] = field(default_factory=lambda: defaultdict(list))
    run_ids: list[UUID] = field(default_factory=list)

    def emit(self, event: events.Event) -> None:
        told = row_of(event)
        if told is not None:
            self.tables[told[0]].append(told[1])

    @property
    def rich_run(self) -> UUID:
        """The newest run: two rounds of votes, a failed and a skipped task, a retried and a degraded call."""
        return self.run_ids[-1]


def make(now: datetime, *, runs: int = 90, seed: int = 7) -> History:
    """A history of `runs` runs over the last nine days, most of them recent."""
    chance = random.Random(seed)
    history = History()
    ages = sorted((chance.random() ** 1.7 * 9 * 86_400 + 40 for _ in range(runs - 1)), reverse=True)
    for age in [*ages, 35.0]:
        is_last = age == 35.0
        _Run(history, chance, now - timedelta(seconds=age), is_rich=is_last).play()
    _resources(history, chance, now)
    _alerts(history, now)
    _state(history, now)
    return history


class _Run:
    def __init__(self, history: History, chance: random.Random, begin: datetime, *, is_rich: bool) -> None:
        self.history, self.chance, self.is_rich = history, chance, is_rich
        self.begin = begin
        self.cursor = 0.0  # milliseconds since the beginning
        self.run_id = uuid7()
        self.history.run_ids.append(self.run_id)
        self.is_simulated = is_rich or chance.random() < 0.4
        self.prompt = PROMPTS[0] if is_rich else chance.choice(PROMPTS)

    def ns(self, ms: float) -> int:
        return int((self.begin.timestamp() + ms / 1000) * 1e9)

    def emit(self, kind: type[events.Event], at_ms: float, **fields: Any) -> None:
        self.history.emit(kind(at_ns=self.ns(at_ms), run_id=self.run_id, **fields))

    def play(self) -> None:
        self.phase("input_validation", self.chance.uniform(3, 9))
        self.sources()
        for number in range(1, 3 if self.is_rich else 2):
            self.call("planner", DEPLOYMENTS[1], phase="task_decomposition", at=self.cursor)
            self.phase("task_decomposition", self.took + 6, attempt=number)
            self.vote(number, is_retry=self.is_rich and number == 1)
        failed = self.work()
        self.phase("result_aggregation", self.chance.uniform(2, 8))
        self.phase("reporting", self.chance.uniform(4, 12))
        self.emit(
            events.RunFinished,
            self.cursor,
            prompt=self.prompt,
            started_ns=self.ns(0),
            status="failed_tasks" if failed else "done",
            duration_ms=self.cursor,
            workspace="/home/mara/projects/atlas",
            is_simulated=self.is_simulated,
            report={"tasks": 5, "failed": failed, "degraded": ["local"] if failed else []},
        )

    def phase(self, name: str, took: float, *, attempt: int = 1, ok: bool = True) -> None:
        self.cursor += took
        self.emit(events.PhaseFinished, self.cursor, phase=name, duration_ms=took, attempt=attempt, ok=ok)

    def sources(self) -> None:
        begin = self.cursor
        for name, kind, typical in (
            ("workspace files", "code", 60),
            ("workspace search", "passage", 110),
            ("structure", "structure", 40),
            ("hints", "hint", 15),
            ("http retrieval", "document", 320),
        ):
            took = self.chance.lognormvariate(0, 0.3) * typical
            lost = name == "http retrieval" and (self.is_rich or self.chance.random() < 0.1)
            self.emit(
                events.SourceFinished,
                begin + took,
                phase="context_gathering",
                source=name,
                context_type=kind,
                status="failed" if lost else "ok",
                items=0 if lost else self.chance.randint(2, 9),
                duration_ms=took,
                error="answered 503" if lost else None,
            )
            if lost:
                self.error(3, begin + took, phase="context_gathering")
        self.phase("context_gathering", 410)

    def call(self, role: str, deployment: tuple[Any, ...], *, at: float, **fields: Any) -> bool:
        name, provider, model, typical, price = deployment
        attempts = fields.pop("attempts", 2 if self.chance.random() < 0.08 else 1)
        ok = fields.pop("ok", self.chance.random() > 0.03)
        is_stopped = fields.pop("is_stopped", False)
        cache = "hit" if role == "worker" and not self.is_rich and self.chance.random() < 0.1 else "miss"
        self.took = 2.0 if cache == "hit" else self.chance.lognormvariate(0, 0.35) * typical * attempts
        tokens_in, tokens_out = self.chance.randint(900, 5200), self.chance.randint(120, 900)
        cost = (
            None if price is None or is_stopped else (0 if cache == "hit" else (tokens_in + tokens_out) * price // 1000)
        )
        self.emit(
            events.CallFinished,
            at + self.took,
            role=role,
            provider=provider,
            deployment=name,
            model=model,
            ok=ok,
            duration_ms=self.took,
            ttft_ms=self.took * 0.3,
            attempts=attempts,
            tokens_in=tokens_in,
            tokens_out=tokens_out if ok else 0,
            cost_uusd=cost,
            cache=cache,
            error_class=None if ok else "CancelledError" if is_stopped else "AttemptTimeoutError",
            is_simulated=self.is_simulated,
            **fields,
        )
        if not ok and not is_stopped:
            self.error(1, at + self.took, phase=fields.get("phase"))
        elif attempts > 1:
            self.error(0, at + self.took / 2, phase=fields.get("phase"))
        return ok

    def vote(self, number: int, *, is_retry: bool) -> None:
        begin, longest = self.cursor, 0.0
        for index, deployment in enumerate(DEPLOYMENTS):
            is_stopped = index == 3 and not is_retry
            self.call(
                "voter", deployment, phase="quorum_validation", at=begin, ok=not is_stopped, is_stopped=is_stopped
            )
            decision = "RETRY" if is_retry and index != 2 else "PASS"
            self.emit(
                events.VoteCast,
                begin + self.took,
                phase="quorum_validation",
                round=number,
                deployment=deployment[0],
                model=deployment[2],
                decision=None if is_stopped else decision,
                score=None if is_stopped else 0.45 if decision == "RETRY" else self.chance.uniform(0.75, 0.98),
                confidence=0.8,
                weight=1.0 + index / 10,
                deficiencies=("no task covers the tests for the edge cases",) if decision == "RETRY" else (),
                counted=not is_stopped,
                duration_ms=self.took,
            )
            longest = max(longest, self.took)
        self.phase("quorum_validation", longest + 4, attempt=number)

    def work(self) -> int:
        begin, ends, failed = self.cursor, {}, 0
        for index, (agent, (kind, skill)) in enumerate(AGENTS.items()):
            task_id, after = f"t{index + 1}", (f"t{index}",) if index in {2, 4} else ()
            start = max([begin + 3, *(ends[name] for name in after)])
            fields: dict[str, Any] = {"phase": "parallel_execution", "task_id": task_id, "agent_id": agent}
            deployment = DEPLOYMENTS[(index + self.chance.randint(0, 1)) % 4]
            ok = not (self.is_rich and index >= 3) and self.chance.random() < skill
            is_skipped = self.is_rich and index == 4
            if is_skipped:
                took = 0.0
            else:
                degraded = "fallback" if self.is_rich and index == 1 else None
                self.call(
                    "worker",
                    deployment,
                    at=start + 8,
                    ok=ok,
                    degraded=degraded,
                    attempts=2 if degraded else 1,
                    **fields,
                )
                took = self.took + 20
            ends[task_id] = start + took
            failed += not ok
            self.emit(
                events.TaskFinished,
                start + took,
                phase="parallel_execution",
                task_id=task_id,
                agent_id=agent,
                task_type=kind,
                description=f"{agent.capitalize()}: {self.prompt.lower()}",
                depends_on=after,
                status="skipped" if is_skipped else "ok" if ok else "failed",
                duration_ms=took,
                wait_ms=start - begin,
                output=f"## {agent}\n\nWhat was found, with <script>alert(1)</script> kept as text." if ok else None,
                error=None if ok else "t4 failed" if is_skipped else "no answer within 20.0 s",
            )
            if not is_skipped:
                self.outcome(agent, kind, deployment[4], ok=ok, at=start + took, took=took)
        self.phase("parallel_execution", max(ends.values()) - begin + 3)
        return failed

    def outcome(self, agent: str, kind: str, price: int | None, *, ok: bool, at: float, took: float) -> None:
        self.emit(
            events.AgentOutcome,
            at,
            phase="parallel_execution",
            agent_id=self.chance.choice(list(AGENTS)) if self.chance.random() < 0.25 else agent,
            task_type=kind,
            success=ok,
            duration_ms=took,
            tokens_in=2000,
            tokens_out=400,
            cost_uusd=None if price is None else 2400 * price // 1000,
            error_class=None if ok else "AttemptTimeoutError",
        )

    def error(self, which: int, at: float, *, phase: str | None) -> None:
        error_class, message, place = ERRORS[which]
        self.emit(
            events.ErrorOccurred,
            at,
            phase=phase,
            error_class=error_class,
            message=message,
            fingerprint=f"{which:x}3c1f00d5eedbeef",
            retryable=which < 3,
            where=place,
            context={"deployment": DEPLOYMENTS[which % 4][0]},
        )


def _resources(history: History, chance: random.Random, now: datetime) -> None:
    for index in range(600):
        at_ns = int((now.timestamp() - index * 140) * 1e9)
        for metric, value in (
            ("cpu_percent", chance.gauss(34, 9)),
            ("rss_bytes", 182e6 + chance.gauss(0, 4e6)),
            ("database_connections_in_use", float(chance.randint(1, 6))),
            ("pool_wait_p99_ms", abs(chance.gauss(1, 1))),
            ("loop_lag_ms", abs(chance.gauss(3, 4))),
        ):
            history.emit(events.MetricRecorded(at_ns=at_ns, metric=metric, value=max(0.0, value)))


def _alerts(history: History, now: datetime) -> None:
    def alert(name: str, state: Any, minutes: float, **fields: Any) -> None:
        at_ns = int((now.timestamp() - minutes * 60) * 1e9)
        history.emit(events.AlertChanged(at_ns=at_ns, alert=name, state=state, **fields))

    slow = {"metric": "call_p95_ms", "threshold": 5000.0, "severity": "warning"}
    alert("slow calls", "firing", 30, value=6120.0, message="the 95th percentile of calls is above 5 s", **slow)
    alert("slow calls", "resolved", 22, value=3800.0, message="the 95th percentile of calls is below 5 s", **slow)
    alert(
        "error rate",
        "firing",
        4,
        metric="error_rate_percent",
        threshold=10.0,
        severity="critical",
        value=14.2,
        message="14.2 % of the calls of the last five minutes failed",
    )


def _breakers(history: History, at: Callable[[float], str]) -> None:
    for name, state, failures, reason in (
        ("gpt-eu", "closed", 1, ""),
        ("sonnet", "half_open", 5, "probing after 30 s"),
        ("local", "open", 5, "5 failures within the window"),
    ):
        history.tables["circuit_breaker_state"].append(
            {
                "name": name,
                "state": state,
                "failures": failures,
                "successes": 0,
                "generation": 3,
                "opened_at": at(60) if state != "closed" else None,
                "reopen_at": at(-20) if state == "open" else None,
                "reason": reason,
                "updated_at": at(12),
            }
        )


def _state(history: History, now: datetime) -> None:
    def at(seconds: float) -> str:
        return (now - timedelta(seconds=seconds)).isoformat()

    _breakers(history, at)
    history.tables["retry_manager_state"].append(
        {
            "name": "model calls",
            "calls": 1180,
            "attempts": 1274,
            "retries": 94,
            "recovered": 81,
            "exhausted": 13,
            "budget_tokens": 9.5,
            "last_error": "ThrottledError: 429",
            "updated_at": at(9),
        }
    )
    for table in ("llm_calls", "performance_metrics"):
        history.tables["batch_operation_logs"].append(
            {
                "id": str(uuid7()),
                "ts": at(30),
                "table_name": table,
                "operation": "INSERT",
                "method": "copy",
                "rows_ok": 1200,
                "rows_failed": 0,
                "batches": 3,
                "duration_ms": 21,
                "error": None,
            }
        )
    history.tables["dead_letters"].append(
        {
            "id": str(uuid7()),
            "ts": at(300),
            "table_name": "votes",
            "operation": "INSERT",
            "sqlstate": "23502",
            "error": 'null value in column "model"',
            "row": {"id": "…"},
        }
    )


def statements(history: History) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """One INSERT for each table, with the rows it takes."""
    for table, rows in history.tables.items():
        # A run is written when it begins and again when it ends; only the end is made here.
        yield f"INSERT INTO {table} SELECT * FROM jsonb_populate_recordset(NULL::{table}, $1)", rows
