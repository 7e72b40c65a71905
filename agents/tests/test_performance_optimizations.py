"""The document's examples, as written, and what comes of them: a class for each part.

`pytest agents/tests/test_performance_optimizations.py -v` runs them, and so does this file as a program. Parts are
taken from the document's own paths and made without arguments, as in the document, so they use the runtime that opens
by itself: the embedded Postgres, retrieval servers and models over real HTTP. What overlaps is proven by servers that
answer nobody before all have asked, never by a clock.
"""

from __future__ import annotations

import asyncio
import runpy
import sys
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from uuid import uuid4

import pytest

import omninode
from omninode.core import ambient, current
from omninode.core.errors import (
    BatchDataError,
    BreakerOpenError,
    InvalidArgumentError,
    ProviderUnavailableError,
    QuorumFailedError,
)
from omninode.resilience.registry import BreakerRegistry
from omninode.testing.clock import FakeClock

AGENTS = Path(__file__).resolve().parent.parent


def at(path: str) -> SimpleNamespace:
    """What the module at the document's path holds, found by its path: the import name `agents` is not ours."""
    return SimpleNamespace(**runpy.run_path(str(AGENTS / path)))


ContextManager = at("parallel_execution/context_manager.py").ContextManager
QuorumValidator = at("parallel_execution/quorum_validator.py").QuorumValidator
PerformanceOptimizer = at("lib/performance_optimization.py").PerformanceOptimizer
circuit_breaker = at("lib/circuit_breaker.py")
call_with_breaker = circuit_breaker.call_with_breaker
retry_manager_module = at("lib/retry_manager.py")
execute_with_retry = retry_manager_module.execute_with_retry
PerformanceMonitor = at("lib/performance_monitor.py").PerformanceMonitor
track_agent_performance = at("lib/agent_analytics.py").track_agent_performance
get_agent_recommendations = at("lib/agent_analytics.py").get_agent_recommendations
ContextOptimizer = at("lib/context_optimizer.py").ContextOptimizer
InputValidator = at("lib/input_validator.py").InputValidator


class TestParallelRAGQueries:
    """1. `gather_global_context`."""

    @pytest.mark.integration
    @pytest.mark.performance
    async def test_all_queries_of_all_sources_are_under_way_at_once(self, rows, retrieval, declare, tmp_path):
        (tmp_path / "fibonacci.py").write_text("def fibonacci(n):\n    return n\n", encoding="utf-8")
        wiki, papers = await retrieval("wiki", together=3), await retrieval("papers", together=3)
        declare(sources=[{"name": "wiki", "url": wiki.url}, {"name": "papers", "url": papers.url}])
        context_manager = ContextManager()

        context_items = await context_manager.gather_global_context(
            user_prompt="Generate Python function", rag_queries=["python", "fibonacci", "algorithm"], max_rag_results=5
        )

        told = {report.source: (report.status, report.answered) for report in context_items.sources}
        assert (told["wiki"], told["papers"]) == (("ok", 3), ("ok", 3))
        assert sorted(wiki.queries) == sorted(papers.queries) == ["algorithm", "fibonacci", "python"]
        found = {item.content for item in context_items.values()}
        assert {f"{name} on {query}, passage 0" for name in ("wiki", "papers") for query in wiki.queries} <= found
        assert any(item.path == "fibonacci.py" for item in context_items.values())
        kept = await rows(
            "SELECT labels->>'source' AS source FROM performance_metrics WHERE metric = 'source_duration_ms'"
        )
        assert {"wiki", "papers"} <= {row["source"] for row in kept}

    @pytest.mark.integration
    async def test_a_query_brings_at_most_max_rag_results(self, rows, retrieval, declare):
        wiki = await retrieval("wiki", results=9)
        declare(sources=[{"name": "wiki", "url": wiki.url}])
        context_items = await ContextManager().gather_global_context(
            user_prompt="Generate Python function", rag_queries=["python"], max_rag_results=5
        )
        assert sum(item.source == "wiki" for item in context_items.values()) == 5

    @pytest.mark.fault
    async def test_a_source_that_fails_costs_its_share_and_is_named(self, rows, retrieval, declare, monkeypatch):
        monkeypatch.setenv("RETRY_MAX_RETRIES", "0")
        wiki, papers = await retrieval("wiki"), await retrieval("papers", status=500)
        declare(sources=[{"name": "wiki", "url": wiki.url}, {"name": "papers", "url": papers.url}])
        context_items = await ContextManager().gather_global_context(user_prompt="Generate Python function")
        assert [(report.source, report.status) for report in context_items.lost] == [("papers", "failed")]
        assert [item.content for item in context_items.values() if item.source in {"wiki", "papers"}] == [
            "wiki on Generate Python function, passage 0"
        ]


