"""What the guard's work costs: by kind of text, by length, for many tasks, on the event loop, and to import.

Milliseconds are held against the targets and mean this machine at this hour. What can be compared elsewhere is given as
a ratio: to reading the same tasks without looking at them, of twice the length to once, of the loop's worst wait to
that of an idle loop in the same minute.
"""

from __future__ import annotations

import asyncio
import base64
import statistics
import sys
import time
from collections.abc import Awaitable, Callable
from itertools import pairwise

import numpy as np
import orjson

from omninode.bench.injection.data import made
from omninode.bench.measure import Spread, interleave
from omninode.bench.scenario import Figure, at_most
from omninode.bench.surroundings import Surroundings
from omninode.validation.policy import Trust, ValidationPolicy
from omninode.validation.screen import screen
from omninode.validation.tasks import TaskModel, topological_levels
from omninode.validation.validator import InputValidator

__all__ = ["guard_times"]

_TASKS = 10_000
_PAGE = 100_000
_PLAIN = "Write a function that checks addresses, and explain how the table is built from its rows. "
_ENCODED: dict[str, Callable[[str], str]] = {
    "plain": lambda page: page,
    "base64": lambda page: base64.b64encode(page.encode()).decode(),
    "spaced": lambda page: "  ".join(" ".join(word) for word in page.split()),
    "percent": lambda page: "".join(f"%{byte:02x}" for byte in page.encode()),
    "entities": lambda page: "".join(f"&#{ord(letter)};" for letter in page),
    "reversed": lambda page: page[::-1],
    "beyond ASCII": lambda page: page.replace("a", "ä"),
}
_TICK_S = 0.001
# An import is timed by a process of its own, which says how long it took.
_IMPORT = (
    "import time; t = time.perf_counter(); import omninode; took = time.perf_counter() - t; "
    "import sys; print(took, 'torch' in sys.modules)"
)


async def guard_times(room: Surroundings) -> tuple[list[Figure], list[str]]:
    """The figures, and what has to be known beside them."""
    figures = [*_prompts(room), *_documents(room), _growth(room)]
    figures += await _tasks(room)
    figures += await _loop(room)
    figures.append(await _import(room))
    notes = [
        f"{_TASKS:,} tasks: descriptions of our own, no two alike; the ratio is to orjson and pydantic reading the list",
        "loop: how late a task is that asks to be woken every millisecond, at the worst while a validation runs",
        "loop, idle beside it: the same with nothing running, in turns; a stall of the machine is in both medians",
    ]
    return figures, notes


def _prompts(room: Surroundings) -> list[Figure]:
    """Each prompt at the better of three times: what the guard costs, not what the machine did meanwhile."""
    prompts = [sample.text for sample in made("benign", seed=12) if len(sample.text) <= 1_000]
    prompts = prompts[: room.scaled(1_000, least=50)]
    taken = np.array([[_taken_ms(text) for text in prompts] for _ in range(3)]).min(axis=0)
    return [
        _figure("prompt up to 1,000 characters, median", [float(np.median(taken))], 0.3),
        _figure("prompt up to 1,000 characters, p99", [float(np.quantile(taken, 0.99))], 1.0),
    ]


