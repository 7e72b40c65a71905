"""What is refused before anything is sent: one line that says what to do, and a stable exit code."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest

from omninode.cli.exits import exit_code

pytestmark = pytest.mark.acceptance


def write(directory: Path, content: str | bytes) -> str:
    path = directory / "tasks.json"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return str(path)


def task(name: str, *needs: str) -> dict[str, object]:
    return {"id": name, "agent": "coder", "description": f"Write {name}", "depends_on": list(needs)}


def test_without_any_model_it_says_what_to_set(bare):
    ended = bare("run", "Write a poem")

    assert ended.code == 3
    assert all(word in ended.complaint for word in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "Ollama", "--simulate"))


def test_debug_shows_the_traceback_wherever_it_stands(bare):
    both = (bare.start("--debug", "run", "Write a poem"), bare.start("run", "Write a poem", "--debug"))
    before, after = (running.ended() for running in both)

    assert (before.code, after.code) == (3, 3)
    assert "Traceback" in before.err
    assert "Traceback" in after.err


@pytest.mark.parametrize(
    ("prompt", "word"),
    [
        ("", "empty"),
        (" \n ", "empty"),
        (b"x" * 1_000_000, "100,000"),
        (bytes(range(256)) * 8, "UTF-8"),
        (b"\x7fELF\x02\x01\x01" + bytes(64), "NUL"),
    ],
    ids=["empty", "blank", "1 MB", "not UTF-8", "NUL bytes"],
)
async def test_a_prompt_that_cannot_be_one_is_refused_unsent(library, simulator, prompt, word):
    before = simulator.statistics().calls

    async with library() as node:
        report = await node.run(prompt)

    assert report.status == "refused"
    assert exit_code(report.failure) == 2
    assert word in report.error
    assert simulator.statistics().calls == before


def test_standard_input_is_read_and_refused_in_one_line(omninode):
    huge, nothing, binary = (omninode.start("run", "-") for _ in range(3))

    ended = [huge.ended(b"x" * 1_000_000), nothing.ended(b""), binary.ended(bytes(range(256)))]

    assert [entry.code for entry in ended] == [2, 2, 2]
    assert all("input refused" in entry.complaint for entry in ended)


TASKS = {
    "not JSON": ("{not json", ["JSON"]),
    "cycle": (json.dumps([task("a", "c"), task("b", "a"), task("c", "b")]), ["cycle", "a", "->"]),
    "10,000 tasks": (json.dumps([task(f"t{number}") for number in range(10_000)]), ["10,000", "1,000"]),
    "unknown dependency": (json.dumps([task("a", "nowhere")]), ["nowhere"]),
    "binary": (b"\xff\xfe\x00\x01", ["JSON"]),
    "no task": ("[]", ["task"]),
}


@pytest.mark.parametrize("name", TASKS)
async def test_tasks_that_cannot_be_run_are_refused_unsent(library, simulator, name):
    content, words = TASKS[name]
    before = simulator.statistics().calls

    async with library() as node:
        report = await node.run("Do these", tasks=content)

    assert report.status == "refused"
    assert exit_code(report.failure) == 2
    assert all(word.lower() in report.error.lower() for word in words), report.error
    assert simulator.statistics().calls == before


def test_a_tasks_file_is_refused_in_one_line(omninode, tmp_path):
    ended = omninode("run", "Do these", "--tasks", write(tmp_path, TASKS["cycle"][0]))

    assert ended.code == 2
    assert "a -> c -> b -> a" in ended.complaint


@pytest.mark.parametrize(
    ("arguments", "code", "word"),
    [
        (("run", "x", "--tasks", "/nowhere/tasks.json"), 3, "--tasks"),
        (("run", "x", "--workspace", "/nowhere"), 3, "--workspace"),
        (("run", "x", "--output", "/proc/nowhere"), 3, "--output"),
        (("run", "x", "--wrokspace", "."), 2, "--wrokspace"),
        (("rnu", "x"), 2, "rnu"),
        (("run",), 2, "prompt"),
        (("run", "x", "--deadline", "soon"), 2, "--deadline"),
        (("runs", "show", "zz"), 2, "zz"),
        (("db", "nonsense"), 2, "nonsense"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_a_mistaken_argument_is_named(bare, arguments, code, word):
    ended = bare(*arguments)

    assert ended.code == code
    assert word in ended.complaint


def test_a_misspelt_option_is_corrected(bare):
    assert "--workspace" in bare("run", "x", "--worksapce", ".").complaint


@pytest.mark.parametrize("variable", ["POSTGRES_PORT", "RETRY_MAX_RETRIES", "OMNINODE_PORT"])
def test_a_bad_setting_is_named_with_its_value(bare, variable):
    ended = bare.with_(**{variable: "many"})("doctor")

    assert ended.code == 3
    assert variable in ended.complaint
    assert "many" in ended.complaint


def test_a_home_that_is_a_file_is_named(bare, tmp_path):
    blocked = tmp_path / "home"
    blocked.write_text("I am a file")

    places = (blocked, blocked / "below", Path("/proc/omninode"))
    doors = [bare.with_(OMNINODE_DATA_DIR=str(place)).start("run", "x", "--simulate") for place in places]
    for place, running in zip(places, doors, strict=True):
        ended = running.ended()

        assert ended.code == 3
        assert str(place) in ended.complaint
        assert "OMNINODE_DATA_DIR" in ended.complaint


@pytest.fixture
def taken():
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        yield str(holder.getsockname()[1])


@pytest.mark.fault
@pytest.mark.parametrize("command", ["serve", "simulate"])
def test_a_taken_port_is_named(modelless, taken, command):
    ended = modelless(command, "--port", taken)

    assert ended.code == 3
    assert taken in ended.complaint
    assert "--port" in ended.complaint


def test_a_route_that_the_policy_does_not_have_is_refused_before_anything_is_asked(bare):
    run = bare("run", "Explain the parser", "--simulate", "--route", "housework")
    guard = bare("guard", "-", "--route", "housework", given=b"Explain the parser")

    assert (run.code, guard.code) == (2, 2)
    assert all("[guard.route.housework]" in ended.complaint for ended in (run, guard))
