"""The optimiser learns which sources are worth asking, and acts on it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from omninode.context.choose import ChoosingConfig
from omninode.context.decision import Decision
from omninode.context.features import SIZE, features
from omninode.context.item import ContextItem, SourceReport
from omninode.context.learn import LinearPosterior, cited
from omninode.context.notes import FileNotes, beta_quantile
from omninode.context.optimizer import ContextOptimizer
from omninode.context.pack import Shares
from omninode.context.predict import inclusion_probability
from omninode.context.source import SourceQuery, Traits
from omninode.context.sources.hints import LearnedHints
from omninode.core.errors import DatabaseUnavailableError, InvalidArgumentError
from omninode.testing.clock import FakeClock

pytestmark = pytest.mark.unit

EAGER = ChoosingConfig(min_labels=20, explored_share=0.0)


class Named:
    """A source that is only looked at."""

    def __init__(self, name: str, context_type: str, *, is_must: bool = False) -> None:
        self.name, self.context_type = name, context_type
        self.traits = Traits(is_must=is_must)

    async def fetch(self, query: SourceQuery) -> Sequence[ContextItem]:
        return []


SOURCES = [Named("good", "search"), Named("useless", "retrieval"), Named("must", "structure", is_must=True)]


def item(source: str, **fields) -> ContextItem:
    return ContextItem(id=f"{source}:1", source=source, context_type="search", content="text", **fields)


def reports(decision: Decision, *, latency_ms: float = 100.0) -> list[SourceReport]:
    return [
        SourceReport(
            source=choice.source,
            context_type=choice.context_type,
            status="ok" if choice.included else "skipped",
            items=3,
            tokens=500,
            duration_ms=latency_ms,
            queries=1,
            answered=1,
        )
        for choice in decision.choices
    ]


async def train(optimizer: ContextOptimizer, rounds: int = 40, *, helpful: str = "good", success: bool = True) -> None:
    for number in range(rounds):
        prompt = f"fix the bug number {number} in module {number % 7}"
        decision = optimizer.choose(prompt, SOURCES, task_type="debug")
        optimizer.observe(decision, reports(decision))
        await optimizer.learn_from_success(
            prompt, used_items=[item(helpful)], task_type="debug", success=success, decision_id=decision.id
        )


def included(decision: Decision) -> set[str]:
    return {choice.source for choice in decision.choices if choice.included}


def share_asked(optimizer: ContextOptimizer, source: str, draws: int = 200) -> float:
    asked = [source in included(optimizer.choose(f"fix bug {n}", SOURCES, task_type="debug")) for n in range(draws)]
    return sum(asked) / draws


def test_everything_is_asked_before_anything_is_learned() -> None:
    decision = ContextOptimizer("memory", seed=1).choose("fix the bug", SOURCES)
    assert included(decision) == {"good", "useless", "must"}
    assert [choice.reason for choice in decision.choices] == ["cold_start", "cold_start", "must"]
    assert [choice.propensity for choice in decision.choices] == [1.0, 1.0, 1.0]


async def test_useless_source_is_dropped_and_useful_and_must_ones_are_kept() -> None:
    optimizer = ContextOptimizer("memory", seed=1, config=EAGER)
    await train(optimizer)
    assert share_asked(optimizer, "good") == 1.0
    assert share_asked(optimizer, "must") == 1.0
    assert share_asked(optimizer, "useless") < 0.2


async def test_source_named_in_must_is_kept_though_useless() -> None:
    optimizer = ContextOptimizer("memory", seed=1, config=EAGER, must=["useless"])
    await train(optimizer)
    assert share_asked(optimizer, "useless") == 1.0


async def test_source_given_up_comes_back_when_it_helps_again() -> None:
    optimizer = ContextOptimizer("memory", seed=1, config=EAGER)
    await train(optimizer)
    before = share_asked(optimizer, "useless")
    await train(optimizer, 600, helpful="useless")
    assert before < 0.2
    assert share_asked(optimizer, "useless") > 0.9


async def test_choice_depends_on_the_kind_of_prompt() -> None:
    optimizer = ContextOptimizer("memory", seed=1, config=EAGER)
    for number in range(60):
        for task_type, helpful, prompt in (
            ("debug", "good", f"Traceback: KeyError {number}, fix the crash"),
            ("research", "useless", f"summarize the literature on topic {number}"),
        ):
            decision = optimizer.choose(prompt, SOURCES, task_type=task_type)
            optimizer.observe(decision, reports(decision))
            await optimizer.learn_from_success(
                prompt, used_items=[item(helpful)], task_type=task_type, decision_id=decision.id
            )
    debug = await optimizer.predict("Traceback: TypeError, fix the crash", task_type="debug")
    research = await optimizer.predict("summarize the literature on batteries", task_type="research")
    of = [{entry.context_type: entry.probability for entry in each.types} for each in (debug, research)]
    assert (of[0]["search"] > 0.9, of[0]["retrieval"] < 0.2) == (True, True)
    assert (of[1]["retrieval"] > 0.9, of[1]["search"] < 0.2) == (True, True)


async def test_logged_propensity_is_the_frequency_of_the_choice() -> None:
    optimizer = ContextOptimizer("memory", seed=3, config=ChoosingConfig(min_labels=5, explored_share=0.1))
    await train(optimizer, 12)
    drawn = [optimizer.choose("fix bug one", SOURCES, task_type="debug").choices[1] for _ in range(4000)]
    assert len({choice.propensity for choice in drawn}) == 1
    frequency = sum(choice.included for choice in drawn) / len(drawn)
    assert frequency == pytest.approx(drawn[0].propensity, abs=0.03)
    assert 0.1 < drawn[0].propensity < 0.9


async def test_propensity_never_falls_below_the_floor() -> None:
    optimizer = ContextOptimizer("memory", seed=1, config=ChoosingConfig(min_labels=5, explored_share=0.0, floor=0.07))
    await train(optimizer, 300)
    assert optimizer.choose("fix bug", SOURCES, task_type="debug").choices[1].propensity == pytest.approx(0.07)


def test_same_seed_chooses_the_same() -> None:
    def chosen(seed: int) -> list[set[str]]:
        optimizer = ContextOptimizer("memory", seed=seed, config=ChoosingConfig(min_labels=1))
        return [included(optimizer.choose(str(n), SOURCES)) for n in range(5)]

    assert chosen(5) == chosen(5)


async def test_skipped_and_failed_sources_get_no_reward() -> None:
    optimizer = ContextOptimizer("memory", seed=1)
    decision = optimizer.choose("p", SOURCES)
    good, useless, must = reports(decision)
    failed = SourceReport(source="useless", context_type="retrieval", status="failed", queries=1)
    optimizer.observe(decision, [good, failed, must])
    learned = await optimizer.learn_from_success("p", used_items=[item("good")], decision_id=decision.id)
    assert learned.rewards == {"good": 1.0, "must": 0.0}
    assert useless.answered == 1


async def test_item_two_sources_found_rewards_both() -> None:
    optimizer = ContextOptimizer("memory", seed=1)
    decision = optimizer.choose("p", SOURCES)
    optimizer.observe(decision, reports(decision))
    shared = item("good", metadata={"origins": ("good", "useless")})
    learned = await optimizer.learn_from_success("p", used_items=[shared], decision_id=decision.id)
    assert learned.rewards == {"good": 1.0, "useless": 1.0, "must": 0.0}


async def test_failed_task_earns_its_context_nothing() -> None:
    optimizer = ContextOptimizer("memory", seed=1)
    decision = optimizer.choose("p", SOURCES)
    optimizer.observe(decision, reports(decision))
    learned = await optimizer.learn_from_success("p", used_items=[item("good")], success=False, decision_id=decision.id)
    assert set(learned.rewards.values()) == {0.0}


async def test_failing_tasks_lower_the_price_and_successes_raise_it() -> None:
    optimizer = ContextOptimizer("memory", seed=1)
    start = optimizer.statistics().price
    await train(optimizer, 5, success=False)
    low = optimizer.statistics().price
    await train(optimizer, 40)
    assert low < start < optimizer.statistics().price


async def test_success_with_context_types_alone_is_learned_and_predicted() -> None:
    optimizer = ContextOptimizer("memory", config=ChoosingConfig(min_labels=5, explored_share=0.0))
    for number in range(30):
        await optimizer.learn_from_success(f"fix bug {number}", ["files"], task_type="debug")
        await optimizer.learn_from_success(f"fix bug {number}", ["hints"], task_type="debug", success=False)
    needed = await optimizer.predict_context_needs("fix bug 99", task_type="debug")
    assert needed == ["files"]


async def test_first_prediction_names_every_type_and_says_it_is_a_cold_start() -> None:
    prediction = await ContextOptimizer("memory").predict("write a function")
    assert prediction.needed == ["files", "search", "structure", "retrieval", "hints"]
    assert {entry.basis for entry in prediction.types} == {"cold_start"}
    assert prediction.confidence == 0.0


async def test_prediction_is_cached_until_it_is_old() -> None:
    clock = FakeClock()
    optimizer = ContextOptimizer("memory", clock=clock, prediction_ttl_s=60)
    first = await optimizer.predict("Fix  the bug")
    again = await optimizer.predict("fix the bug")
    clock.advance(61)
    later = await optimizer.predict("fix the bug")
    assert (first.is_cached, again.is_cached, later.is_cached) == (False, True, False)
    assert again.types == first.types
    assert optimizer.statistics().prediction_hits == 1


async def test_cached_prediction_never_hides_what_was_learned_since() -> None:
    optimizer = ContextOptimizer("memory", seed=1, config=EAGER)
    assert "retrieval" in await optimizer.predict_context_needs("fix bug 3", task_type="debug")
    await train(optimizer)
    assert "retrieval" not in await optimizer.predict_context_needs("fix bug 3", task_type="debug")


async def test_task_is_sent_the_types_it_needs_within_the_budget() -> None:
    optimizer = ContextOptimizer("memory", seed=1, config=EAGER)
    items = [
        ContextItem(id="a", source="good", context_type="search", content="bug in the parser module", tokens=50),
        ContextItem(id="b", source="useless", context_type="retrieval", content="bug in the parser module", tokens=10),
        ContextItem(id="c", source="good", context_type="search", content="unrelated words", tokens=60, score=0.1),
    ]
    before = await optimizer.optimize_context_for_task("fix bug in parser", items, task_type="debug", budget_tokens=60)
    await train(optimizer)
    after = await optimizer.optimize_context_for_task("fix bug in parser", items, task_type="debug", budget_tokens=60)
    assert {entry.id for entry in before.items} == {"a", "b"}
    assert {entry.id for entry in after.items} == {"a"}
    shared = await optimizer.optimize_context_for_task(
        "fix bug in parser", Shares(items), task_type="debug", budget_tokens=60, must=["b"]
    )
    assert {entry.id for entry in shared.items} == {"a", "b"}


# What is kept.


class Rows:
    """Takes rows like a spool."""

    def __init__(self) -> None:
        self.rows: list[dict] = []
        self.predictions: dict[str, dict] = {}

    def put(self, table, row, *, key=None) -> bool:
        if table == "context_predictions":
            self.predictions[row[key]] = dict(row)
        else:
            assert (table, key) == ("context_learning", None)
            self.rows.append(dict(row))
        return True


class OnlyOutcomes:
    """A database that must not be asked for anything but what was learned before."""

    async def fetch(self, name, *args):
        assert name == "context_learning.outcomes"
        return []

    async def execute(self, name, *args):
        raise AssertionError(name)


async def test_beside_a_spool_a_prediction_waits_for_no_database() -> None:
    spool = Rows()
    optimizer = ContextOptimizer(OnlyOutcomes(), spool=spool, clock=FakeClock())
    items = Shares([item("good", score=1.0)])
    share = await optimizer.optimize_context_for_task("fix the bug", items, task_type="debug")
    assert [entry.source for entry in share.items] == ["good"]
    (row,) = spool.predictions.values()
    assert (row["task_type"], type(row["ts"]), type(row["expires_at"])) == ("debug", str, str)
    assert {entry["basis"] for entry in row["predicted"]} == {"cold_start"}


async def test_rows_tell_choice_propensity_cost_and_reward_of_every_source() -> None:
    spool = Rows()
    optimizer = ContextOptimizer(spool=spool, seed=1)
    decision = optimizer.choose("p", SOURCES, task_type="debug")
    optimizer.observe(decision, reports(decision, latency_ms=12.4))
    for agent in ("coder", "tester"):
        await optimizer.learn_from_success(
            "p", used_items=[item("good")], task_type="debug", decision_id=decision.id, agent_id=agent
        )
    assert [(row["source"], row["reward"], row["agent_id"]) for row in spool.rows[:3]] == [
        ("good", 1.0, "coder"),
        ("useless", 0.0, "coder"),
        ("must", 0.0, "coder"),
    ]
    assert len(spool.rows) == 6
    row = spool.rows[0]
    assert (
        row["decision_id"],
        row["propensity"],
        row["latency_ms"],
        row["tokens"],
        row["items"],
        row["reward_kind"],
    ) == (
        str(decision.id),
        1.0,
        12,
        500,
        3,
        "cited",
    )
    assert len(row["features"]) == SIZE
    assert optimizer.statistics().kept_in == "spool"


async def test_decision_without_an_outcome_is_recorded_at_the_end_without_reward() -> None:
    spool = Rows()
    optimizer = ContextOptimizer(spool=spool, seed=1)
    optimizer.choose("p", SOURCES)
    await optimizer.close()
    await optimizer.close()
    assert [(row["source"], row["reward"], row["reward_kind"]) for row in spool.rows] == [
        (source.name, None, None) for source in SOURCES
    ]


async def test_without_database_it_learns_in_memory_and_says_so() -> None:
    optimizer = ContextOptimizer("memory")
    learned = await optimizer.learn_from_success("p", ["files"])
    assert (learned.kept_in, optimizer.statistics().kept_in, optimizer.statistics().labels) == ("memory", "memory", 1)


class Away:
    """A database that does not answer."""

    async def fetch(self, name, *args):
        raise DatabaseUnavailableError("no connection")

    async def execute(self, name, *args):
        raise DatabaseUnavailableError("no connection")


@pytest.mark.fault
async def test_lost_database_costs_no_answer_and_rows_wait() -> None:
    optimizer = ContextOptimizer(Away())
    assert await optimizer.predict_context_needs("p") != []
    await optimizer.learn_from_success("p", ["files"])
    await optimizer.learn_from_success("q", ["files"])
    told = optimizer.statistics()
    assert (told.labels, told.rows_waiting, told.rows_written, told.kept_in) == (2, 2, 0, "database")
    assert told.database_failures > 0
    assert not await optimizer.flush()


# The parts.


def test_features_are_bounded_stable_and_tell_prompts_apart() -> None:
    one, two = features("fix the crash", task_type="debug"), features("explain the design")
    assert len(one) == len(two) == SIZE == 64
    assert one == features("fix the crash", task_type="debug")
    assert one != two
    assert 0.4 < float(np.dot(one, one)) < 2.5
    assert all(np.isfinite(features("\ud800 \x00 日本語" * 1000)))


def test_posterior_updated_one_by_one_equals_ridge_regression() -> None:
    draw = np.random.default_rng(0)
    xs, rewards = draw.normal(size=(600, 5)), draw.uniform(size=600)
    posterior = LinearPosterior(5, prior_mean=0.5, prior_variance=2.0, noise_variance=0.3)
    for x, reward in zip(xs, rewards, strict=True):
        posterior.update(x.tolist(), float(reward))
    covariance = np.linalg.inv(np.eye(5) / 2.0 + xs.T @ xs / 0.3)
    theta = covariance @ (xs.T @ (rewards - 0.5) / 0.3)
    x = [0.3, -0.2, 0.1, 1.0, 0.5]
    assert posterior.mean(x) == pytest.approx(0.5 + float(np.array(x) @ theta))
    assert posterior.deviation(x) == pytest.approx(float(np.sqrt(np.array(x) @ covariance @ np.array(x))))


def test_posterior_is_surer_where_it_has_seen_more() -> None:
    posterior = LinearPosterior(2)
    for _ in range(20):
        posterior.update([1.0, 0.0], 1.0)
    assert posterior.mean([1.0, 0.0]) > 0.95
    assert posterior.mean([0.0, 1.0]) == 0.5
    assert posterior.deviation([1.0, 0.0]) < posterior.deviation([0.0, 1.0])


def test_inclusion_probability_is_the_normal_tail() -> None:
    assert inclusion_probability(mean=0.5, deviation=0.1, threshold=0.5) == 0.5
    assert inclusion_probability(mean=0.5, deviation=0.1, threshold=0.4) == pytest.approx(0.8413, abs=1e-4)


ANSWER = "The retry manager waits with exponential backoff and full jitter between attempts."


def test_item_whose_words_the_answer_repeats_is_cited() -> None:
    items = [
        ContextItem(id="a", source="s", context_type="t", content=f"Note: {ANSWER} Then it gives up."),
        ContextItem(id="b", source="s", context_type="t", content="The pool holds ten connections at most."),
    ]
    (citation,) = cited(items, ANSWER)
    assert (citation.item_id, citation.overlap, citation.is_named) == ("a", 1.0, False)


def test_item_named_by_its_path_is_cited() -> None:
    item = ContextItem(id="file:src/a.py", source="s", context_type="t", content="x", path="src/a.py")
    assert [entry.is_named for entry in cited([item], "Change SRC/a.py, line 3.")] == [True]
    assert cited([item], "Change src/a.pyx or lib_src/a.py.") == ()


def test_quoting_the_prompt_cites_nothing() -> None:
    item = ContextItem(id="a", source="s", context_type="t", content=f"Prompt was: {ANSWER}")
    assert cited([item], ANSWER, ignoring=ANSWER) == ()


def test_short_answer_cites_nothing_by_its_words() -> None:
    item = ContextItem(id="a", source="s", context_type="t", content="yes it is")
    assert cited([item], "yes it is") == ()


def test_beta_quantile_of_whole_numbers() -> None:
    assert beta_quantile(0.5, 1, 1) == pytest.approx(0.5, abs=1e-9)
    assert beta_quantile(0.05, 5, 1) == pytest.approx(0.05 ** (1 / 5), abs=1e-9)


def test_file_is_recalled_once_chance_is_an_unlikely_reason() -> None:
    notes = FileNotes()
    for number in range(4):
        assert notes.recall("fix the parser") == []
        notes.take(f"parser bug {number}", ["parser.py"], has_helped=True)
    assert [(note.path, note.helped, note.sent) for note in notes.recall("fix the parser")] == [("parser.py", 4, 4)]
    assert notes.recall("paint the fence") == []
    for _ in range(3):
        notes.take("parser bug", ["parser.py"], has_helped=False)
    assert notes.recall("fix the parser") == []


def test_notes_forget_the_file_untouched_for_longest() -> None:
    notes = FileNotes(max_files=2)
    for path in ("a", "b", "c"):
        for _ in range(6):
            notes.take("word", [path], has_helped=True)
    assert [note.path for note in notes.recall("word")] == ["b", "c"]


async def test_hints_are_told_once_there_is_something_to_tell() -> None:
    optimizer = ContextOptimizer("memory", seed=1)
    source = LearnedHints(optimizer)
    query = SourceQuery(prompt="fix the bug number 7", queries=("q",))
    assert await source.fetch(query) == []
    for number in range(12):
        decision = optimizer.choose("p", SOURCES)
        optimizer.observe(decision, reports(decision))
        await optimizer.learn_from_success(
            f"fix the bug number {number}", used_items=[item("good", path="src/a.py")], decision_id=decision.id
        )
    (hint,) = await source.fetch(query)
    assert hint.trust == "learned"
    assert "search (100% of 12)" in hint.content
    assert "retrieval (0% of 12)" in hint.content
    assert "src/a.py (12 of 12)" in hint.content


def test_config_outside_its_range_is_refused() -> None:
    with pytest.raises(InvalidArgumentError, match="floor"):
        ChoosingConfig(floor=1.5)
    with pytest.raises(InvalidArgumentError, match="min_labels"):
        ChoosingConfig(min_labels=0)


async def test_nothing_is_learned_from_a_flagged_item() -> None:
    optimizer = ContextOptimizer("memory", seed=1)
    decision = optimizer.choose("p", SOURCES)
    optimizer.observe(decision, reports(decision))
    flagged = item("good", is_flagged=True, path="poisoned.md")
    learned = await optimizer.learn_from_success("p", used_items=[flagged, item("must")], decision_id=decision.id)
    assert learned.rewards == {"useless": 0.0, "must": 1.0}
    # A file is recalled once it has helped several times; this one never is.
    for _ in range(20):
        await optimizer.learn_from_success(
            "parse the lines", used_items=[flagged, item("must", path="clean.md")], success=True
        )
    assert [note.path for note in optimizer.recall("parse the lines")] == ["clean.md"]


async def test_source_of_a_flagged_item_is_rewarded_for_its_others() -> None:
    optimizer = ContextOptimizer("memory", seed=1)
    decision = optimizer.choose("p", SOURCES)
    optimizer.observe(decision, reports(decision))
    both = [item("good", is_flagged=True), item("good")]
    learned = await optimizer.learn_from_success("p", used_items=both, decision_id=decision.id)
    assert learned.rewards == {"good": 1.0, "useless": 0.0, "must": 0.0}