class TestParallelModelCalls:
    """1. `validate_intent`."""

    prompt = "Fix the parser, write tests for the parser and update the README."
    task_breakdown = (
        {"id": "t1", "agent": "debugger", "description": "Fix the parser"},
        {"id": "t2", "agent": "tester", "description": "Write tests for the parser", "depends_on": ["t1"]},
        {"id": "t3", "agent": "coder", "description": "Update the README", "depends_on": ["t1"]},
    )

    @pytest.mark.integration
    @pytest.mark.performance
    async def test_all_models_are_asked_at_once_and_the_votes_are_kept(self, rows, models, together):
        clock = together(5)
        await models(clock=clock)
        quorum = QuorumValidator()
        run_id = uuid4()

        with current.entered(run_id=run_id):
            result = await quorum.validate_intent(user_prompt=self.prompt, task_breakdown=self.task_breakdown)

        assert (result.decision, result.asked, result.lost) == (omninode.Decision.PASS, 5, 0)
        assert clock.most == 5
        votes = await rows("SELECT decision FROM votes WHERE run_id = $1 AND counted", run_id)
        assert [vote["decision"] for vote in votes] == ["PASS"] * result.counted
        calls = await rows("SELECT role, tokens_in > 0 AS told FROM llm_calls WHERE run_id = $1 AND ok", run_id)
        assert {(call["role"], call["told"]) for call in calls} == {("voter", True)}

    @pytest.mark.integration
    async def test_a_plan_that_forgets_a_part_is_sent_back_with_the_part_named(self, rows, models):
        await models()
        result = await QuorumValidator().validate_intent(
            user_prompt=self.prompt, task_breakdown=self.task_breakdown[:2]
        )
        assert result.decision is omninode.Decision.RETRY
        assert result.deficiencies[0] == "nothing covers: Update the README"

    @pytest.mark.fault
    async def test_the_voters_that_are_left_decide_and_the_lost_ones_are_stated(self, rows, models, monkeypatch):
        monkeypatch.setenv("RETRY_MAX_RETRIES", "0")
        simulated = await models()
        for name in ("voter-1", "voter-2"):
            simulated.script_faults(name, *["error"] * 9)
        for name in ("voter-3", "voter-4", "voter-5"):
            simulated.script_faults(name, "slow")
        result = await QuorumValidator().validate_intent(user_prompt=self.prompt, task_breakdown=self.task_breakdown)
        assert (result.decision, result.is_degraded) == (omninode.Decision.PASS, True)
        assert {vote.voter for vote in result.votes if vote.status == "lost"} == {"voter-1", "voter-2"}
        assert "lost: voter-1" in result.note

    @pytest.mark.fault
    async def test_too_few_voters_are_no_verdict_on_the_plan(self, rows, models, monkeypatch):
        monkeypatch.setenv("RETRY_MAX_RETRIES", "0")
        simulated = await models()
        for number in range(1, 6):
            simulated.script_faults(f"voter-{number}", *["error"] * 9)
        with pytest.raises(QuorumFailedError, match="only 0 of 5 voters could vote"):
            await QuorumValidator().validate_intent(user_prompt=self.prompt, task_breakdown=self.task_breakdown)


