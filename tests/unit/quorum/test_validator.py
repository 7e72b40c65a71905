"""The quorum with scripted voters: early stop, lost voters, second askings, events."""

from __future__ import annotations

import asyncio
import json
from types import SimpleNamespace
from uuid import UUID

import pytest

from omninode.core import current
from omninode.core.deadline import Deadline
from omninode.core.errors import ConfigurationError, InvalidArgumentError, ProviderUnavailableError, QuorumFailedError
from omninode.core.events import ErrorOccurred, NullSink, VoteCast
from omninode.quorum import Ballot, Decision, QuorumValidator, StaticWeights
from omninode.testing.sink import RecordingSink

pytestmark = pytest.mark.unit

PLAN = [{"id": "t1", "agent": "coder", "description": "Add a parser"}]


class Scripted:
    """A voter that answers from a list; an exception is raised, an event is waited for."""

    def __init__(self, name: str, *answers: object, weight: float = 1.0) -> None:
        self.name, self.model, self.weight = name, f"model-{name}", weight
        self._answers = list(answers)
        self.ballots: list[Ballot] = []
        self.was_cancelled = False

    async def vote(self, ballot: Ballot) -> str:
        self.ballots.append(ballot)
        answer = self._answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        if isinstance(answer, asyncio.Event):
            try:
                await answer.wait()
            except asyncio.CancelledError:
                self.was_cancelled = True
                raise
        return str(answer)


def says(decision: str, *deficiencies: str) -> str:
    return json.dumps({"decision": decision, "score": 0.9, "confidence": 0.8, "deficiencies": list(deficiencies)})


def never() -> asyncio.Event:
    return asyncio.Event()


async def test_it_stops_and_cancels_the_rest_once_they_cannot_change_the_decision():
    slow = [Scripted("d", never()), Scripted("e", never())]
    voters = [Scripted("a", says("PASS")), Scripted("b", says("PASS")), Scripted("c", says("PASS")), *slow]
    result = await QuorumValidator(voters).validate_intent("Add a parser", PLAN)
    assert (result.decision, result.asked, result.counted, result.saved, result.lost) == (Decision.PASS, 5, 3, 2, 0)
    assert [vote.status for vote in result.votes] == ["counted"] * 3 + ["not_needed"] * 2
    assert all(voter.was_cancelled for voter in slow)
    assert "not waited for" in result.note
    assert not result.is_degraded


async def test_all_voters_are_asked_at_once():
    first = asyncio.Event()

    class Second(Scripted):
        async def vote(self, ballot: Ballot) -> str:
            first.set()
            return await super().vote(ballot)

    voters = [Scripted("a", first), Second("b", says("PASS")), Scripted("c", says("PASS"))]
    result = await QuorumValidator(voters, minimum=2).validate_intent("Add a parser", PLAN)
    assert result.decision is Decision.PASS


async def test_lost_voters_are_stated_and_the_rest_decides():
    voters = [
        Scripted("a", says("PASS")),
        Scripted("b", ProviderUnavailableError("no connection")),
        Scripted("c", says("RETRY", "no tests")),
        Scripted("d", RuntimeError("a defect in the caller's voter")),
        Scripted("e", says("RETRY", "no tests")),
    ]
    result = await QuorumValidator(voters).validate_intent("Add a parser", PLAN)
    assert (result.decision, result.counted, result.lost) == (Decision.RETRY, 3, 2)
    assert result.deficiencies == ("no tests",)
    assert result.is_degraded
    assert "lost: b (ProviderUnavailableError), d (RuntimeError)" in result.note


async def test_each_lost_voter_is_an_error_of_its_deployment():
    sink = RecordingSink()
    voters = [Scripted("a", says("PASS")), Scripted("b", RuntimeError("x")), Scripted("c", "prose", "prose")]
    await QuorumValidator(voters, sink=sink, minimum=1).validate_intent("Add a parser", PLAN)
    told = {(event.context["deployment"], event.error_class, event.where) for event in sink.of(ErrorOccurred)}
    assert told == {("b", "RuntimeError", "quorum.poll"), ("c", "MalformedAnswerError", "quorum.poll")}
    assert len(sink.of(ErrorOccurred)) == 2


async def test_a_voter_beyond_its_time_is_lost():
    voters = [Scripted("a", says("FAIL", "wrong")), Scripted("b", says("FAIL", "wrong")), Scripted("c", never())]
    validator = QuorumValidator(voters, vote_timeout_s=0.01, minimum=2, weights=StaticWeights({"c": 9.0}))
    result = await validator.validate_intent("Add a parser", PLAN)
    assert result.decision is Decision.FAIL
    assert result.votes[2].error_class == "DeadlineExceededError"


