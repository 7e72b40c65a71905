"""Trends, errors and costs on a real database."""

from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from omninode.analytics.costs import CostAnalytics
from omninode.analytics.errors import ErrorAnalytics
from omninode.analytics.trends import TrendAnalytics
from omninode.core.errors import InvalidArgumentError

pytestmark = pytest.mark.integration

NOON = datetime(2026, 3, 10, 12, tzinfo=UTC)


def call(hours: float = 0, **more):
    return {
        "ts": (NOON - timedelta(hours=hours)).isoformat(),
        "role": "worker",
        "provider": "openai",
        "deployment": "d",
        "model": "m",
        "ok": True,
        "attempts": 1,
        "duration_ms": 100,
        "tokens_in": 100,
        "tokens_out": 20,
        "cost_uusd": 50,
        "cache": "miss",
        "agent_id": "coder",
        "is_simulated": False,
        **more,
    }


def error(fingerprint: str, hours: float = 0, **more):
    return {
        "ts": (NOON - timedelta(hours=hours)).isoformat(),
        "run_id": str(uuid4()),
        "phase": "context_gathering",
        "fingerprint": fingerprint,
        "error_class": "SourceError",
        "message": "source 'web' failed after 12 s",
        "retryable": True,
        "attempt": 1,
        "place": "gather",
        "context": {},
        **more,
    }


async def test_a_step_in_latency_is_found_where_it_happened(database, insert, march):
    rows = []
    for hours in range(120):
        # A deterministic ripple of a few per cent around the level, which doubles for the last two days.
        level = 200 if hours < 48 else 100
        rows += [call(hours, duration_ms=level + (hours * 7 + number * 3) % 9) for number in range(4)]
    await insert("llm_calls", rows)
    trend = await TrendAnalytics(database).trend("calls", figure="p95_ms", period=march)
    (change,) = trend.changes
    assert abs(change.at - (NOON - timedelta(hours=47))) <= timedelta(hours=1)
    assert change.shift == pytest.approx(1.0, abs=0.1)
    assert sum(point.count for point in trend.points) == 480
    assert trend.note == ""


async def test_too_little_data_is_said_instead_of_judged(database, insert, march):
    await insert("llm_calls", [call(hours) for hours in range(5)])
    trend = await TrendAnalytics(database).trend("calls", period=march)
    assert trend.changes == ()
    assert "can be told from 24 on" in trend.note


async def test_trends_of_runs_phases_errors_and_metrics_read_their_tables(database, insert, march):
    await insert("runs", [{"status": status, "prompt": "p", "is_simulated": False, "duration_ms": 10}
                          for status in ("done", "failed", "running")])  # fmt: skip
    metric = {"value": 5.0, "ok": False, "labels": {}}
    await insert(
        "performance_metrics",
        [metric | {"metric": "phase_duration_ms", "phase": "reporting"}, metric | {"metric": "lag_ms", "phase": None}],
    )
    await insert("error_events", [error("f")])
    trends = TrendAnalytics(database)
    for subject, name, expected in (
        ("runs", None, (2, 1)),
        ("phases", "reporting", (1, 1)),
        ("phases", "quorum_validation", (0, 0)),
        ("metric", "lag_ms", (1, 1)),
        ("errors", "f", (1, 1)),
    ):
        points = (await trends.trend(subject, name=name, bucket="day", period=march)).points
        assert (points[-1].count, points[-1].failed) == expected, subject


async def test_a_trend_that_does_not_exist_is_refused(database):
    with pytest.raises(InvalidArgumentError, match="subjects are"):
        await TrendAnalytics(database).trend("weather")  # type: ignore[arg-type]
    with pytest.raises(InvalidArgumentError, match="needs name"):
        await TrendAnalytics(database).trend("metric")
    with pytest.raises(InvalidArgumentError, match="shorter period"):
        await TrendAnalytics(database).trend("calls", bucket="minute")