class TestBatchDatabaseOperations:
    """2. `batch_write_with_pooling`."""

    @pytest.fixture(autouse=True)
    async def test_table(self, rows):
        await rows("DROP TABLE IF EXISTS test_table")
        await rows("CREATE TABLE test_table (id integer PRIMARY KEY, name text NOT NULL, made timestamptz)")
        yield
        await rows("DROP TABLE test_table")

    @staticmethod
    def data(count: int) -> list[dict[str, object]]:
        return [{"id": n, "name": f"row {n}", "made": datetime(2026, 1, 1, tzinfo=UTC)} for n in range(count)]

    @pytest.mark.integration
    async def test_an_insert_is_in_the_table_and_in_the_log(self, rows):
        test_data = self.data(1000)
        optimizer = PerformanceOptimizer()

        result = await optimizer.batch_write_with_pooling(
            data=test_data, operation_type="INSERT", table_name="test_table"
        )

        assert (result["rows"], result["failed"]) == (1000, 0)
        assert await rows("SELECT * FROM test_table ORDER BY id") == test_data
        log = await rows(
            "SELECT operation, rows_ok, rows_failed FROM batch_operation_logs WHERE table_name = 'test_table' ORDER BY ts DESC LIMIT 1"
        )
        assert log == [{"operation": "INSERT", "rows_ok": 1000, "rows_failed": 0}]

    @pytest.mark.integration
    async def test_update_upsert_and_delete_do_what_they_say(self, rows):
        optimizer = PerformanceOptimizer()
        await optimizer.batch_write_with_pooling(self.data(3), "INSERT", "test_table")
        await optimizer.batch_write_with_pooling([{"id": 0, "name": "changed"}], "UPDATE", "test_table")
        upserted = await optimizer.batch_write_with_pooling(
            [{"id": 1, "name": "met"}, {"id": 9, "name": "added"}], "UPSERT", "test_table"
        )
        deleted = await optimizer.batch_write_with_pooling([{"id": 2}], "DELETE", "test_table")
        assert (upserted.rows, deleted.rows) == (2, 1)
        kept = await rows("SELECT id, name FROM test_table ORDER BY id")
        assert [(row["id"], row["name"]) for row in kept] == [(0, "changed"), (1, "met"), (9, "added")]

    @pytest.mark.performance
    async def test_many_rows_go_in_few_batches_by_copy(self, rows, monkeypatch):
        monkeypatch.setenv("BATCH_OPERATION_SIZE", "500")
        result = await PerformanceOptimizer().batch_write_with_pooling(self.data(2000), "INSERT", "test_table")
        assert result.method == "copy"
        assert result.batches <= 4

    @pytest.mark.performance
    async def test_twenty_writers_share_the_connections_of_one_pool(self, rows, monkeypatch):
        monkeypatch.setenv("CONNECTION_POOL_SIZE", "3")
        optimizer = PerformanceOptimizer()
        async with asyncio.TaskGroup() as group:
            for row in self.data(20):
                group.create_task(optimizer.batch_write_with_pooling([row], "INSERT", "test_table"))
        pool = (await ambient.runtime()).database.statistics()
        assert pool.open <= pool.size == 3
        assert pool.acquired >= 20
        assert await rows("SELECT count(*) AS n FROM test_table") == [{"n": 20}]

    @pytest.mark.fault
    async def test_one_bad_row_leaves_nothing_half_written(self, rows):
        test_data = [*self.data(300), {"id": 0, "name": "the same id again", "made": None}]
        with pytest.raises(BatchDataError, match="test_table") as caught:
            await PerformanceOptimizer().batch_write_with_pooling(test_data, "INSERT", "test_table", batch_size=100)
        assert caught.value.row == 300
        assert await rows("SELECT count(*) AS n FROM test_table") == [{"n": 0}]

    @pytest.mark.fault
    async def test_a_table_that_is_not_in_the_catalogue_is_refused(self, rows):
        with pytest.raises(BatchDataError, match="no_such"):
            await PerformanceOptimizer().batch_write_with_pooling(
                self.data(1), "INSERT", 'no_such"; DROP TABLE test_table; --'
            )
        assert await rows("SELECT count(*) AS n FROM test_table") == [{"n": 0}]


