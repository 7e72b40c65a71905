"""Agents on a real database: ranking, reasons, cold starts, summaries, trends, pages."""

from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from omninode.analytics.agents import AgentAnalytics, track_agent_performance
from omninode.core import current
from omninode.core.errors import InvalidArgumentError
from omninode.core.events import AgentOutcome
from omninode.testing.sink import RecordingSink

pytestmark = pytest.mark.integration

NOON = datetime(2026, 3, 10, 12, tzinfo=UTC)


def outcomes(agent: str, *, good: int, bad: int = 0, kind: str = "code", ms: int = 1000, **more):
    return [
        {
            "agent_id": agent,
            "task_type": kind,
            "success": number < good,
            "duration_ms": ms,
            "cost_uusd": 100,
            "ts": (NOON - timedelta(minutes=number)).isoformat(),
            "tokens_in": 10,
            "tokens_out": 5,
            "error_class": None if number < good else "ProviderError",
            "metadata": {},
            **more,
        }
        for number in range(good + bad)
    ]


async def test_many_good_outcomes_rank_above_few_perfect_ones(database, insert, march):
    await insert("agent_performance", outcomes("veteran", good=95, bad=5) + outcomes("newcomer", good=3))
    found = await AgentAnalytics(database).get_agent_recommendations("code", period=march)
    assert [entry.agent_id for entry in found] == ["veteran", "newcomer"]
    assert (found[0].samples, found[0].success_rate) == (100, 0.95)
    assert found[0].score == pytest.approx(0.888, abs=0.001)
    assert any("only 3 outcomes" in reason for reason in found[1].reasons)
    assert found.basis == "task_type"


async def test_level_agents_are_told_apart_by_time(database, insert, march):
    await insert("agent_performance", outcomes("slow", good=50, ms=4000) + outcomes("fast", good=50, ms=500))
    found = await AgentAnalytics(database).get_agent_recommendations("code", limit=1, period=march)
    assert [entry.agent_id for entry in found] == ["fast"]
    assert any("fastest" in reason for reason in found[0].reasons)


async def test_the_same_context_counts_when_there_is_enough_of_it(database, insert, march):
    rows = outcomes("a", good=90, bad=10) + outcomes("b", good=50, bad=50)
    rows += outcomes("a", good=0, bad=10, metadata={"language": "rust"})
    rows += outcomes("b", good=10, metadata={"language": "rust"})
    await insert("agent_performance", rows)
    analytics = AgentAnalytics(database)
    assert (await analytics.get_agent_recommendations("code", period=march))[0].agent_id == "a"
    in_rust = await analytics.get_agent_recommendations("code", {"language": "rust"}, period=march)
    assert (in_rust[0].agent_id, in_rust.basis, in_rust[0].samples) == ("b", "context", 10)
    in_go = await analytics.get_agent_recommendations("code", {"language": "go"}, period=march)
    assert (in_go[0].agent_id, in_go.basis) == ("a", "task_type")


async def test_an_unmet_task_type_is_answered_from_all_types_and_says_so(database, insert, march):
    await insert("agent_performance", outcomes("coder", good=9, bad=1))
    found = await AgentAnalytics(database).get_agent_recommendations("poetry", period=march)
    assert found.basis == "all_types"
    assert "no outcome of type 'poetry'" in found.note
    assert any("all task types" in reason for reason in found[0].reasons)


async def test_with_no_outcomes_nobody_is_recommended(database, insert, march):
    found = await AgentAnalytics(database).get_agent_recommendations("code", period=march)
    assert (len(found), found.basis) == (0, "no_data")
    assert "nobody is recommended" in found.note


async def test_summary_counts_types_errors_cost_and_intervals(database, insert, march):
    await insert("agent_performance", outcomes("coder", good=60, bad=20) + outcomes("coder", good=20, kind="test"))
    summary = await AgentAnalytics(database).summary("coder", period=march)
    assert (summary.samples, summary.successes, summary.success_rate) == (100, 80, 0.8)
    assert [(entry.task_type, entry.samples) for entry in summary.task_types] == [("code", 80), ("test", 20)]
    assert summary.errors == {"ProviderError": 20}
    assert (summary.cost_uusd, summary.cost_per_success_uusd) == (10_000, 125.0)
    assert (summary.p50_ms, summary.tokens_in) == (pytest.approx(1000, rel=0.05), 1000)
    assert summary.interval.low < 0.8 < summary.interval.high


