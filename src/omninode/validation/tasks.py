"""Task lists read strictly: what a task is, and everything that can be wrong with one or with how they depend.

A list arrives as JSON text, as `{"tasks": [...]}` or as a list of dicts. Caps come first, then the schema, then the
graph. A list with a problem that cannot be run is refused as a whole; the findings name every problem at once.
"""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain, islice
from typing import Annotated, Any, cast

import orjson
from pydantic import AliasChoices, BaseModel, ConfigDict, Field, JsonValue, TypeAdapter, ValidationError

from omninode.validation import graph
from omninode.validation.limits import Limits, is_deeper, nested_size, size_bytes
from omninode.validation.report import Action, Finding, Severity, excerpt
from omninode.validation.secrets import redact

__all__ = ["TaskModel", "parse_tasks", "texts", "topological_levels"]

TaskId = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.:-]{1,64}$")]


class TaskModel(BaseModel):
    """One unit of work in a task breakdown. Unknown fields are refused, and nothing is converted to fit.

    `dependencies`, `task_id`, `agent_name` and `input_data` are accepted for `depends_on`, `id`, `agent` and `input`.
    """

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, populate_by_name=True)

    id: TaskId = Field(validation_alias=AliasChoices("id", "task_id"))
    agent: Annotated[str, Field(min_length=1, max_length=128)] = Field(
        validation_alias=AliasChoices("agent", "agent_name")
    )
    description: Annotated[str, Field(min_length=1)]
    input: dict[str, JsonValue] | str | None = Field(default=None, validation_alias=AliasChoices("input", "input_data"))
    depends_on: list[TaskId] = Field(default_factory=list, validation_alias=AliasChoices("depends_on", "dependencies"))
    task_type: Annotated[str, Field(min_length=1, max_length=64)] = "general"


_TASKS = TypeAdapter(list[TaskModel])
# So many are read in one go, which is in C and lets no other thread in.
_AT_ONCE = 200
# The name of one is close to the name of the other; below this it is a guess.
_NEAR = 0.6
_MOST_NAMES = 12
_MOST_FINDINGS = 50


def parse_tasks(
    data: object,
    *,
    known_agents: Iterable[str] | None = None,
    limits: Limits | None = None,
    pause: Callable[[], None] = lambda: None,
) -> tuple[tuple[TaskModel, ...], tuple[Finding, ...]]:
    """The tasks in `data` and what is wrong with them; any finding with action BLOCK means they cannot be run.

    Never raises for bad data. Tasks are returned only when all of them fit the schema.

    Args:
        data: JSON text (str or bytes), `{"tasks": [...]}` or a sequence of dicts or TaskModels.
        known_agents: names a task may use; None accepts any.
        limits: the caps; None for the defaults.
        pause: called between steps, so that a thread can let others go first.
    """
    limits = limits or Limits()
    entries, finding = _entries(data, limits, pause)
    if finding is not None:
        return (), (finding,)
    pause()
    tasks, findings = _read(entries, limits, pause)
    if findings:
        return (), tuple(findings[:_MOST_FINDINGS])
    # Each finding may search for a near name, so their number is bounded as they are made.
    found = _graph_findings(tasks, known_agents=known_agents, limits=limits, pause=pause)
    return tasks, tuple(islice(found, _MOST_FINDINGS))


def texts(task: TaskModel) -> Iterator[str]:
    """Every string of a task's description and input, keys included."""
    yield task.description
    left: list[JsonValue] = [task.input] if task.input else []
    while left:
        value = left.pop()
        if isinstance(value, str):
            yield value
        elif isinstance(value, list):
            left += value
        elif isinstance(value, dict):
            yield from value
            left += value.values()


def topological_levels(tasks: Sequence[TaskModel]) -> tuple[tuple[str, ...], ...]:
    """The ids in layers that can run at once: each task depends only on layers before its own.

    Raises InvalidArgumentError, with the path, when tasks depend on each other in a circle.
    """
    return graph.levels({task.id: task.depends_on for task in tasks})