class TestCircuitBreaker:
    """3. `call_with_breaker`."""

    @pytest.mark.unit
    async def test_a_call_gives_what_the_service_gives(self):
        config = circuit_breaker.CircuitBreakerConfig()

        async def service_call() -> str:
            return "answer"

        result = await call_with_breaker(breaker_name="service_breaker", config=config, func=service_call)
        assert result == "answer"

    @pytest.mark.unit
    @pytest.mark.fault
    async def test_closed_open_half_open_closed(self):
        clock, broken, calls = FakeClock(), True, 0
        config = circuit_breaker.CircuitBreakerConfig(failure_threshold=3, timeout_seconds=30, success_threshold=2)
        breakers = BreakerRegistry(clock=clock)

        async def service_call() -> str:
            nonlocal calls
            calls += 1
            if broken:
                raise ConnectionError("the service is down")
            return "answer"

        async def once() -> str:
            return await call_with_breaker(breaker_name="service_breaker", config=config, func=service_call)

        with current.entered(runtime=SimpleNamespace(breakers=breakers)):
            for _ in range(3):
                with pytest.raises(ConnectionError):
                    await once()
            breaker = breakers.get("service_breaker")
            assert breaker.state is omninode.CircuitState.OPEN
            with pytest.raises(BreakerOpenError) as refused:
                await once()
            assert calls == 3
            assert 0 < refused.value.retry_after_s <= 30
            clock.advance(30)
            broken = False
            assert await once() == "answer"
            assert breaker.state is omninode.CircuitState.HALF_OPEN
            assert await once() == "answer"
            assert breaker.state is omninode.CircuitState.CLOSED

    @pytest.mark.fault
    @pytest.mark.integration
    async def test_a_failing_server_is_left_alone_and_the_state_survives_a_restart(self, rows, retrieval):
        server = await retrieval("service", status=500)
        config = circuit_breaker.CircuitBreakerConfig()
        breaker_name = f"service-{uuid4()}"

        async def storm(calls: int) -> list[str]:
            ended = []
            async with omninode.open(needs_models=False) as node:
                for _ in range(calls):
                    try:
                        await call_with_breaker(breaker_name, config, node.http.post_json, server.url, {"query": "q"})
                    except (ProviderUnavailableError, BreakerOpenError) as error:
                        ended.append(type(error).__name__)
            return ended

        assert await storm(8) == ["ProviderUnavailableError"] * 5 + ["BreakerOpenError"] * 3
        kept = await rows("SELECT state, failures FROM circuit_breaker_state WHERE name = $1", breaker_name)
        assert [row["state"] for row in kept] == ["open"]
        assert await storm(2) == ["BreakerOpenError"] * 2
        assert len(server.queries) == 5

    @pytest.mark.unit
    def test_the_defaults_are_the_documents(self):
        config = circuit_breaker.CircuitBreakerConfig()
        assert (config.failure_threshold, config.timeout_seconds, config.success_threshold) == (5, 30.0, 2)


