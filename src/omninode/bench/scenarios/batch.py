"""Many rows in one call against one statement a row, on a table of the product with its indexes."""

from __future__ import annotations

from datetime import UTC, datetime

from omninode.bench.measure import Rounds, Spread, interleave
from omninode.bench.scenario import Figure, Findings, Scenario, at_least
from omninode.bench.surroundings import Surroundings
from omninode.bench.writing import Row, Ways
from omninode.core.ids import uuid7
from omninode.storage.database import Database
from omninode.storage.optimizer import PerformanceOptimizer

__all__ = ["SCENARIO"]

_TABLE = "performance_metrics"
_OTHERS = ("UPDATE", "DELETE", "UPSERT")


def _ways(database: Database, optimizer: PerformanceOptimizer, count: int) -> Ways:
    return Ways(
        database=database,
        optimizer=optimizer,
        table=_TABLE,
        statements="bench_rows",
        make_rows=_rows,
        changed=("value",),
        count=count,
    )


def _rows(count: int) -> list[Row]:
    run, now = uuid7(), datetime.now(UTC)
    return [
        {
            "id": uuid7(),
            "ts": now,
            "run_id": run,
            "phase": "parallel_execution",
            "metric": f"bench_{number % 10}_ms",
            "value": number / 7,
            "ok": True,
            "labels": {"number": number},
        }
        for number in range(count)
    ]


async def _run(room: Surroundings) -> Findings:
    database = await room.database()
    optimizer = PerformanceOptimizer(database, batch_size=1000)
    many = room.scaled(1000, least=20)
    small = await interleave(
        _ways(database, optimizer, 100).inserts(), rounds=room.scaled(15), budget_s=room.budget_s(4)
    )
    large = await interleave(
        _ways(database, optimizer, many).inserts(), rounds=room.scaled(9), budget_s=room.budget_s(12)
    )
    others = {
        operation: await interleave(
            _ways(database, optimizer, many).changes(operation), rounds=room.scaled(4), budget_s=room.budget_s(6)
        )
        for operation in _OTHERS
    }
    await database.execute("bench_rows.clear")
    return Findings(figures=_figures(small, large, others, many), notes=_notes(large))


def _figures(small: Rounds, large: Rounds, others: dict[str, Rounds], many: int) -> tuple[Figure, ...]:
    share = [100 * raw / ours for raw, ours in zip(large.times["raw COPY"], large.times["batch"], strict=True)]
    return (
        Figure(
            name=f"INSERT {many:,} rows: one a row / batch",
            spread=large.ratio("one a row", "batch"),
            target=at_least(20),
        ),
        Figure(
            name=f"INSERT {many:,} rows: speed of raw COPY reached",
            spread=Spread.of(share),
            unit="%",
            target=at_least(45),
        ),
        Figure(
            name=f"INSERT {many:,} rows: one a row in one transaction / batch",
            spread=large.ratio("one transaction", "batch"),
        ),
        Figure(name="INSERT 100 rows: one a row / batch", spread=small.ratio("one a row", "batch")),
        *(
            Figure(name=f"{operation} {many:,} rows: one a row / batch", spread=rounds.ratio("one a row", "batch"))
            for operation, rounds in others.items()
        ),
    )


def _notes(large: Rounds) -> tuple[str, ...]:
    milliseconds = ", ".join(
        f"{arm} {large.spread(arm, scale=1000).median:.1f} ms"
        for arm in ("one a row", "one transaction", "batch", "raw COPY")
    )
    return (
        (
            f"{_TABLE} with its three indexes, embedded Postgres, every commit synced, prepared statements in every arm; "
            f"INSERT medians: {milliseconds}"
        ),
    )


SCENARIO = Scenario(
    name="batch",
    claim="batch database operations are 10-50x faster",
    compared="batch_write_with_pooling against one statement a row through the same pool",
    limit="the driver's binary COPY of the same rows",
    run=_run,
)