def _documents(room: Surroundings) -> list[Figure]:
    page = _PLAIN * (_PAGE // len(_PLAIN) + 1)
    texts = {name: encode(page)[:_PAGE] for name, encode in _ENCODED.items()}
    return [
        _figure(f"100 kB, {name}", [_taken_ms(text) for _ in range(room.scaled(7, least=2))], 20)
        for name, text in texts.items()
    ]


def _growth(room: Surroundings) -> Figure:
    """The time for twice the length, the worst doubling up to 1 MB; shortest times, since they alone are comparable."""
    sizes = [125_000, 250_000, 500_000, 1_000_000]
    text = _PLAIN * (sizes[-1] // len(_PLAIN) + 1)
    rounds = [[_taken_ms(text[:size], trust=Trust.TOOL) for size in sizes] for _ in range(room.scaled(5, least=2))]
    best = [min(times) for times in zip(*rounds, strict=True)]
    worst = max(longer / shorter for shorter, longer in pairwise(best))
    return _figure("time for twice the length, at most, to 1 MB", [worst], 2.5, unit="x")


def _taken_ms(text: str, *, trust: Trust = Trust.USER) -> float:
    policy = ValidationPolicy()
    began = time.perf_counter()
    screen(text, path="text", trust=trust, policy=policy)
    return 1_000 * (time.perf_counter() - began)


def _task_list() -> list[dict[str, object]]:
    described: dict[str, None] = {}
    seed = 0
    while len(described) < _TASKS:
        described.update((sample.text, None) for sample in made("benign", seed=seed) if len(sample.text) <= 120)
        seed += 1
    return [
        {"id": f"t{index}", "agent": "coder", "description": text, "depends_on": [f"t{index // 2}"] if index else []}
        for index, text in enumerate(list(described)[:_TASKS])
    ]


def _policy() -> ValidationPolicy:
    return ValidationPolicy(max_tasks=_TASKS, max_keys=10 * _TASKS)


async def _tasks(room: Surroundings) -> list[Figure]:
    tasks = _task_list()
    text = orjson.dumps(tasks)
    validator = InputValidator(_policy())

    async def guarded() -> None:
        validator.check_tasks(tasks)

    async def read() -> None:
        for entry in orjson.loads(text):
            TaskModel.model_validate(entry)

    models = [TaskModel.model_validate(entry) for entry in tasks]

    async def ordered() -> None:
        topological_levels(models)

    arms = {"guarded": guarded, "read": read, "ordered": ordered}
    rounds = await interleave(arms, rounds=room.scaled(7, least=1), budget_s=room.budget_s(60))
    return [
        Figure(name="10,000 tasks", spread=rounds.spread("guarded", scale=1_000), unit="ms", target=at_most(50)),
        Figure(name="10,000 tasks, to reading them only", spread=rounds.ratio("guarded", to="read")),
        Figure(
            name="graph of 10,000 tasks alone",
            spread=rounds.spread("ordered", scale=1_000),
            unit="ms",
            target=at_most(50),
        ),
    ]


async def _loop(room: Surroundings) -> list[Figure]:
    validator = InputValidator(_policy())
    page = _PLAIN * 12_000
    tasks = _task_list()
    inputs: dict[str, Callable[[], Awaitable[object]]] = {
        "100 kB prompt": lambda: validator.validate_and_sanitize(page[:_PAGE]),
        "1 MB of context": lambda: validator.validate_and_sanitize("Sum it up", None, [page[:1_000_000]]),
        "10,000 tasks": lambda: validator.validate_and_sanitize("Do it", tasks),
    }
    figures = []
    for name, work in inputs.items():
        arms = {"busy": _held_by(work), "idle": _held_by(lambda: asyncio.sleep(0.05))}
        rounds = await interleave(arms, rounds=room.scaled(15, least=2), budget_s=room.budget_s(30))
        figures += [
            Figure(
                name=f"loop held longest, {name}",
                spread=rounds.spread("busy", scale=1_000),
                unit="ms",
                target=at_most(2),
            ),
            Figure(
                name=f"loop held longest, {name}, idle beside it", spread=rounds.spread("idle", scale=1_000), unit="ms"
            ),
        ]
    return figures


def _held_by(work: Callable[[], Awaitable[object]]) -> Callable[[], Awaitable[float]]:
    """An arm that gives the longest the loop was late for a task that is to run every millisecond."""

    async def arm() -> float:
        late = [0.0]
        is_over = asyncio.Event()

        async def tick() -> None:
            while not is_over.is_set():
                began = time.perf_counter()
                await asyncio.sleep(_TICK_S)
                late.append(time.perf_counter() - began - _TICK_S)

        async with asyncio.TaskGroup() as group:
            group.create_task(tick())
            await asyncio.sleep(0)
            await work()
            is_over.set()
        return max(late)

    return arm


async def _import(room: Surroundings) -> Figure:
    taken = []
    for _ in range(room.scaled(5, least=1)):
        process = await asyncio.create_subprocess_exec(sys.executable, "-c", _IMPORT, stdout=asyncio.subprocess.PIPE)
        said, _ = await process.communicate()
        seconds, has_torch = said.split()
        taken.append(float(seconds) if has_torch == b"False" else float("inf"))
    return _figure("import omninode", [1_000 * statistics.median(taken)], 200)


def _figure(name: str, values: list[float], bound: float, *, unit: str = "ms") -> Figure:
    return Figure(name=name, spread=Spread.of(values), unit=unit, target=at_most(bound))