class TestRetryManager:
    """3. `execute_with_retry`."""

    RetryConfig, RetryManager = retry_manager_module.RetryConfig, retry_manager_module.RetryManager

    @pytest.mark.unit
    @pytest.mark.fault
    async def test_a_flaky_operation_succeeds_after_growing_waits(self):
        clock, calls = FakeClock(auto_advance=True), 0
        config = self.RetryConfig(jitter=False)
        retry_manager = self.RetryManager(clock=clock)

        async def flaky_operation() -> str:
            nonlocal calls
            calls += 1
            if calls < 4:
                raise ConnectionResetError("try again")
            return "done"

        result = await execute_with_retry(retry_manager=retry_manager, config=config, func=flaky_operation)

        assert (result, calls) == ("done", 4)
        assert clock.slept == pytest.approx([0.1, 0.2, 0.4])
        counts = retry_manager.statistics()
        assert (counts.attempts, counts.retries, counts.recovered, counts.exhausted) == (4, 3, 1, 0)

    @pytest.mark.unit
    @pytest.mark.fault
    async def test_when_nothing_helps_the_last_error_is_raised_and_nobody_waits_after_it(self):
        clock, calls = FakeClock(auto_advance=True), 0

        async def flaky_operation() -> None:
            nonlocal calls
            calls += 1
            raise ConnectionResetError(f"failure {calls}")

        retry_manager = self.RetryManager(clock=clock)
        with pytest.raises(ConnectionResetError, match="failure 4"):
            await execute_with_retry(retry_manager=retry_manager, config=self.RetryConfig(), func=flaky_operation)
        assert (calls, len(clock.slept), retry_manager.statistics().exhausted) == (4, 3, 1)

    @pytest.mark.unit
    async def test_what_another_attempt_cannot_cure_is_tried_once(self):
        calls = 0

        async def flaky_operation() -> None:
            nonlocal calls
            calls += 1
            raise InvalidArgumentError("the argument is wrong")

        with pytest.raises(InvalidArgumentError):
            await execute_with_retry(retry_manager=self.RetryManager(), config=self.RetryConfig(), func=flaky_operation)
        assert calls == 1

    @pytest.mark.unit
    def test_the_defaults_are_the_documents(self):
        config = self.RetryConfig()
        assert (config.max_retries, config.base_delay, config.max_delay) == (3, 0.1, 10.0)
        assert (config.backoff_multiplier, config.jitter) == (2.0, True)

    @pytest.mark.fault
    @pytest.mark.integration
    async def test_a_model_that_fails_once_is_asked_again_and_counted_in_the_table(self, rows, models):
        simulated = await models()
        simulated.script_faults("voter-1", "error")
        for number in range(2, 6):
            simulated.script_faults(f"voter-{number}", "hang")
        node = await ambient.runtime()
        quorum = QuorumValidator(minimum=1)
        asking = asyncio.ensure_future(
            quorum.validate_intent(TestParallelModelCalls.prompt, TestParallelModelCalls.task_breakdown)
        )
        while sum(manager.statistics().recovered for manager in node.router.retries) < 1:
            await asyncio.sleep(0.01)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        await omninode.shutdown()
        kept = await rows("SELECT retries, recovered FROM retry_manager_state WHERE name LIKE '%voter-1%'")
        assert (kept[0]["retries"], kept[0]["recovered"]) == (1, 1)


class TestPerformanceMonitor:
    """4. `track_phase_performance`."""

    @pytest.mark.integration
    async def test_a_phase_is_opened_and_closed_and_stored_with_its_metadata(self, rows):
        run_id = uuid4()
        monitor = PerformanceMonitor()
        await monitor.track_phase_performance(run_id=run_id, phase="context_gathering", metadata={"test": True})
        measured = await monitor.track_phase_performance(run_id=run_id, phase="context_gathering")

        kept = await rows("SELECT * FROM performance_metrics WHERE run_id = $1", run_id)
        assert [(row["phase"], row["metric"], row["ok"]) for row in kept] == [
            ("context_gathering", "phase_duration_ms", True)
        ]
        assert kept[0]["value"] == pytest.approx(measured.duration_ms)
        assert '"test": true' in kept[0]["labels"] or kept[0]["labels"]["test"] is True
        metrics = await PerformanceMonitor().get_performance_metrics(run_id)
        assert (metrics.origin, set(metrics.phase_ms)) == ("database", {"context_gathering"})

    @pytest.mark.integration
    async def test_an_agent_is_tracked(self, rows):
        run_id = uuid4()
        await PerformanceMonitor().track_agent_performance("a", "code", success=False, duration_ms=12, run_id=run_id)
        kept = await rows("SELECT agent_id, success, duration_ms FROM agent_performance WHERE run_id = $1", run_id)
        assert kept == [{"agent_id": "a", "success": False, "duration_ms": 12}]

    @pytest.mark.fault
    async def test_a_phase_that_raises_is_stored_as_failed_with_its_class(self, rows):
        run_id, monitor = uuid4(), PerformanceMonitor()
        with pytest.raises(ZeroDivisionError):
            async with monitor.phase(run_id, "context_gathering"):
                raise ZeroDivisionError
        kept = await rows("SELECT ok FROM performance_metrics WHERE run_id = $1", run_id)
        assert kept == [{"ok": False}]

    @pytest.mark.integration
    async def test_processor_memory_and_connections_are_measured(self, rows):
        node = await ambient.runtime()
        await node.sampler.sample()
        await node.bus.drain()
        latest = node.monitor.snapshot().metrics
        assert latest["rss_bytes"] > 1_000_000
        assert {"cpu_percent", "database_connections", "database_connections_in_use"} <= set(latest)