async def test_errors_are_grouped_and_new_ones_are_told(database, insert, march):
    await insert(
        "error_events",
        [error("known", hours) for hours in (1, 2, 24 * 30)] + [error("fresh", 3, phase="reporting")],
    )
    known, fresh = await ErrorAnalytics(database).groups(period=march)
    assert (known.fingerprint, known.count, known.runs, known.is_new) == ("known", 2, 2, False)
    assert known.first_at == NOON - timedelta(days=30)
    assert (fresh.fingerprint, fresh.is_new, fresh.phases) == ("fresh", True, ("reporting",))
    assert known.template == "source <text> failed after <n> s"


async def test_pages_of_groups_and_of_samples_meet_each_once(database, insert, march):
    await insert("error_events", [error(f"f{number}") for number in range(5)] + [error("f0") for _ in range(4)])
    analytics = ErrorAnalytics(database)
    groups, before = [], None
    while page := await analytics.groups(period=march, before=before, limit=2):
        groups += [group.fingerprint for group in page]
        before = (page[-1].last_at, page[-1].fingerprint)
    assert sorted(groups) == ["f0", "f1", "f2", "f3", "f4"]
    samples, last = [], None
    while found := await analytics.samples("f0", before=last, limit=2):
        samples += [sample.id for sample in found]
        last = (found[-1].at, found[-1].id)
    assert len(samples) == len(set(samples)) == 5


async def test_what_a_group_has_in_common_is_found(database, insert, march):
    rows = [error("bad", context={"deployment": "eu"}) for _ in range(30)]
    rows += [error("other", context={"deployment": "eu" if number < 5 else "us"}) for number in range(60)]
    await insert("error_events", rows)
    found = await ErrorAnalytics(database).why_different("bad", period=march)
    assert {(contrast.attribute, contrast.value) for contrast in found} == {("deployment", "eu"), ("deployment", "us")}
    eu = next(contrast for contrast in found if contrast.value == "eu")
    assert (eu.share, eu.share_elsewhere) == (1.0, pytest.approx(5 / 60))


async def test_costs_say_what_is_unpriced_and_what_the_cache_saved(database, insert, march):
    await insert(
        "llm_calls",
        [
            *[call() for _ in range(4)],
            call(cache="hit", cost_uusd=0),
            call(cache="shared", cost_uusd=None),
            *[call(model="mystery", cost_uusd=None) for _ in range(2)],
            call(24, ok=False, agent_id=None, cost_uusd=10),
        ],
    )
    costs = CostAnalytics(database)
    m, mystery = await costs.by("model", period=march)
    assert (m.name, m.calls, m.failed, m.cache_hits, m.cost_uusd) == ("m", 7, 1, 2, 210)
    assert (m.unpriced_calls, m.saved_uusd) == (0, 100.0)
    assert (mystery.name, mystery.unpriced_calls, mystery.unpriced_tokens, mystery.cost_uusd) == ("mystery", 2, 240, 0)
    assert [line.name for line in await costs.by("day", period=march)] == ["2026-03-09", "2026-03-10"]


async def test_cost_per_success_is_known_only_when_all_is_priced(database, insert, march):
    await insert("llm_calls", [call(), call(agent_id="other", cost_uusd=None)])
    await insert("agent_performance", [
        {"agent_id": "coder", "task_type": "t", "success": success, "duration_ms": 1, "tokens_in": 0, "tokens_out": 0,
         "metadata": {}} for success in (True, True, False)])  # fmt: skip
    await insert("runs", [{"status": "done", "prompt": "p", "is_simulated": False}])
    lines = {line.name: line for line in await CostAnalytics(database).by("agent", period=march)}
    assert lines["coder"].cost_per_success_uusd == 25
    assert lines["other"].cost_per_success_uusd is None
    summary = await CostAnalytics(database).summary(period=march)
    assert (summary.runs, summary.successful_runs, summary.is_complete) == (1, 1, False)
    assert summary.cost_per_success_uusd is None


async def test_costs_by_an_unknown_dimension_are_refused(database):
    with pytest.raises(InvalidArgumentError, match="choose model"):
        await CostAnalytics(database).by("colour")  # type: ignore[arg-type]
