"""Learning kept in a real Postgres."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

import pytest

from omninode.context.choose import ChoosingConfig
from omninode.context.item import ContextItem, SourceReport
from omninode.context.optimizer import ContextOptimizer
from omninode.context.source import SourceQuery
from omninode.core import current
from omninode.core.ids import uuid7
from omninode.storage.database import Database

pytestmark = pytest.mark.integration

EAGER = ChoosingConfig(min_labels=20, explored_share=0.0)


class Named:
    def __init__(self, name: str, context_type: str) -> None:
        self.name, self.context_type = name, context_type

    async def fetch(self, query: SourceQuery) -> Sequence[ContextItem]:
        return []


SOURCES = [Named("good", "search"), Named("useless", "retrieval")]


async def one(optimizer: ContextOptimizer, prompt: str) -> None:
    decision = optimizer.choose(prompt, SOURCES, task_type="debug")
    told = [
        SourceReport(source=s.name, context_type=s.context_type, status="ok", queries=1, answered=1, tokens=9, items=2)
        for s in SOURCES
    ]
    optimizer.observe(decision, told)
    used = [ContextItem(id="x", source="good", context_type="search", content="x")]
    await optimizer.learn_from_success(prompt, used_items=used, task_type="debug", decision_id=decision.id)


@pytest.fixture(autouse=True)
async def empty(database: Database) -> None:
    async with database.acquire() as session:
        await session.driver.execute("TRUNCATE context_learning, context_predictions")


async def rows(database: Database, text: str) -> list[dict]:
    async with database.acquire() as session:
        return [dict(row) for row in await session.driver.fetch(text)]


async def test_outcome_is_kept_with_features_propensity_and_run(database: Database) -> None:
    optimizer, run_id = ContextOptimizer(database, seed=1), uuid7()
    with current.entered(run_id=run_id):
        await one(optimizer, "fix the bug")
    kept = await rows(database, "SELECT * FROM context_learning ORDER BY source")
    assert [(row["source"], row["reward"], row["propensity"], row["included"]) for row in kept] == [
        ("good", 1.0, 1.0, True),
        ("useless", 0.0, 1.0, True),
    ]
    assert {row["run_id"] for row in kept} == {run_id}
    assert len(kept[0]["features"]) == 64
    assert optimizer.statistics().rows_written == 2


async def test_next_process_goes_on_from_what_was_learned(database: Database) -> None:
    first = ContextOptimizer(database, seed=1, config=EAGER)
    for number in range(30):
        await one(first, f"fix the bug number {number}")
    second = ContextOptimizer(database, seed=2, config=EAGER)
    await second.load()
    before, after = first.insights(), second.insights()
    assert [(entry.source, entry.samples, entry.useful) for entry in after] == [
        (entry.source, entry.samples, entry.useful) for entry in before
    ]
    asked = [second.choose("fix bug", SOURCES, task_type="debug").includes("useless") for _ in range(100)]
    assert sum(asked) < 30
    assert await second.predict_context_needs("fix the bug number 5", task_type="debug") == ["search"]


async def test_prediction_is_kept_and_counted_as_a_hit_by_the_next_process(database: Database) -> None:
    first = await ContextOptimizer(database).predict("fix the bug")
    second = await ContextOptimizer(database).predict("Fix the  bug")
    assert (first.is_cached, second.is_cached) == (False, True)
    assert second.types == first.types
    kept = await rows(database, "SELECT hits, expires_at - ts AS age, predicted FROM context_predictions")
    assert [(row["hits"], row["age"]) for row in kept] == [(1, timedelta(seconds=300))]


async def test_old_predictions_are_swept_out(database: Database) -> None:
    await ContextOptimizer(database, prediction_ttl_s=0.001).predict("short-lived")
    optimizer = ContextOptimizer(database)
    await optimizer.predict("long-lived")
    await optimizer.close()
    assert await rows(database, "SELECT count(*) AS n FROM context_predictions") == [{"n": 1}]


async def test_writing_a_row_twice_keeps_one(database: Database) -> None:
    optimizer = ContextOptimizer(database, seed=1)
    await one(optimizer, "fix the bug")
    kept = await rows(database, "SELECT to_jsonb(c) AS row FROM context_learning c")
    await database.execute("context_learning.insert", [entry["row"] for entry in kept])
    assert await rows(database, "SELECT count(*) AS n FROM context_learning") == [{"n": 2}]
