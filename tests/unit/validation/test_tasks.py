"""Task lists: the schema, the caps and the graph."""

from __future__ import annotations

import json
from itertools import pairwise

import networkx as nx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from omninode.core.errors import InvalidArgumentError
from omninode.validation import graph
from omninode.validation.limits import Limits, is_deeper, nested_size
from omninode.validation.tasks import TaskModel, parse_tasks, topological_levels

pytestmark = pytest.mark.unit


def _task(name, *depends_on, **more):
    return {"id": name, "agent": "coder", "description": f"do {name}", "depends_on": list(depends_on), **more}


def _codes(findings):
    return [finding.code for finding in findings]


DIAMOND = [_task("a"), _task("b", "a"), _task("c", "a"), _task("d", "b", "c")]


@pytest.mark.parametrize(
    "data",
    [
        DIAMOND,
        tuple(DIAMOND),
        {"tasks": DIAMOND},
        json.dumps(DIAMOND),
        json.dumps({"tasks": DIAMOND}, indent=2).encode(),
        b"\xef\xbb\xbf" + json.dumps(DIAMOND).encode(),
        [TaskModel(**task) for task in DIAMOND],
    ],
)
def test_every_accepted_shape_gives_the_same_tasks(data):
    tasks, findings = parse_tasks(data)
    assert findings == ()
    assert [task.id for task in tasks] == ["a", "b", "c", "d"]
    assert topological_levels(tasks) == (("a",), ("b", "c"), ("d",))


def test_other_spellings_of_fields_are_accepted():
    tasks, findings = parse_tasks(
        [{"task_id": "a", "agent_name": "x", "description": "d", "input_data": {"k": 1}, "dependencies": []}]
    )
    assert findings == ()
    assert (tasks[0].id, tasks[0].agent, tasks[0].input, tasks[0].task_type) == ("a", "x", {"k": 1}, "general")


@pytest.mark.parametrize(
    ("data", "code"),
    [
        ("not json", "TASKS.NOT_JSON"),
        (b"\xff\xfe", "TASKS.NOT_JSON"),
        ('{"tasks": [', "TASKS.NOT_JSON"),
        ("12", "TASKS.TYPE"),
        ({"other": []}, "TASKS.TYPE"),
        (7, "TASKS.TYPE"),
        ([], "TASKS.EMPTY"),
        ('{"tasks": []}', "TASKS.EMPTY"),
        ("[" * 100_000, "TASKS.TOO_DEEP"),
        ([_task("a", input={"k": json.loads("[" * 40 + "]" * 40)})], "TASKS.TOO_DEEP"),
        ([_task("a", input={str(n): n for n in range(20_001)})], "TASKS.TOO_MANY_KEYS"),
        ([_task(f"t{n}") for n in range(10_000)], "TASKS.TOO_MANY"),
        (b" " * 10_000_001, "TASKS.TOO_LARGE"),
    ],
    ids=lambda value: value if isinstance(value, str) and value.startswith("TASKS") else "",
)
def test_list_that_cannot_be_read_is_refused_with_one_finding(data, code):
    tasks, findings = parse_tasks(data)
    assert (tasks, _codes(findings)) == ((), [code])


@pytest.mark.parametrize(
    ("change", "path", "said"),
    [
        ({"id": 1}, "tasks[1].id", "valid string"),
        ({"id": "a b"}, "tasks[1].id", "ids are 1 to 64"),
        ({"id": "x" * 65}, "tasks[1].id", "ids are 1 to 64"),
        ({"agent": ""}, "tasks[1].agent", "at least 1 character"),
        ({"description": None}, "tasks[1].description", "valid string"),
        ({"description": "x" * 8_001}, "tasks[1].description", "limit is 8,000"),
        ({"depends_on": "a"}, "tasks[1].depends_on", "valid list"),
        ({"depends_on": ["a"] * 65}, "tasks[1].depends_on", "limit is 64"),
        ({"depends_on": [None]}, "tasks[1].depends_on[0]", "valid string"),
        ({"agnt": "x"}, "tasks[1].agnt", "did you mean 'agent'?"),
        ({"input": {"k": object()}}, "tasks[1].input", ""),
        ({"input": 3}, "tasks[1].input", ""),
        ({"description": "half \ud800"}, "tasks[1].description", ""),
    ],
)
def test_task_that_breaks_the_schema_is_refused_at_its_field(change, path, said):
    tasks, findings = parse_tasks([_task("a"), {**_task("b"), **change}])
    assert tasks == ()
    assert set(_codes(findings)) == {"TASK.INVALID"}
    assert findings[0].path.startswith(path)
    assert said in str(findings[0])


def test_missing_field_is_named():
    _, findings = parse_tasks([{"id": "a"}])
    assert [(finding.path, "missing" in finding.message) for finding in findings] == [
        ("tasks[0].agent", True),
        ("tasks[0].description", True),
    ]