class TestAgentAnalytics:
    """4. `track_agent_performance`."""

    @pytest.mark.integration
    async def test_an_outcome_is_a_row(self, rows):
        run_id = uuid4()
        await track_agent_performance(
            agent_id="agent_1", task_type="code_generation", success=True, duration_ms=1500, run_id=run_id
        )
        kept = await rows(
            "SELECT agent_id, task_type, success, duration_ms FROM agent_performance WHERE run_id = $1", run_id
        )
        assert kept == [{"agent_id": "agent_1", "task_type": "code_generation", "success": True, "duration_ms": 1500}]

    @pytest.mark.integration
    async def test_the_better_agent_is_recommended_with_its_sample_size(self, rows):
        task_type = f"type-{uuid4()}"
        for number in range(20):
            await track_agent_performance("reliable", task_type, success=True, duration_ms=900)
            await track_agent_performance("erratic", task_type, success=number % 2 == 0, duration_ms=100)
        await rows("SELECT 1")
        found = await get_agent_recommendations(task_type, limit=2)
        assert [(entry.agent_id, entry.samples, entry.success_rate) for entry in found.items] == [
            ("reliable", 20, 1.0),
            ("erratic", 20, 0.5),
        ]
        assert found.items[0].reasons[0].startswith("20 of 20 tasks succeeded")

    @pytest.mark.integration
    async def test_success_rates_and_trends_come_from_the_rows(self, rows):
        agent_id = f"agent-{uuid4()}"
        for success in (True, True, False):
            await track_agent_performance(agent_id, "code_generation", success=success, duration_ms=10)
        await rows("SELECT 1")
        analytics = omninode.AgentAnalytics()
        assert (await analytics.summary(agent_id)).samples == 3
        points = await analytics.trends(agent_id)
        assert sum(point.samples for point in points) == 3

    @pytest.mark.fault
    async def test_an_impossible_duration_is_refused_and_nothing_is_opened(self):
        with pytest.raises(InvalidArgumentError, match="zero or more"):
            await track_agent_performance("agent_1", "code_generation", success=True, duration_ms=-1)
        assert ambient.find() is None


class TestContextOptimizer:
    """5. `predict_context_needs`."""

    @pytest.fixture(autouse=True)
    async def nothing_learned(self, rows):
        await PerformanceMonitor().get_performance_metrics(uuid4())  # opens, so that the tables are there
        await rows("TRUNCATE context_learning, context_predictions")

    @pytest.mark.integration
    async def test_a_prediction_is_cached_in_its_table_and_served_to_the_next_process(self, rows):
        prompt = "Fix the crash in the parser"
        optimizer = ContextOptimizer()
        predicted_types = await optimizer.predict_context_needs(prompt)

        assert set(predicted_types) == {"files", "search", "structure", "retrieval", "hints"}
        again = await ContextOptimizer().predict(prompt)
        assert (again.is_cached, again.needed) == (True, predicted_types)
        assert await rows("SELECT hits FROM context_predictions") == [{"hits": 1}]

    @pytest.mark.integration
    async def test_what_succeeds_is_learned_kept_and_changes_the_prediction(self, rows):
        optimizer = ContextOptimizer()
        await self.teach(optimizer)
        assert await optimizer.predict_context_needs("Fix crash 99 in the parser") == ["search"]
        kept = await rows(
            "SELECT context_type, count(*) AS n, avg(reward) AS mean FROM context_learning GROUP BY 1 ORDER BY 1"
        )
        assert [(row["context_type"], row["n"], row["mean"]) for row in kept] == [
            ("retrieval", 40, 0.0),
            ("search", 40, 1.0),
        ]
        after_restart = ContextOptimizer()
        assert await after_restart.predict_context_needs("Fix crash 100 in the parser") == ["search"]

    @pytest.mark.integration
    async def test_context_is_filtered_to_what_the_task_needs_within_the_budget(self, rows):
        optimizer = ContextOptimizer()
        await self.teach(optimizer)
        items = [self.item("search", n, words=40) for n in range(9)] + [self.item("retrieval", 9, words=5)]
        packed = await optimizer.optimize_context_for_task("Fix crash 99 in the parser", items, budget_tokens=600)
        assert {item.context_type for item in packed.items} == {"search"}
        assert 0 < packed.tokens <= 600

    async def teach(self, optimizer) -> None:
        """Forty outcomes: searching helped, retrieval did not."""
        for number in range(40):
            found = [self.item("search", number), self.item("retrieval", number)]
            prompt = f"Fix crash {number} in the parser"
            decision = optimizer.choose(
                prompt, [SimpleNamespace(name=i.source, context_type=i.context_type) for i in found]
            )
            optimizer.observe(decision, [])
            await optimizer.learn_from_success(prompt, used_items=found[:1], decision_id=decision.id)

    @staticmethod
    def item(kind: str, number: int, *, words: int = 3):
        from omninode.context.item import ContextItem

        content = f"parser crash {number} " + " ".join(f"{kind}{number}word{n}" for n in range(words))
        return ContextItem(id=f"{kind}-{number}", source=kind, context_type=kind, content=content)