def _refused(code: str, message: str, *, remedy: str, path: str = "tasks", shown: str = "") -> Finding:
    return Finding(
        code=code,
        severity=Severity.ERROR,
        path=path,
        message=message,
        action=Action.BLOCK,
        remedy=remedy,
        excerpt=excerpt(redact(shown)),
    )


def _entries(data: object, limits: Limits, pause: Callable[[], None]) -> tuple[list[object], Finding | None]:
    """The list of raw tasks in whatever was handed in, within the caps."""
    if isinstance(data, str | bytes | bytearray):
        data, finding = _parsed(data, limits)
        if finding is not None:
            return [], finding
    if isinstance(data, dict) and "tasks" in data:
        data = data["tasks"]
    if not isinstance(data, list | tuple):
        remedy = 'pass a list of tasks, or an object like {"tasks": [...]}'
        return [], _refused("TASKS.TYPE", f"the tasks are of type {type(data).__name__}, not a list", remedy=remedy)
    # Any task may already be a model; plain dicts read the same way.
    entries: list[object] = []
    for start in range(0, min(len(data), limits.max_tasks + 1), _AT_ONCE):
        some = data[start : start + _AT_ONCE]
        entries += [entry.model_dump() if isinstance(entry, TaskModel) else entry for entry in some]
        pause()
    return entries, _beyond_caps(data, entries, limits, pause)


def _parsed(data: str | bytes | bytearray, limits: Limits) -> tuple[object, Finding | None]:
    size = size_bytes(data) if isinstance(data, str) else len(data)
    if size > limits.max_tasks_bytes:
        return None, _refused(
            "TASKS.TOO_LARGE",
            f"the task list is {size:,} bytes; the limit is {limits.max_tasks_bytes:,}",
            remedy="split it, or raise max_tasks_bytes",
        )
    raw = data.encode("utf-8", "surrogatepass") if isinstance(data, str) else bytes(data)
    if is_deeper(raw, than=limits.max_json_depth):
        return None, _too_deep(limits)
    try:
        return orjson.loads(raw.removeprefix(b"\xef\xbb\xbf")), None
    except orjson.JSONDecodeError as error:
        return None, _refused(
            "TASKS.NOT_JSON",
            f"the task list is not JSON: {error.msg} (line {error.lineno}, column {error.colno})",
            remedy='write it as {"tasks": [{"id": "a", "agent": "coder", "description": "...", "depends_on": []}]}',
        )


def _too_deep(limits: Limits) -> Finding:
    return _refused(
        "TASKS.TOO_DEEP",
        f"the task list nests more than {limits.max_json_depth} levels",
        remedy="flatten the inputs, or raise max_json_depth",
    )


def _beyond_caps(
    data: Sequence[object], entries: list[object], limits: Limits, pause: Callable[[], None]
) -> Finding | None:
    if not data:
        return _refused("TASKS.EMPTY", "the task list holds no tasks", remedy="add a task, or leave the list out")
    if len(data) > limits.max_tasks:
        return _refused(
            "TASKS.TOO_MANY",
            f"the task list holds {len(data):,} tasks; the limit is {limits.max_tasks:,}",
            remedy="split it, or raise max_tasks",
        )
    depth, keys = nested_size(entries, max_depth=limits.max_json_depth, max_keys=limits.max_keys, pause=pause)
    if depth > limits.max_json_depth:
        return _too_deep(limits)
    if keys > limits.max_keys:
        return _refused(
            "TASKS.TOO_MANY_KEYS",
            f"the task list holds more than {limits.max_keys:,} keys and lists",
            remedy="shorten the inputs, or raise max_keys",
        )
    return None


