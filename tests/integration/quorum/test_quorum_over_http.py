"""The quorum over the real router and real HTTP: five simulated voters judge real plans."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from omninode.core.errors import QuorumFailedError
from omninode.core.events import CallFinished, VoteCast
from omninode.providers.http import HttpClient
from omninode.quorum import Decision, QuorumResult, QuorumValidator
from omninode.routing.deployment import DeploymentConfig
from omninode.routing.router import Router
from omninode.simulation import SimulatedModels
from omninode.testing.sink import RecordingSink

pytestmark = pytest.mark.integration

PROMPT = "Fix the parser, write tests for the parser and update the README."
PLAN = [
    {"id": "t1", "agent": "debugger", "description": "Fix the parser"},
    {"id": "t2", "agent": "tester", "description": "Write tests for the parser", "depends_on": ["t1"]},
    {"id": "t3", "agent": "coder", "description": "Update the README", "depends_on": ["t1"]},
]
UNRELATED = [{"id": "a", "agent": "coder", "description": "Bake a chocolate cake"}]


@pytest.fixture
async def models() -> AsyncIterator[SimulatedModels]:
    async with SimulatedModels(latency_scale=0) as running:
        yield running


@pytest.fixture
def sink() -> RecordingSink:
    return RecordingSink()


@pytest.fixture
async def router(models: SimulatedModels, sink: RecordingSink) -> AsyncIterator[Router]:
    entries = [DeploymentConfig(**{**entry, "roles": frozenset(entry["roles"])}) for entry in models.deployments()]
    async with HttpClient() as http, Router(entries, http=http, sink=sink) as routed:
        yield routed


async def validate(router: Router, plan: list[dict], **options) -> QuorumResult:
    return await QuorumValidator(router, **options).validate_intent(PROMPT, plan)


async def test_a_good_plan_passes(router, sink):
    result = await validate(router, PLAN, sink=sink)
    assert (result.decision, result.asked) == (Decision.PASS, 5)
    # A careless voter may see what is not there; nobody else finds anything.
    assert {vote.voter for vote in result.votes if vote.deficiencies} <= {"sim-careless"}
    assert result.scores["coverage"] == pytest.approx(1.0)
    assert 0.5 < result.confidence <= 1.0
    assert len(sink.of(VoteCast)) == 5
    assert {event.role for event in sink.of(CallFinished)} == {"voter"}


async def test_an_unrelated_plan_is_voted_down_with_its_deficiencies_named(router):
    result = await validate(router, UNRELATED)
    assert result.decision is Decision.FAIL
    assert "task 'a' has nothing to do with the request: Bake a chocolate cake" in result.deficiencies
    assert "nothing covers: Fix the parser" in result.deficiencies


async def test_a_plan_with_a_part_missing_is_sent_back_naming_it(router):
    result = await validate(router, PLAN[:2])
    assert result.decision is Decision.RETRY
    assert result.deficiencies[0] == "nothing covers: Update the README"


async def test_an_agent_nobody_knows_is_found_when_the_agents_are_told(router):
    result = await validate(
        router, [*PLAN[:2], {**PLAN[2], "agent": "plumber"}], agents=["coder", "debugger", "tester"]
    )
    assert result.decision is Decision.RETRY
    assert "task 't3' names an agent that does not exist: plumber" in result.deficiencies


@pytest.mark.fault
async def test_two_hanging_voters_leave_the_decision_to_the_rest(router, models):
    for name in ("sim-swift", "sim-careless"):
        models.script_faults(name, "hang")
    result = await validate(router, PLAN)
    assert (result.decision, result.counted, result.saved) == (Decision.PASS, 3, 2)
    assert "sim-swift, sim-careless" in result.note


@pytest.mark.fault
async def test_two_failing_voters_are_stated_as_lost(router, models):
    models.script_faults("sim-swift", *["error"] * 20)
    # Prose twice: the one re-ask is used up.
    models.script_faults("sim-keen", "prose", "prose")
    for name in ("sim-steady", "sim-scholar", "sim-careless"):
        models.script_faults(name, "slow")
    result = await validate(router, PLAN)
    lost = {vote.voter: vote.error_class for vote in result.votes if vote.status == "lost"}
    assert result.decision is Decision.PASS
    assert lost["sim-keen"] == "MalformedAnswerError"
    assert "lost: " in result.note


@pytest.mark.fault
async def test_prose_once_is_asked_again_and_counted(router, models):
    for name in ("sim-swift", "sim-steady", "sim-scholar", "sim-careless", "sim-keen"):
        models.script_faults(name, "prose")
    result = await validate(router, PLAN)
    assert result.decision is Decision.PASS
    assert all(vote.was_asked_twice for vote in result.votes if vote.is_counted)


@pytest.mark.fault
async def test_a_voter_that_hangs_while_it_matters_is_given_up_after_its_time(router, models):
    for name in ("sim-swift", "sim-steady", "sim-scholar"):
        models.script_faults(name, *["hang"] * 20)
    with pytest.raises(QuorumFailedError, match="only 2 of 5 voters could vote, a decision needs 3"):
        await validate(router, PLAN, vote_timeout_s=0.3)


async def test_two_runs_of_one_seed_vote_alike(router):
    first, second = await validate(router, PLAN[:2]), await validate(router, PLAN[:2])
    heard = {vote.voter: vote.score for vote in first.votes if vote.is_counted}
    again = {vote.voter: vote.score for vote in second.votes if vote.is_counted}
    assert {name: heard[name] for name in heard.keys() & again.keys()} == {
        name: again[name] for name in heard.keys() & again.keys()
    }
    assert len(heard.keys() & again.keys()) >= 2
