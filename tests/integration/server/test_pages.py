"""Every page and the JSON behind it, over real HTTP, on what the product's own mapping wrote."""

from __future__ import annotations

import math
from uuid import UUID

import pytest
from tests.integration.server.conftest import Site
from tests.integration.server.history import AGENTS, DEPLOYMENTS, History

from omninode.core.ids import uuid7

pytestmark = pytest.mark.integration


async def test_the_front_page_says_range_sample_size_and_age(site: Site, told: History) -> None:
    panel = (await site.get("/api/now?range=30d")).json
    assert panel["window"]["range"] == "30d"
    runs = panel["runs"]
    assert runs["n"] == len(told.run_ids)
    assert runs["done"] + runs["failed"] == runs["judged"] == runs["n"]
    assert runs["interval"]["low"] < runs["success"] < runs["interval"]["high"]
    durations = sorted(row["duration_ms"] for row in told.tables["runs"])
    assert runs["p50_ms"] == pytest.approx(durations[len(durations) // 2], rel=0.05)
    assert runs["p50_ms"] <= runs["p95_ms"] <= runs["p99_ms"]
    calls = told.tables["llm_calls"]
    assert panel["calls"]["n"] == len(calls)
    assert panel["calls"]["cost_uusd"] == sum(row["cost_uusd"] or 0 for row in calls)
    assert panel["calls"]["unpriced"] == sum(row["ok"] and row["cost_uusd"] is None for row in calls)
    page = (await site.get("/?range=30d")).text
    assert "n = " in page
    assert "s ago" in page
    assert "the last 30 days" in page


async def test_the_series_adds_up_to_the_totals(site: Site) -> None:
    panel = (await site.get("/api/now?range=24h")).json
    assert sum(bucket["calls"] for bucket in panel["series"]) == panel["calls"]["n"]
    assert sum(bucket["runs"] for bucket in panel["series"]) == panel["runs"]["n"]
    assert sum(bucket["cost_uusd"] for bucket in panel["series"]) == panel["calls"]["cost_uusd"]


async def test_alerts_tell_the_last_word_on_each(site: Site) -> None:
    panel = (await site.get("/api/now")).json
    assert [(alert["alert"], alert["state"]) for alert in panel["alerts"]] == [
        ("error rate", "firing"),
        ("slow calls", "resolved"),
    ]


async def test_phases_come_in_the_order_of_a_run(site: Site) -> None:
    phases = [phase["phase"] for phase in (await site.get("/api/now")).json["phases"]]
    assert phases[:4] == ["input_validation", "context_gathering", "task_decomposition", "quorum_validation"]


async def test_runs_are_paged_without_gap_or_repeat(site: Site, told: History) -> None:
    seen, query = [], ""
    while True:
        page = (await site.get(f"/api/runs?format=json{query}")).json
        seen += [run["id"] for run in page["items"]]
        if page["next"] is None:
            break
        query = f"&after={page['next']}"
    assert page["total"] == len(seen) == len(set(seen)) == len(told.run_ids)
    newest = sorted(told.tables["runs"], key=lambda row: row["started_at"], reverse=True)
    assert seen == [row["id"] for row in newest]


async def test_runs_are_filtered_by_status_and_show_their_cost(site: Site, told: History) -> None:
    page = (await site.get("/api/runs?status=failed_tasks")).json
    wanted = {row["id"] for row in told.tables["runs"] if row["status"] == "failed_tasks"}
    assert page["total"] == len(wanted)
    assert {run["id"] for run in page["items"]} <= wanted
    run = page["items"][0]
    calls = [row for row in told.tables["llm_calls"] if row["run_id"] == run["id"]]
    assert run["calls"] == len(calls)
    assert run["cost_uusd"] == sum(row["cost_uusd"] or 0 for row in calls)


async def test_a_broken_cursor_begins_anew(site: Site) -> None:
    for cursor in ("%00", "bm9uc2Vuc2U", "x" * 400):
        assert len((await site.get(f"/api/runs?after={cursor}")).json["items"]) == 50


async def test_simulated_runs_say_so_and_prompts_stay_text(site: Site, told: History, rich_run: UUID) -> None:
    html = (await site.get("/runs")).text
    assert "SIMULATED" in html
    assert "<b>and</b>" not in html
    assert "&lt;b&gt;and&lt;/b&gt;" in html
    page = (await site.get(f"/runs/{rich_run}")).text
    assert "SIMULATED" in page
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert(1)" in page


async def test_a_run_is_told_whole(site: Site, rich_run: UUID) -> None:
    panel = (await site.get(f"/api/runs/{rich_run}")).json
    assert panel["run"]["status"] == "failed_tasks"
    assert panel["run"]["report"]["tasks"] == 5
    assert [vote["round"] for vote in panel["votes"]] == [1] * 4 + [2] * 4
    assert {task["status"] for task in panel["tasks"]} == {"ok", "failed", "skipped"}
    assert {error["error_class"] for error in panel["errors"]} >= {"SourceError", "AttemptTimeoutError"}
    timeline = (await site.get(f"/api/runs/{rich_run}/timeline")).json
    kinds = {span["kind"] for span in timeline["spans"]}
    assert kinds == {"phase", "source", "task", "call", "vote"}
    assert len(timeline["spans"]) == panel["timeline"]["total"]
    assert all(span["start_ms"] + span["duration_ms"] <= timeline["length_ms"] + 1 for span in timeline["spans"])
    assert sum(span["is_critical"] for span in timeline["spans"] if span["kind"] == "phase") == 9


async def test_a_run_that_is_not_there_is_not_found(site: Site) -> None:
    for path in (f"/runs/{uuid7()}", "/runs/not-an-id", "/errors/unknown", "/nowhere"):
        answer = await site.get(path)
        assert answer.status == 404, path
        assert "To the front page" in answer.text
        assert (await site.get(f"/api{path}")).json["error"]


async def test_agents_are_ranked_by_the_lower_end_of_their_interval(site: Site, told: History) -> None:
    panel = (await site.get("/api/agents?range=30d")).json
    assert {agent["agent_id"] for agent in panel["agents"]} == set(AGENTS)
    lows = [agent["interval"]["low"] for agent in panel["agents"]]
    assert lows == sorted(lows, reverse=True)
    assert panel["n"] == len(told.tables["agent_performance"])
    first = panel["agents"][0]
    rows = [row for row in told.tables["agent_performance"] if row["agent_id"] == first["agent_id"]]
    assert (first["samples"], first["successes"]) == (len(rows), sum(row["success"] for row in rows))
    assert {kind["task_type"] for kind in panel["recommendations"]} == {kind for kind, _ in AGENTS.values()}
    assert all(agent["reasons"] for kind in panel["recommendations"] for agent in kind["agents"])
    assert "95 % interval" in (await site.get("/agents?range=30d")).text


async def test_reliability_shows_breakers_of_the_store_and_of_this_process(site: Site, told: History) -> None:
    panel = (await site.get("/api/reliability?range=30d")).json
    states = {breaker["name"]: breaker["state"] for breaker in panel["breakers"]}
    assert states == {"local": "open", "sonnet": "half_open", "gpt-eu": "closed", "only here": "half_open"}
    assert panel["breakers"][0]["name"] == "local"
    assert panel["spool"]["waiting"] == 3
    calls = told.tables["llm_calls"]
    assert panel["totals"]["attempts"] == sum(row["attempts"] for row in calls)
    assert panel["totals"]["retried"] == sum(row["attempts"] > 1 for row in calls)
    assert panel["retries"][0]["recovered"] == 81
    assert panel["dead_letters"][0]["sqlstate"] == "23502"
    shown = (await site.get("/reliability")).text
    assert "next probe in 3.50 s" in shown
    assert panel["sharing"] == {"mode": "listening", "heard": 4, "sensitised": 1, "failures": 2, "last_error": None}
    assert "hears of breakers that open in others (4 news, 2 times cut off)" in shown


async def test_errors_are_grouped_with_their_course_and_samples(site: Site, told: History) -> None:
    panel = (await site.get("/api/errors?range=30d")).json
    rows = told.tables["error_events"]
    counts = {group["fingerprint"]: group["count"] for group in panel["groups"]}
    assert counts == {
        print_: sum(row["fingerprint"] == print_ for row in rows) for print_ in {row["fingerprint"] for row in rows}
    }
    assert [group["count"] for group in panel["groups"]] == sorted(counts.values(), reverse=True)
    assert all(sum(group["course"]) == group["count"] for group in panel["groups"])
    group = panel["groups"][0]
    one = (await site.get(f"/api/errors/{group['fingerprint']}")).json
    assert one["n"] == group["count"]
    assert len(one["samples"]) == min(20, group["count"])
    assert one["samples"][0]["context"]["deployment"] in {name for name, *_ in DEPLOYMENTS}


async def test_trends_hold_every_bucket_and_say_why_no_change_is_told(site: Site) -> None:
    panel = (await site.get("/api/trends?range=7d")).json
    assert len(panel["series"]) in {84, 85}
    told = {row["label"]: row for row in panel["changes"]}
    assert set(told) == {"call time, p95", "calls failed", "run time, p95", "runs failed"}
    assert "a change of level can be told from 24 on" in told["runs failed"]["note"]
    measured = [bucket["resources"]["cpu_percent"] for bucket in panel["series"] if bucket["resources"]["cpu_percent"]]
    assert measured
    assert all(0 < value < 100 and math.isfinite(value) for value in measured)
    html = (await site.get("/trends?range=7d")).text
    assert html.count("Values as a table") >= 8


async def test_cost_shows_the_unpriced_beside_the_priced(site: Site, told: History) -> None:
    panel = (await site.get("/api/cost?range=30d")).json
    calls = told.tables["llm_calls"]
    assert panel["summary"]["cost_uusd"] == sum(row["cost_uusd"] or 0 for row in calls)
    models = {model["name"]: model for model in panel["models"]}
    assert models["qwen3:14b"]["cost_uusd"] == 0
    assert models["qwen3:14b"]["unpriced_calls"] > 0
    assert models["claude-sonnet-4-5"]["is_simulated"] is True
    assert {agent["name"] for agent in panel["agents"]} == set(AGENTS)
    assert sum(day["calls"] for day in panel["days"]) == len(calls)
    html = (await site.get("/cost?range=30d")).text
    assert "unpriced" in html
    assert "not known while calls are unpriced" in html


async def test_settings_tell_value_and_origin(site: Site) -> None:
    html = (await site.get("/settings")).text
    assert "BATCH_OPERATION_SIZE" in html
    assert "default" in html


@pytest.mark.parametrize("path", ["/", "/runs", "/agents", "/reliability", "/errors", "/trends", "/cost", "/settings"])
async def test_every_page_answers_as_json_with_its_range_and_moment(site: Site, path: str) -> None:
    answer = await site.get(f"{path}?format=json")
    assert answer.headers["content-type"] == "application/json"
    assert {"window", "at", "is_simulated"} <= set(answer.json)


async def test_static_files_are_kept_for_ever_only_under_their_hash(site: Site) -> None:
    html = (await site.get("/")).text
    address = html.partition('href="/static/app.css')[2].partition('"')[0]
    hashed = await site.get(f"/static/app.css{address}")
    assert "immutable" in hashed.headers["cache-control"]
    assert (await site.get("/static/live.js")).headers["cache-control"] == "no-cache"
    assert (await site.get("/static/../app.py")).status == 404


async def test_a_page_of_a_simulated_node_says_so(site: Site) -> None:
    assert "banner-simulated" not in (await site.get("/cost")).text
    site.node.is_simulated = True
    assert "<strong>SIMULATED</strong>" in (await site.get("/cost")).text


async def test_a_caller_may_shorten_the_time_and_not_lengthen_it(site: Site) -> None:
    header = {"x-deadline-ms": "0"}
    spent = await site.get("/api/trends?range=90d", **header)
    assert spent.status == 503
    assert "no time was left" in spent.json["error"]
    assert (await site.get("/api/trends?range=90d", **{"x-deadline-ms": "999999999"})).status == 200


async def test_a_deadline_that_is_no_number_is_refused_in_words(site: Site) -> None:
    refused = await site.get("/api/now", **{"x-deadline-ms": "soon"})
    assert refused.status == 400
    assert "x-deadline-ms is 'soon'" in refused.json["error"]
