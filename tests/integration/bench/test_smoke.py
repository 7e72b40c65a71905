"""Scenarios really run both their arms: counted where the calls arrive, never timed."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from omninode.bench.command import chosen, measure_all
from omninode.bench.loopback import Loopback, Reply
from omninode.bench.measure import interleave
from omninode.bench.scenarios import gathering, resilience, resilience_real, retry
from omninode.bench.storm.spans import Span, always
from omninode.bench.storm.trial import Job, run_job
from omninode.bench.surroundings import Surroundings
from omninode.context.sources.http import HttpRetrieval
from omninode.core.errors import AttemptTimeoutError
from omninode.providers.http import HttpClient
from omninode.resilience.schedule import RetryConfig

pytestmark = [pytest.mark.integration, pytest.mark.performance]


async def test_both_ways_of_gathering_ask_every_source_in_every_round() -> None:
    async with Loopback(gathering.round_trips) as server, HttpClient() as http:
        paths = [f"/source-{number}" for number in range(5)]
        sources = [HttpRetrieval(server.url(path), http, name=path) for path in paths]
        arms = gathering._arms(sources)
        for name in arms:
            server.hits.clear()
            await interleave({name: arms[name]}, rounds=2, budget_s=10, warm_up=0)
            assert server.hits == dict.fromkeys(paths, 2)


async def test_the_retry_arm_reaches_the_server_again_and_the_bare_arm_does_not() -> None:
    replies = iter([503, 200, 503])
    async with Loopback(lambda _: Reply(status=next(replies))) as server, HttpClient() as http:
        quick = RetryConfig(base_delay=0.001)
        assert await retry._calls(http, server, quick, count=1, seed=0) == (0.0, 2.0)
        assert await retry._calls(http, server, None, count=1, seed=0) == (100.0, 3.0)
        assert server.failures["/flaky"] == 2


async def test_scenarios_run_to_their_end_with_little_effort() -> None:
    report = await measure_all(chosen(["gathering", "retry"]), effort=0.05)
    assert [entry.error for entry in report.scenarios] == [None, None]
    remote, *_ = report.scenarios[0].figures
    assert remote.spread.count == 1
    assert {figure.name: figure.spread.median for figure in report.scenarios[1].figures}[
        "success at 0% faults, retries"
    ] == 100


async def test_the_overhead_scenario_runs_to_its_end_with_little_effort() -> None:
    (entry,) = (await measure_all(chosen(["overhead"]), effort=0.04)).scenarios
    assert entry.error is None
    counted = {figure.name: figure.is_reached for figure in entry.figures if figure.spread.count == 1}
    assert counted["100 cancelled callers: permits leaked"] is True
    assert entry.table is not None
    assert "bare await" in {row[0] for row in entry.table.rows}


async def test_trials_in_processes_of_their_own_come_to_the_same() -> None:
    job = Job(trouble="calm", arm="none", seed=1)
    assert await resilience._tried([job, job]) == [await asyncio.to_thread(run_job, job)] * 2


async def test_a_real_trial_counts_at_its_server_what_the_callers_met() -> None:
    short = replace(resilience_real.TROUBLES[0], length_s=1.0, window_s=(0.0, 1.0), rate_per_s=40.0)
    down = replace(short, courses=(always(Span(error_rate=1.0)),))
    tallies = {tally.arm: tally for tally in await resilience_real._seed(1, [down])}
    bare = tallies["none"]
    assert bare.calls == bare.attempts == bare.bad == bare.failed > 10
    assert 0 < tallies["shipped"].bad < bare.bad
    assert {tally.calls for tally in tallies.values()} == {bare.calls}


async def test_the_batch_arms_leave_the_same_rows(database) -> None:
    from omninode.bench.scenarios.batch import _ways
    from omninode.storage.optimizer import PerformanceOptimizer

    arms = _ways(database, PerformanceOptimizer(database), 30)
    for arm in arms.inserts().values():
        await arm()
        assert await database.fetchval("bench_rows.count") == 30
    for operation, left in (("UPDATE", 30), ("DELETE", 0), ("UPSERT", 45)):
        for arm in arms.changes(operation).values():
            await arm()
            assert await database.fetchval("bench_rows.count") == left


async def test_the_server_answers_counts_and_lets_hanging_calls_go() -> None:
    async with HttpClient() as http, Loopback(lambda path: Reply(delay_s=60 if path == "/hang" else 0)) as server:
        assert await http.post_json(server.url("/ok"), {"a": 1}) == {}
        with pytest.raises(AttemptTimeoutError):
            await http.post_json(server.url("/hang"), {}, timeout_s=0.05)
        assert server.hits == {"/ok": 1, "/hang": 1}
        assert server.failures == {}


def test_surroundings_refuse_no_effort() -> None:
    with pytest.raises(ValueError, match="effort is 0"):
        Surroundings(effort=0)


def test_the_documents_script_is_the_command() -> None:
    script = Path(__file__).resolve().parents[3] / "agents" / "benchmark_improvements.py"
    result = subprocess.run([sys.executable, script, "--list"], capture_output=True, text=True, check=True)
    assert "gathering" in result.stdout
    assert "parallel RAG" in result.stdout