def test_every_problem_of_a_graph_is_reported_at_once():
    data = [_task("plan"), _task("plan"), _task("b", "plann", "b"), {**_task("c"), "agent": "codre"}]
    _, findings = parse_tasks(data, known_agents=["coder", "tester"])
    said = {finding.code: str(finding) for finding in findings}
    assert set(said) == {
        "TASK.DUPLICATE_ID",
        "TASK.UNKNOWN_AGENT",
        "TASK.UNKNOWN_DEPENDENCY",
        "TASK.SELF_DEPENDENCY",
    }
    assert "did you mean 'coder'?" in said["TASK.UNKNOWN_AGENT"]
    assert "did you mean 'plan'?" in said["TASK.UNKNOWN_DEPENDENCY"]
    assert "tasks[2].depends_on[1]" in said["TASK.SELF_DEPENDENCY"]
    assert "known are coder, tester" in str(
        parse_tasks([_task("a", agent="zzz")], known_agents=["tester", "coder"])[1][0]
    )


def test_cycle_is_reported_with_its_path():
    _, findings = parse_tasks([_task("x", "a"), _task("a", "b"), _task("b", "c"), _task("c", "a")])
    (finding,) = findings
    assert finding.code == "TASK.CYCLE"
    assert "a -> b -> c -> a" in finding.message
    with pytest.raises(InvalidArgumentError, match="a -> b -> c -> a"):
        graph.levels({"a": ["b"], "b": ["c"], "c": ["a"]})


def test_chain_longer_than_the_limit_is_refused():
    chain = [_task("t0"), *(_task(f"t{n}", f"t{n - 1}") for n in range(1, 30))]
    assert _codes(parse_tasks(chain, limits=Limits(max_chain=29))[1]) == ["TASKS.CHAIN_TOO_LONG"]
    assert parse_tasks(chain, limits=Limits(max_chain=30))[1] == ()


def test_too_many_tasks_behind_one_are_refused():
    tasks = [_task("root"), *(_task(f"t{n}", "root", "root") for n in range(5))]
    (finding,) = parse_tasks(tasks, limits=Limits(max_fan_out=4))[1]
    assert (finding.code, finding.path) == ("TASKS.FAN_OUT_TOO_WIDE", "tasks[0]")
    assert "5 tasks depend on task 'root'; the limit is 4" in finding.message
    assert parse_tasks(tasks, limits=Limits(max_fan_out=5))[1] == ()


def test_hundred_thousand_tasks_are_refused_before_they_are_read():
    chain = [_task("t0"), *(_task(f"t{n}", f"t{n - 1}") for n in range(1, 100_000))]
    assert _codes(parse_tasks(chain)[1]) == ["TASKS.TOO_MANY"]
    raised = Limits(max_tasks=100_000, max_keys=1_000_000)
    assert _codes(parse_tasks(chain, limits=raised)[1]) == ["TASKS.CHAIN_TOO_LONG"]


def test_hundred_thousand_nodes_need_no_recursion():
    size = 100_000
    chain = {str(node): [str(node - 1)] if node else [] for node in range(size)}
    assert len(graph.levels(chain)) == size
    cycle = graph.find_cycle(chain | {"0": [str(size - 1)]})
    assert cycle is not None
    assert (len(cycle), cycle[0]) == (size + 1, cycle[-1])


def test_number_of_findings_is_bounded():
    data = [_task(f"t{n}", *(f"missing{n}-{m}" for m in range(60))) for n in range(300)]
    assert len(parse_tasks(data)[1]) == 50


_graphs = st.dictionaries(st.sampled_from("abcdefgh"), st.lists(st.sampled_from("abcdefgh"), max_size=4), max_size=8)


@given(_graphs)
def test_cycle_check_and_levels_agree_with_networkx(edges):
    reference = nx.DiGraph()
    reference.add_nodes_from(edges)
    reference.add_edges_from((node, name) for node, names in edges.items() for name in names if name in edges)
    cycle = graph.find_cycle(edges)
    assert (cycle is None) == nx.is_directed_acyclic_graph(reference)
    if cycle is not None:
        assert cycle[0] == cycle[-1]
        assert all(reference.has_edge(here, there) for here, there in pairwise(cycle))
        return
    levels = graph.levels(edges)
    generations = [sorted(layer) for layer in nx.topological_generations(reference.reverse())]
    assert [sorted(layer) for layer in levels] == generations


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["id", "tasks", "agent", "description", "input", "depends_on", "x"]), inner, max_size=5
        )
    ),
    max_leaves=20,
)


@settings(max_examples=200)
@given(_json | st.text() | st.binary() | st.lists(_json))
def test_nothing_that_is_read_as_tasks_raises(data):
    tasks, findings = parse_tasks(data)
    assert all(isinstance(task, TaskModel) for task in tasks)
    assert tasks or findings


@given(_json)
def test_depth_before_parsing_is_that_of_the_parsed(value):
    depth, _ = nested_size(value, max_depth=1000, max_keys=100_000)
    data = json.dumps(value).encode()
    assert not is_deeper(data, than=max(depth, 1))
    assert depth == 0 or is_deeper(data, than=depth - 1)


def test_structure_that_holds_itself_is_refused():
    task = _task("a", input={"k": []})
    task["input"]["k"].append(task["input"]["k"])
    assert _codes(parse_tasks([task])[1]) == ["TASKS.TOO_DEEP"]


def test_structure_that_repeats_a_part_over_and_over_is_refused():
    part = ["x"]
    for _ in range(25):
        part = [part, part]
    assert _codes(parse_tasks([_task("a", input={"k": part})])[1]) == ["TASKS.TOO_MANY_KEYS"]