async def test_unpriced_outcomes_leave_the_cost_per_success_unknown(database, insert, march):
    await insert("agent_performance", outcomes("a", good=5) + outcomes("a", good=1, cost_uusd=None))
    summary = await AgentAnalytics(database).summary("a", period=march)
    assert (summary.unpriced, summary.cost_per_success_uusd) == (1, None)


async def test_the_leaderboard_adjusts_for_the_mix_of_tasks(database, insert, march):
    # `easy` looks better pooled, because it meets mostly easy tasks; per type `hard` is better at both.
    rows = outcomes("easy", good=87, bad=3, kind="simple") + outcomes("easy", good=3, bad=7, kind="tricky")
    rows += outcomes("hard", good=10, kind="simple") + outcomes("hard", good=63, bad=27, kind="tricky")
    await insert("agent_performance", rows)
    board = await AgentAnalytics(database).leaderboard(period=march)
    assert [line.agent_id for line in board] == ["easy", "hard"]
    adjusted = {line.agent_id: line.adjusted_success_rate for line in board}
    assert adjusted["hard"] > adjusted["easy"]
    assert [line.samples for line in await AgentAnalytics(database).leaderboard(task_type="tricky", period=march)] == [
        90,
        10,
    ]


async def test_trends_hold_every_day_of_the_period(database, insert, march):
    await insert(
        "agent_performance",
        outcomes("a", good=2, ts=(NOON - timedelta(days=3)).isoformat())
        + outcomes("a", good=1, bad=1, ts=NOON.isoformat()),
    )
    points = await AgentAnalytics(database).trends("a", period=march)
    assert len(points) == 11
    assert [(point.samples, point.successes) for point in points if point.samples] == [(2, 2), (2, 1)]
    assert points[0].mean_ms is None
    assert points[-1].start == NOON.replace(hour=0)


async def test_pages_of_outcomes_meet_every_row_once(database, insert, march):
    await insert("agent_performance", outcomes("a", good=7, ts=NOON.isoformat()))
    analytics = AgentAnalytics(database)
    seen, before = [], None
    while page := await analytics.outcomes("a", before=before, period=march, limit=3):
        seen += [row.id for row in page]
        before = (page[-1].at, page[-1].id)
    assert len(seen) == len(set(seen)) == 7


async def test_tracking_without_a_sink_is_stored_at_once_and_twice_is_once(database, insert):
    analytics = AgentAnalytics(database)
    outcome = await analytics.track_agent_performance(
        agent_id="agent_1",
        task_type="code_generation",
        success=True,
        duration_ms=1500,
        run_id=str(uuid4()),
        metadata={"api_key": "hunter2hunter2"},
    )
    await analytics._record(outcome)
    found = await analytics.get_agent_recommendations("code_generation")
    assert [(entry.agent_id, entry.samples) for entry in found] == [("agent_1", 1)]
    assert outcome.metadata == {"api_key": "[redacted]"}


async def test_tracking_with_the_open_runtime_goes_through_its_sink():
    class OpenRuntime:
        sink = RecordingSink()
        database = None

    with current.entered(runtime=OpenRuntime(), phase="parallel_execution"):
        await track_agent_performance(
            agent_id="agent_1", task_type="code_generation", success=True, duration_ms=1500, run_id="r", tokens_in=3
        )
    outcome = OpenRuntime.sink.of(AgentOutcome)[0]
    assert (outcome.agent_id, outcome.tokens_in, outcome.phase) == ("agent_1", 3, "parallel_execution")


async def test_misuse_is_refused_with_a_remedy(database):
    with pytest.raises(InvalidArgumentError, match="zero or more"):
        await AgentAnalytics(database).track_agent_performance("a", "t", success=True, duration_ms=-1)
    with pytest.raises(InvalidArgumentError, match="no such detail"):
        await AgentAnalytics(database).track_agent_performance("a", "t", success=True, duration_ms=1, colour="red")