async def test_too_few_votes_raise_instead_of_judging_the_plan():
    voters = [Scripted("a", says("PASS")), Scripted("b", OSError("gone")), Scripted("c", OSError("gone"))]
    validator = QuorumValidator(voters)
    with pytest.raises(QuorumFailedError, match="only 1 of 3 voters could vote, a decision needs 2") as caught:
        await validator.validate_intent("Add a parser", PLAN)
    assert caught.value.deficiencies == ("b: gone", "c: gone")
    assert (validator.statistics().undecided, validator.statistics().lost) == (1, 2)


async def test_a_deadline_already_over_asks_nobody():
    voter = Scripted("a", says("PASS"))
    with pytest.raises(QuorumFailedError, match="DeadlineExceededError"):
        await QuorumValidator([voter]).validate_intent("Add a parser", PLAN, deadline=Deadline.after(0))
    assert voter.ballots == []


async def test_an_unreadable_answer_is_asked_for_once_more():
    voter = Scripted("a", "It looks fine to me.", says("PASS"))
    result = await QuorumValidator([voter]).validate_intent("Add a parser", PLAN)
    assert result.votes[0].was_asked_twice
    assert "It looks fine to me." in voter.ballots[1].user


async def test_a_voter_unreadable_twice_is_lost():
    voter = Scripted("a", "prose", "more prose", says("PASS"))
    with pytest.raises(QuorumFailedError, match="MalformedAnswerError"):
        await QuorumValidator([voter]).validate_intent("Add a parser", PLAN)
    assert len(voter.ballots) == 2


async def test_each_voter_is_told_as_an_event_of_the_run():
    sink, run_id = RecordingSink(), UUID(int=7)
    voters = [
        Scripted("a", says("PASS"), weight=2.0),
        Scripted("b", OSError("gone")),
        Scripted("c", says("PASS"), weight=2.0),
        Scripted("d", never()),
    ]
    with current.entered(run_id=run_id, phase="quorum_validation"):
        await QuorumValidator(voters, sink=sink, minimum=2).validate_intent("Add a parser", PLAN, round=2)
    told = {event.deployment: event for event in sink.of(VoteCast)}
    assert len(sink.of(VoteCast)) == 4
    assert {(event.run_id, event.phase, event.round) for event in told.values()} == {(run_id, "quorum_validation", 2)}
    assert {name: (event.decision, event.counted, event.error_class) for name, event in told.items()} == {
        "a": ("PASS", True, None),
        "b": (None, False, "OSError"),
        "c": ("PASS", True, None),
        "d": (None, False, None),
    }


async def test_an_empty_plan_is_sent_back_without_asking():
    voter = Scripted("a")
    result = await QuorumValidator([voter]).validate_intent("Add a parser", {"tasks": []})
    assert (result.decision, result.deficiencies, result.asked) == (Decision.RETRY, ("the plan has no tasks",), 0)


async def test_an_override_changes_whose_vote_counts_how_much():
    voters = [Scripted("a", says("PASS")), Scripted("b", says("FAIL", "wrong")), Scripted("c", says("FAIL", "wrong"))]
    result = await QuorumValidator(voters, weights=StaticWeights({"a": 5.0})).validate_intent("Add a parser", PLAN)
    assert result.decision is Decision.PASS


@pytest.mark.parametrize("weight", [0.0, -1.0, float("nan"), float("inf")])
async def test_a_weight_that_is_no_positive_number_is_refused(weight):
    with pytest.raises(ConfigurationError, match="voter 'a' has weight"):
        await QuorumValidator([Scripted("a", weight=weight)]).validate_intent("Add a parser", PLAN)


async def test_who_cannot_be_asked_is_said_before_anything_is_spent():
    with pytest.raises(ConfigurationError, match="nobody can vote"):
        await QuorumValidator([]).validate_intent("Add a parser", PLAN)
    with_no_voter = current.entered(runtime=SimpleNamespace(router=[], sink=NullSink()))
    with with_no_voter, pytest.raises(ConfigurationError, match="nobody can vote"):
        await QuorumValidator().validate_intent("Add a parser", PLAN)
    with pytest.raises(ConfigurationError, match="same name"):
        await QuorumValidator([Scripted("a"), Scripted("a")]).validate_intent("Add a parser", PLAN)
    with pytest.raises(ConfigurationError, match="quorum of 3 is asked of 1"):
        await QuorumValidator([Scripted("a")], minimum=3).validate_intent("Add a parser", PLAN)
    with pytest.raises(InvalidArgumentError, match="prompt is empty"):
        await QuorumValidator([Scripted("a")]).validate_intent("  ", PLAN)


async def test_cancelling_the_caller_cancels_every_voter():
    voters = [Scripted("a", never()), Scripted("b", never())]
    asking = asyncio.create_task(QuorumValidator(voters).validate_intent("Add a parser", PLAN))
    await asyncio.sleep(0)
    while not all(voter.ballots for voter in voters):
        await asyncio.sleep(0)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert all(voter.was_cancelled for voter in voters)