class TestInputValidator:
    """6. `validate_and_sanitize`."""

    prompt = "Write a parser for dates, and tests for it."
    tasks_data = (
        {"id": "t1", "agent": "coder", "description": "Write the parser"},
        {"id": "t2", "agent": "tester", "description": "Write tests", "depends_on": ["t1"]},
    )

    @pytest.mark.unit
    async def test_good_input_comes_back_unchanged(self):
        prompt, tasks_data = self.prompt, list(self.tasks_data)
        validator = InputValidator()
        result = await validator.validate_and_sanitize(user_prompt=prompt, tasks_data=tasks_data)
        assert (result.is_valid, result.sanitized_prompt, result.deficiencies) == (True, prompt, ())
        assert [(task.id, task.depends_on) for task in result.sanitized_tasks] == [("t1", []), ("t2", ["t1"])]

    @pytest.mark.unit
    async def test_hidden_characters_are_removed_and_said(self):
        result = await InputValidator().validate_and_sanitize("Write a\u202e parser\u200b.")
        assert (result.is_valid, result.sanitized_prompt) == (True, "Write a parser.")
        assert {finding.code.split(".")[0] for finding in result.deficiencies} == {"UNICODE"}

    @pytest.mark.unit
    async def test_a_cycle_is_refused_with_its_path(self):
        tasks = [{**self.tasks_data[0], "depends_on": ["t2"]}, self.tasks_data[1]]
        result = await InputValidator().validate_and_sanitize(user_prompt=self.prompt, tasks_data=tasks)
        assert not result.is_valid
        assert any("t1" in finding.message and "t2" in finding.message for finding in result.blocking)

    @pytest.mark.unit
    async def test_a_secret_does_not_pass(self):
        key = "sk-proj-" + "a1B2c3D4e5F6g7H8" * 3
        result = await InputValidator().validate_and_sanitize(user_prompt=f"Call it with {key} please")
        assert key not in result.sanitized_prompt
        assert any(finding.code.startswith("SECRET") for finding in result.deficiencies)

    @pytest.mark.fault
    @pytest.mark.parametrize(
        "prompt", ["", "   ", b"\xff\xfe\x00", "x" * 1_000_000], ids=["empty", "blank", "binary", "1 MB"]
    )
    async def test_what_is_no_prompt_is_refused_and_never_raises(self, prompt):
        result = await InputValidator().validate_and_sanitize(user_prompt=prompt)
        assert not result.is_valid
        assert all(finding.remedy for finding in result.blocking)


if __name__ == "__main__":
    sys.exit(pytest.main([__file__, "-v", *sys.argv[1:]]))