def _read(
    entries: list[object], limits: Limits, pause: Callable[[], None]
) -> tuple[tuple[TaskModel, ...], list[Finding]]:
    tasks: list[TaskModel] = []
    findings: list[Finding] = []
    for start in range(0, len(entries), _AT_ONCE):
        some = entries[start : start + _AT_ONCE]
        try:
            tasks += _TASKS.validate_python(some)
        except ValidationError as error:
            # Any: pydantic types an error's details loosely.
            details = cast("list[dict[str, Any]]", error.errors(include_url=False, include_context=False))
            findings += [_schema_finding(detail, some, start) for detail in details]
        if len(findings) >= _MOST_FINDINGS:
            break
        pause()
    if findings:
        return (), findings
    for index, task in enumerate(tasks):
        if index % _AT_ONCE == 0:
            pause()
        if (
            4 * len(task.description) > limits.max_task_bytes
            and (size := size_bytes(task.description)) > limits.max_task_bytes
        ):
            what = f"the description is {size:,} bytes; the limit is {limits.max_task_bytes:,}"
            findings.append(_invalid(f"tasks[{index}].description", what, "shorten it, or raise max_task_bytes"))
        if len(task.depends_on) > limits.max_depends_on:
            what = f"{len(task.depends_on)} dependencies; the limit is {limits.max_depends_on}"
            findings.append(_invalid(f"tasks[{index}].depends_on", what, "depend on fewer, or raise max_depends_on"))
    return tuple(tasks), findings


# Any: one entry of pydantic's error list, a TypedDict by another name.
def _schema_finding(detail: dict[str, Any], entries: list[object], start: int) -> Finding:
    index, *rest = detail["loc"] or (0,)
    path = f"tasks[{start + index}]" + "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in rest)
    if detail["type"] == "extra_forbidden":
        near = difflib.get_close_matches(str(rest[-1]), list(TaskModel.model_fields), n=1, cutoff=_NEAR)
        remedy = f"did you mean '{near[0]}'?" if near else f"allowed are {', '.join(TaskModel.model_fields)}"
        return _invalid(path, "there is no such field", remedy)
    if detail["type"] == "missing":
        return _invalid(path, "the field is missing", "add it")
    named = _name_of(entries[index]) if isinstance(index, int) and index < len(entries) else ""
    remedy = "ids are 1 to 64 of A-Z a-z 0-9 _ . : -" if detail["type"] == "string_pattern_mismatch" else "correct it"
    return _invalid(path, f"{named}{str(detail['msg'])[:200]}", remedy)


def _name_of(entry: object) -> str:
    name = entry.get("id") if isinstance(entry, dict) else None
    return f"task {excerpt(redact(name))!r}: " if isinstance(name, str) else ""


def _invalid(path: str, message: str, remedy: str) -> Finding:
    return _refused("TASK.INVALID", f"{path}: {message}", remedy=remedy, path=path)


def _graph_findings(
    tasks: Sequence[TaskModel], *, known_agents: Iterable[str] | None, limits: Limits, pause: Callable[[], None]
) -> Iterator[Finding]:
    length = graph.longest(((task.id, task.depends_on) for task in tasks), pause=pause)
    # Written in order, every name is one that came before; only otherwise there is more to look for.
    first: dict[str, int] = {}
    if length is None:
        yield from _duplicate_findings(tasks, first, pause)
    if known_agents is not None:
        yield from _agent_findings(tasks, sorted(known_agents))
    if length is None:
        yield from _dependency_findings(tasks, first, pause)
    yield from _fan_out_findings(tasks, limits, pause)
    if length is None or length > limits.max_chain:
        yield from _order_findings(tasks, limits, pause)


def _duplicate_findings(
    tasks: Sequence[TaskModel], first: dict[str, int], pause: Callable[[], None]
) -> Iterator[Finding]:
    """The ids met before; `first` gets the place at which each was."""
    for index, task in enumerate(tasks):
        if index % _AT_ONCE == 0:
            pause()
        if task.id in first:
            yield _refused(
                "TASK.DUPLICATE_ID",
                f"two tasks have the id '{task.id}' (numbers {first[task.id]} and {index})",
                path=f"tasks[{index}].id",
                remedy="give each task an id of its own",
            )
        first.setdefault(task.id, index)


