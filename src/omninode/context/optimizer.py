"""The optimiser: gathers less where less is enough, because it has seen what answers really drew on.

It chooses sources for the gatherer, is told how they did and, when a task has ended, which items its answer used.
From that one model per source learns when the source is worth asking. Everything is asked until enough is known, and
`must` sources always are.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal
from uuid import UUID

from omninode.context.choose import ChoosingConfig, SourceModels, prompt_hash
from omninode.context.decision import Choice, Decision
from omninode.context.features import SIZE, features
from omninode.context.item import ContextItem, SourceReport
from omninode.context.ledger import KeptIn, Ledger, RowSpool, Statements
from omninode.context.notes import FileNotes, Note
from omninode.context.outcome import Outcome, Pending, rewards_of, rows_of
from omninode.context.pack import Packed, Shares
from omninode.context.predict import Prediction
from omninode.context.source import Source
from omninode.core import ambient, current
from omninode.core.clock import Clock, SystemClock
from omninode.core.ids import stable_hash
from omninode.routing.cache.exact import ExactCache

__all__ = ["ContextOptimizer", "Learned", "OptimizerStatistics", "SourceInsight"]

_PENDING_KEPT = 1_000
_REPLAYED = 5_000
# A task's success says something about each source it had, but less than a citation does.
_OUTCOME_WEIGHT = 0.25


@dataclass(frozen=True, slots=True, kw_only=True)
class Learned:
    """What one outcome taught: the reward of each source that got one, how it was found, and where it is kept."""

    rewards: Mapping[str, float]
    kind: str
    kept_in: KeptIn


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceInsight:
    """What is known of one source."""

    source: str
    context_type: str
    samples: int
    useful: float
    cost: float


@dataclass(frozen=True, slots=True, kw_only=True)
class OptimizerStatistics:
    """What the optimiser has done and knows."""

    decisions: int
    labels: int
    predictions: int
    prediction_hits: int
    price: float
    kept_in: KeptIn
    rows_written: int
    rows_waiting: int
    rows_dropped: int
    database_failures: int
    sources: tuple[SourceInsight, ...]


class ContextOptimizer:
    """Learns which context is worth gathering. Use it from one event loop.

    Args:
        database: where learning is kept; "memory" keeps it in this process only. With None, and no spool, it is kept in
            the database of the open runtime, or of one opened by the first awaited call (`core.ambient`).
            `statistics().kept_in` says where.
        spool: takes the rows of learning instead of the database, so that nothing ever waits for them.
        must: names of sources that are never left out, besides those whose traits say so.
        config: how sources are chosen.
        clock: for times and the age of predictions.
        seed: makes the draws repeatable.
        prediction_ttl_s: how long a prediction is served again for the same prompt.
    """

    def __init__(
        self,
        database: Statements | Literal["memory"] | None = None,
        *,
        spool: RowSpool | None = None,
        must: Iterable[str] = (),
        config: ChoosingConfig | None = None,
        clock: Clock | None = None,
        seed: int | None = None,
        prediction_ttl_s: float = 300.0,
    ) -> None:
        self._clock = clock or SystemClock()
        self._models = SourceModels(config or ChoosingConfig(), must=must, seed=seed)
        given = None if database == "memory" else database
        self._is_ambient = database is None and spool is None
        self._ledger = Ledger(given, spool=spool)
        self._notes = FileNotes()
        self._ttl_s = prediction_ttl_s
        self._predictions: ExactCache[Prediction] = ExactCache(1_000, prediction_ttl_s, self._clock)
        self._pending: OrderedDict[UUID, Pending] = OrderedDict()
        self._loading = asyncio.Lock()
        self._is_loaded = given is None and not self._is_ambient
        self._decisions = self._asked = self._hits = 0

    # Choosing: called by the gatherer.

    def choose(self, prompt: str, sources: Sequence[Source], *, task_type: str = "general") -> Decision:
        """Which of `sources` to ask for `prompt`, each with the probability it had. Returns at once."""
        decision = self._models.decide(prompt, sources, task_type=task_type)
        self._decisions += 1
        self._pending[decision.id] = Pending(decision, current.scope().run_id)
        if len(self._pending) > _PENDING_KEPT:
            _, oldest = self._pending.popitem(last=False)
            self._record(oldest, Outcome(task_type=oldest.decision.task_type))
        return decision

    def observe(self, decision: Decision, reports: Sequence[SourceReport]) -> None:
        """Take how the sources of `decision` did. Returns at once."""
        for report in reports:
            self._models.observe(report)
        pending = self._pending.get(decision.id)
        if pending is not None:
            pending.reports = {report.source: report for report in reports}

    # Predicting.

    async def predict_context_needs(self, prompt: str, *, task_type: str = "general") -> list[str]:
        """The types of context `prompt` needs, most probable first; all known types while little was learned."""
        return (await self.predict(prompt, task_type=task_type)).needed

    async def predict(self, prompt: str, *, task_type: str = "general") -> Prediction:
        """The same with probabilities, sample sizes and the basis of each; cached until it is old or more is learned."""
        await self.load()
        self._asked += 1
        # What was learned since makes another key, so that a cached prediction never hides it.
        key = stable_hash(prompt_hash(prompt), task_type, str(self._models.labels))
        known = self._predictions.get(key) or await self._stored(key)
        if known is not None:
            self._hits += 1
            return known
        prediction = self._models.predict(prompt, task_type=task_type)
        self._predictions.put(key, _as_cached(prediction))
        now = self._clock.now()
        await self._ledger.keep_prediction(
            {
                "key_hash": key,
                "ts": now,
                "task_type": task_type,
                "predicted": prediction.to_json(),
                "confidence": prediction.confidence,
                "expires_at": now + timedelta(seconds=self._ttl_s),
            }
        )
        return prediction

    async def _stored(self, key: str) -> Prediction | None:
        row = await self._ledger.prediction(key, self._clock.now())
        if row is None:
            return None
        found = _as_cached(
            Prediction.from_json(row["predicted"], task_type=row["task_type"], confidence=row["confidence"])
        )
        self._predictions.put(key, found)
        return found

    async def optimize_context_for_task(
        self,
        task: str,
        items: Iterable[ContextItem] | Shares,
        *,
        task_type: str = "general",
        budget_tokens: int = 4_000,
        must: Collection[str] = (),
    ) -> Packed:
        """What of `items` to send for `task`: of the types it needs, what bears on it most, within the budget.

        A type is left out only once enough was learned to say that it is not needed; ids in `must` stay. Pass `Shares`
        where several tasks have their part of the same items, so that those are read once.
        """
        prediction = await self.predict(task, task_type=task_type)
        unneeded = {
            entry.context_type for entry in prediction.types if entry.basis == "learned" and entry.probability < 0.5
        }
        shares = items if isinstance(items, Shares) else await Shares.of(items)
        return shares.share(task, budget_tokens, must=must, without=unneeded)

    # Learning.

    async def learn_from_success(  # noqa: PLR0913 - the document's method; each part of an outcome may be unknown
        self,
        prompt: str,
        context_types: Iterable[str] = (),
        *,
        used_items: Iterable[ContextItem] | None = None,
        task_type: str = "general",
        success: bool = True,
        reward: float | None = None,
        decision_id: UUID | None = None,
        agent_id: str | None = None,
    ) -> Learned:
        """Learn from how a task ended, and with what.

        Args:
            prompt: what the context was gathered for.
            context_types: the types that helped, where nothing finer is known.
            used_items: the items the answer drew on (see `learn.cited`), an empty list for none; None when unknown.
            task_type: of the task.
            success: whether the task succeeded; a failure earns its context nothing.
            reward: how well it went, from 0 to 1, instead of `success`.
            decision_id: of the gathering (`GatheredContext.decision_id`), so that sources which gave nothing useful
                are told apart from sources which were not asked.
            agent_id: who did the task.

        Nothing is learned from flagged items (`ContextItem.is_flagged`), nor about a source that gave no others. With `used_items` each source asked earns the reward if one of its items was used and 0 if not. Without, all
        asked (or those of `context_types`) share the outcome, which counts for less.
        """
        await self.load()
        earned = min(1.0, max(0.0, (1.0 if success else 0.0) if reward is None else reward))
        pending = self._pending.get(decision_id) if decision_id is not None else None
        given = list(used_items or ())
        used = None if used_items is None else [item for item in given if not item.is_flagged]
        types = set(context_types)
        if pending is None:
            pending = self._assumed(prompt, types, used, task_type)
        outcome = Outcome(
            rewards=rewards_of(pending, types=types, used=used, earned=earned, without=_only_flagged(given)),
            kind="outcome" if used is None else "cited",
            task_type=task_type,
            agent_id=agent_id,
            features=features(prompt, task_type=task_type),
        )
        self._take(pending, outcome)
        self._models.adjust_price(earned)
        self._notes.take(prompt, [item.path for item in used or () if item.path], has_helped=earned >= 0.5)
        self._record(pending, outcome)
        await self._ledger.flush()
        return Learned(rewards=outcome.rewards, kind=outcome.kind or "", kept_in=self._ledger.kept_in)

    def _take(self, pending: Pending, outcome: Outcome) -> None:
        for choice in pending.decision.choices:
            reward = outcome.rewards.get(choice.source)
            if reward is not None:
                model = self._models.model(choice.source, choice.context_type)
                self._models.learn(model, outcome.features, reward, weight=_weight(outcome.kind))

    def _assumed(self, prompt: str, types: set[str], used: Sequence[ContextItem] | None, task_type: str) -> Pending:
        """A decision for an outcome without one: what is named was asked."""
        named = dict.fromkeys((item.source, item.context_type) for item in used or ())
        for kind in sorted(types - {kind for _, kind in named}):
            sources = [model.source for model in self._models.known if model.context_type == kind] or [kind]
            named.update(dict.fromkeys((source, kind) for source in sources))
        choices = tuple(
            Choice(source=source, context_type=kind, included=True, reason="told") for source, kind in named
        )
        decision = Decision(prompt_hash=prompt_hash(prompt), task_type=task_type, choices=choices)
        return Pending(decision, current.scope().run_id)

    # Remembering.

    async def load(self) -> None:
        """Learn again from the rows the database holds; once, and not at all when it is away."""
        if self._is_ambient:
            # Asked each time: after a shutdown there is another one.
            self._ledger.use((await ambient.runtime()).database)
        async with self._loading:
            if self._is_loaded:
                return
            rows = await self._ledger.outcomes(limit=_REPLAYED)
            self._is_loaded = True
            await asyncio.to_thread(self._replay, rows)

    def _replay(self, rows: Sequence[Mapping[str, Any]]) -> None:  # Any: the columns of a row
        for row in rows:
            # Rows of a release that described prompts differently cannot be compared.
            if len(row["features"]) == SIZE:
                model = self._models.model(row["source"], row["context_type"])
                self._models.learn(model, row["features"], float(row["reward"]), weight=_weight(row["reward_kind"]))
                model.observe(latency_ms=float(row["latency_ms"]), tokens=int(row["tokens"]))

    def _record(self, pending: Pending, outcome: Outcome) -> None:
        self._ledger.add(rows_of(pending, outcome, now=self._clock.now()))

    async def flush(self) -> bool:
        """Write what waits for the database; whether nothing is left."""
        return await self._ledger.flush()

    async def close(self) -> None:
        """Record the decisions whose outcome never came, write what waits, sweep out old predictions. Closing twice is
        harmless.
        """
        pending, self._pending = self._pending, OrderedDict()
        for entry in pending.values():
            if not entry.is_recorded:
                self._record(entry, Outcome(task_type=entry.decision.task_type))
        await self._ledger.flush()
        await self._ledger.sweep(self._clock.now())

    # Telling.

    def insights(self) -> tuple[SourceInsight, ...]:
        """What is known of each source: how many outcomes, the mean reward, the cost."""
        return tuple(
            SourceInsight(
                source=model.source,
                context_type=model.context_type,
                samples=model.used,
                useful=model.useful / model.used if model.used else 0.0,
                cost=model.cost,
            )
            for model in self._models.known
        )

    def recall(self, prompt: str, *, limit: int = 5) -> list[Note]:
        """The files that helped with similar prompts while this process runs."""
        return self._notes.recall(prompt, limit=limit)

    def statistics(self) -> OptimizerStatistics:
        """What it has done and knows."""
        kept = self._ledger.statistics()
        return OptimizerStatistics(
            decisions=self._decisions,
            labels=self._models.labels,
            predictions=self._asked,
            prediction_hits=self._hits,
            price=self._models.price,
            kept_in=kept.kept_in,
            rows_written=kept.written,
            rows_waiting=kept.waiting,
            rows_dropped=kept.dropped,
            database_failures=kept.failures,
            sources=self.insights(),
        )


def _as_cached(prediction: Prediction) -> Prediction:
    return Prediction(
        types=prediction.types, task_type=prediction.task_type, confidence=prediction.confidence, is_cached=True
    )


def _weight(kind: str | None) -> float:
    return 1.0 if kind == "cited" else _OUTCOME_WEIGHT


def _only_flagged(items: Iterable[ContextItem]) -> set[str]:
    """The sources of flagged items that gave no other: whoever wrote those may have written them to be used."""
    sources: dict[bool, set[str]] = {True: set(), False: set()}
    for item in items:
        sources[item.is_flagged].update((item.source, *item.metadata.get("origins", ())))
    return sources[True] - sources[False]
