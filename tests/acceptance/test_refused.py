"""What is refused before anything is sent: one line that says what to do, and a stable exit code."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest

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
    before, after = bare("--debug", "run", "Write a poem"), bare("run", "Write a poem", "--debug")

    assert (before.code, after.code) == (3, 3)
    assert "Traceback" in before.err
    assert "Traceback" in after.err


@pytest.mark.parametrize(
    ("prompt", "given", "word"),
    [
        (" ", b"", "empty"),
        ("-", b"", "empty"),
        ("-", b"x" * 1_000_000, "100,000"),
        ("-", bytes(range(256)) * 8, "UTF-8"),
        ("-", b"\x7fELF\x02\x01\x01" + bytes(64), "NUL"),
    ],
    ids=["blank", "empty stdin", "1 MB", "not UTF-8", "NUL bytes"],
)
def test_a_prompt_that_cannot_be_one_is_refused_unsent(omninode, simulator, prompt, given, word):
    before = simulator.statistics().calls

    ended = omninode("run", prompt, given=given)

    assert ended.code == 2
    assert word.lower() in ended.complaint.lower()
    assert simulator.statistics().calls == before


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{not json", ["JSON"]),
        (json.dumps([task("a", "c"), task("b", "a"), task("c", "b")]), ["cycle", "a", "->"]),
        (json.dumps([task(f"t{number}") for number in range(10_000)]), ["10,000", "1,000"]),
        (json.dumps([task("a", "nowhere")]), ["nowhere"]),
        (b"\xff\xfe\x00\x01", ["JSON"]),
        ("[]", ["task"]),
    ],
    ids=["not JSON", "cycle", "10,000 tasks", "unknown dependency", "binary", "no task"],
)
def test_tasks_that_cannot_be_run_are_refused_unsent(omninode, simulator, tmp_path, content, words):
    before = simulator.statistics().calls

    ended = omninode("run", "Do these", "--tasks", write(tmp_path, content))

    assert ended.code == 2
    assert all(word.lower() in ended.complaint.lower() for word in words), ended.complaint
    assert simulator.statistics().calls == before


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

    for place in (blocked, blocked / "below", Path("/proc/omninode")):
        ended = bare.with_(OMNINODE_DATA_DIR=str(place))("run", "x", "--simulate")

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