def _agent_findings(tasks: Sequence[TaskModel], agents: list[str]) -> Iterator[Finding]:
    for index, task in enumerate(tasks):
        if task.agent not in agents:
            yield _refused(
                "TASK.UNKNOWN_AGENT",
                f"task '{task.id}' names the agent '{excerpt(redact(task.agent))}', which does not exist",
                path=f"tasks[{index}].agent",
                remedy=_nearest(task.agent, agents),
            )


def _dependency_findings(
    tasks: Sequence[TaskModel], ids: dict[str, int], pause: Callable[[], None]
) -> Iterator[Finding]:
    for index, task in enumerate(tasks):
        if index % _AT_ONCE == 0:
            pause()
        if task.id not in task.depends_on and all(map(ids.__contains__, task.depends_on)):
            continue
        for place, name in enumerate(task.depends_on):
            path = f"tasks[{index}].depends_on[{place}]"
            if name == task.id:
                yield _refused(
                    "TASK.SELF_DEPENDENCY",
                    f"task '{task.id}' depends on itself",
                    path=path,
                    remedy="remove the dependency",
                )
            elif name not in ids:
                yield _refused(
                    "TASK.UNKNOWN_DEPENDENCY",
                    f"task '{task.id}' depends on '{name}', which does not exist",
                    path=path,
                    remedy=_nearest(name, list(ids)),
                )


def _fan_out_findings(tasks: Sequence[TaskModel], limits: Limits, pause: Callable[[], None]) -> Iterator[Finding]:
    waiting: Counter[str] = Counter()
    for start in range(0, len(tasks), _AT_ONCE):
        waiting.update(chain.from_iterable(task.depends_on for task in tasks[start : start + _AT_ONCE]))
        pause()
    if max(waiting.values(), default=0) <= limits.max_fan_out:
        return
    # A task may have named another twice.
    waiting = Counter(name for task in tasks for name in set(task.depends_on))
    for index, task in enumerate(tasks):
        if waiting[task.id] > limits.max_fan_out:
            yield _refused(
                "TASKS.FAN_OUT_TOO_WIDE",
                f"{waiting[task.id]:,} tasks depend on task '{task.id}'; the limit is {limits.max_fan_out:,}",
                path=f"tasks[{index}]",
                remedy="put a task that joins results between them, or raise max_fan_out",
            )


def _order_findings(tasks: Sequence[TaskModel], limits: Limits, pause: Callable[[], None]) -> Iterator[Finding]:
    edges = {task.id: [name for name in task.depends_on if name != task.id] for task in tasks}
    levels, cycle = graph.arrange(edges, pause=pause)
    if cycle is not None:
        yield _refused(
            "TASK.CYCLE",
            f"tasks depend on each other in a circle: {_shown(cycle)}",
            remedy="remove one of these dependencies",
        )
    elif len(levels) > limits.max_chain:
        yield _refused(
            "TASKS.CHAIN_TOO_LONG",
            f"the longest chain of dependencies holds {len(levels):,} tasks; the limit is {limits.max_chain:,}",
            remedy="make it shorter, or raise max_chain",
        )


def _shown(cycle: tuple[str, ...]) -> str:
    names = cycle if len(cycle) <= _MOST_NAMES else (*cycle[:8], f"... {len(cycle) - 11} more ...", *cycle[-3:])
    return " -> ".join(names)


def _nearest(name: str, candidates: list[str]) -> str:
    near = difflib.get_close_matches(name[:128], candidates, n=1, cutoff=_NEAR)
    if near:
        return f"did you mean '{near[0]}'?"
    shown = ", ".join(sorted(candidates)[:_MOST_NAMES])
    return f"known are {shown}{' and others' if len(candidates) > _MOST_NAMES else ''}" if candidates else "add it"
