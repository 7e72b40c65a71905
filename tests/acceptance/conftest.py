"""The public door: `python -m omninode.cli` as a real process, beside a real simulator and a real database.

All tests share one data directory with one running embedded Postgres, because a cold start costs seconds; a test that
breaks the database has a directory of its own.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from omninode.runtime.runtime import Runtime, open_runtime
from omninode.simulation.profile import DEFAULT_PROFILES
from omninode.simulation.server import SimulatedModels
from omninode.storage.config import ConnectionConfig
from omninode.storage.connection import connect
from omninode.storage.database import Database
from omninode.storage.embedded import EmbeddedPostgres
from omninode.storage.migrate import migrate

_PATIENCE_S = 50.0
# What a developer's own shell may hold and a test must not see.
_FOREIGN = ("OPENAI_", "ANTHROPIC_", "OMNINODE_", "POSTGRES_", "CIRCUIT_BREAKER_", "RETRY_", "PERFORMANCE_", "XDG_")


@dataclass(frozen=True)
class Ended:
    """A command that has ended."""

    code: int
    out: str
    err: str

    @property
    def complaint(self) -> str:
        """The one line that says what went wrong; fails when there is not exactly one, or a traceback."""
        lines = [line for line in self.err.splitlines() if line.startswith("omninode: ")]
        assert len(lines) == 1, f"{len(lines)} complaints, code {self.code}\n--- out\n{self.out}\n--- err\n{self.err}"
        assert "Traceback" not in self.err + self.out, self.err + self.out
        return lines[0].removeprefix("omninode: ")

    @property
    def report(self) -> dict[str, Any]:
        """The report that `--json` printed."""
        return json.loads(self.out)


class Started:
    """A command that is running, in a process group of its own."""

    def __init__(self, arguments: tuple[str, ...], environment: Mapping[str, str], directory: Path, **options: Any):
        self.process = subprocess.Popen(
            [sys.executable, "-m", "omninode.cli", *arguments],
            env=dict(environment),
            cwd=directory,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
            **options,
        )
        self._heard: dict[str, list[str]] = {"out": [], "err": []}
        self._ears = [
            threading.Thread(target=self._listen, args=(name, stream), daemon=True)
            for name, stream in (("out", self.process.stdout), ("err", self.process.stderr))
        ]
        for ear in self._ears:
            ear.start()

    def _listen(self, name: str, stream: Any) -> None:
        for line in stream:
            self._heard[name].append(line.decode("utf-8", "replace"))

    def wait_for_line(self, text: str, *, on: str = "err") -> str:
        """The first line that holds `text`; fails when the command ends or too much time passes before."""
        end = time.monotonic() + _PATIENCE_S
        while time.monotonic() < end:
            is_over = self.process.poll() is not None
            found = next((line for line in list(self._heard[on]) if text in line), None)
            if found is not None:
                return found
            if is_over:
                break
            time.sleep(0.01)
        raise AssertionError(f"no line with {text!r} on {on}: {self._heard}")

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def ended(self, given: bytes = b"") -> Ended:
        """Wait for its end."""
        with suppress(BrokenPipeError):
            self.process.stdin.write(given)
            self.process.stdin.close()
        try:
            code = self.process.wait(timeout=_PATIENCE_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise
        for ear in self._ears:
            ear.join(timeout=5)
        return Ended(code, "".join(self._heard["out"]), "".join(self._heard["err"]))

    def orphans(self) -> list[str]:
        """What of its session is alive after its end."""
        left = []
        for entry in Path("/proc").iterdir():
            with suppress(OSError, ValueError, IndexError):
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                if int(fields[3]) == self.process.pid and fields[0] != "Z":
                    left.append((entry / "cmdline").read_bytes().replace(b"\0", b" ").decode())
        return left


@dataclass(frozen=True)
class Door:
    """The command line with an environment of its own."""

    environment: Mapping[str, str]
    directory: Path
    started: list[Started] = field(default_factory=list)

    def with_(self, **environment: str | None) -> Door:
        """The same door with some variables set, or unset by None."""
        merged = {**self.environment, **environment}
        return replace(self, environment={name: value for name, value in merged.items() if value is not None})

    def start(self, *arguments: str, **options: Any) -> Started:
        started = Started(arguments, self.environment, self.directory, **options)
        self.started.append(started)
        return started

    def __call__(self, *arguments: str, given: bytes = b"", **options: Any) -> Ended:
        return self.start(*arguments, **options).ended(given)


class Simulator:
    """A simulator on a thread of its own, and the configuration that names its models."""

    def __init__(self, **options: Any) -> None:
        self._options = {"latency_scale": 0.0, **options}
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

        async def start() -> SimulatedModels:
            return await SimulatedModels(DEFAULT_PROFILES, **self._options).__aenter__()

        self.models = self._do(start)

    def _do(self, function: Callable[[], Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(function(), self._loop).result(timeout=20)

    def script(self, model: str, *kinds: str) -> None:
        """What happens to the next calls of `model`."""

        async def script() -> None:
            self.models.script_faults(model, *kinds)

        self._do(script)

    def clear(self) -> None:
        async def clear() -> None:
            self.models.clear_faults()

        self._do(clear)

    def statistics(self) -> Any:
        async def read() -> Any:
            return self.models.statistics()

        return self._do(read)

    def close(self) -> None:
        self._do(self.models.close)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(timeout=10)
        self._loop.close()

    def configuration(self, *, key: str | None = None, timeout_s: float = 60.0) -> str:
        """An `omninode.toml` that declares every model."""
        lines = []
        for entry in self.models.deployments():
            roles = ", ".join(f'"{role}"' for role in entry["roles"])
            lines.append(
                f'[[deployments]]\nname = "{entry["name"]}"\nbase_url = "{entry["base_url"]}"\n'
                f'model = "{entry["model"]}"\nroles = [{roles}]\ntimeout_s = {timeout_s}\n'
                + (f'api_key_env = "{key}"\n' if key else "")
            )
        return "\n".join(lines)


class Tarpit:
    """A model server that takes every request and answers none until `release`; it sees who gives up."""

    def __init__(self) -> None:
        self.arrived = self.left = 0
        self._released = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}/v1"
        self._is_closed = False
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._hold, args=(client,), daemon=True).start()

    def _hold(self, client: socket.socket) -> None:
        with client, suppress(OSError):
            client.settimeout(0.02)
            held = b""
            while b"\r\n\r\n" not in held or len(held) < _length_of(held):
                with suppress(TimeoutError):
                    held += (piece := client.recv(65536))
                    if not piece:
                        return
            self.arrived += 1
            while not self._released.is_set() and not self._is_closed:
                with suppress(TimeoutError):
                    if not client.recv(65536):
                        self.left += 1
                        return
            if self._released.is_set():
                client.sendall(_CHAT_ANSWER)

    def release(self) -> None:
        """Answer all who wait, and all to come."""
        self._released.set()

    def wait_for(self, count: int = 1, *, what: str = "arrived") -> None:
        """Return when so many requests have arrived, or left."""
        end = time.monotonic() + _PATIENCE_S
        while getattr(self, what) < count:
            assert time.monotonic() < end, f"{getattr(self, what)} of {count} {what}"
            time.sleep(0.01)

    def close(self) -> None:
        self._is_closed = True
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


_BODY = json.dumps(
    {
        "id": "c",
        "model": "tarpit",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "at last"}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 10, "completion_tokens": 5},
    }
).encode()
_CHAT_ANSWER = (
    b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\n"
    b"content-length: %d\r\n\r\n%s" % (len(_BODY), _BODY)
)


def _length_of(held: bytes) -> int:
    head, _, _ = held.partition(b"\r\n\r\n")
    named = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    return len(head) + 4 + (int(named[0].split(b":")[1]) if named else 0)


def run_apart(function: Callable[[], Any]) -> Any:
    """Run a coroutine to its end, from code that is not async."""
    with ThreadPoolExecutor(max_workers=1) as pool:
        return pool.submit(lambda: asyncio.run(function())).result()


def rows(config: ConnectionConfig, statement: str, *arguments: Any) -> list[Any]:
    """What a statement answers, on a connection of its own."""

    async def read() -> list[Any]:
        connection = await connect(config)
        try:
            return await connection.fetch(statement, *arguments)
        finally:
            await connection.close(timeout=5)

    return run_apart(read)


def free_port() -> int:
    """A port nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def own_directory() -> Path:
    """A data directory below /tmp itself: the path of a Unix socket is short, and the server's user must get there."""
    folder = Path(tempfile.mkdtemp(prefix="omn-acc-", dir="/tmp"))
    folder.chmod(0o755)
    return folder


@pytest.fixture(scope="session")
def home() -> Iterator[EmbeddedPostgres]:
    """The shared data directory, whose server runs for the whole session."""
    folder = own_directory()
    server = EmbeddedPostgres(folder / "data" / "postgres")
    (folder / "data").mkdir(mode=0o755)

    async def prepare() -> None:
        await server.start()
        async with Database.open(server.config, pool_size=1) as database:
            await migrate(database)

    run_apart(prepare)
    yield server
    run_apart(server.stop)
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def shared_simulator() -> Iterator[Simulator]:
    simulator = Simulator()
    yield simulator
    simulator.close()


@pytest.fixture
def simulator(shared_simulator: Simulator) -> Simulator:
    """A simulator that answers at once, without faults."""
    shared_simulator.clear()
    return shared_simulator


@pytest.fixture
def bare(tmp_path: Path) -> Iterator[Door]:
    """The command line where nothing is set: no model, no database, a data directory of its own."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(_FOREIGN)}
    folder = own_directory()
    (folder / "data").mkdir(mode=0o755)
    door = Door(
        {
            **clean,
            "OMNINODE_DATA_DIR": str(folder / "data"),
            "OMNINODE_OLLAMA_URL": "http://127.0.0.1:9",
            "NO_COLOR": "1",
            "COLUMNS": "200",
        },
        tmp_path,
    )
    yield door
    for started in door.started:
        if started.process.poll() is None:
            with suppress(ProcessLookupError):
                os.killpg(started.process.pid, signal.SIGKILL)
            started.process.wait(timeout=10)
        for stream in (started.process.stdin, started.process.stdout, started.process.stderr):
            with suppress(BrokenPipeError):
                stream.close()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def modelless(bare: Door, home: EmbeddedPostgres) -> Door:
    """The command line on the shared database, without any model."""
    return bare.with_(OMNINODE_DATA_DIR=str(home.data_dir.parent))


@pytest.fixture
def omninode(modelless: Door, simulator: Simulator, tmp_path: Path) -> Door:
    """The command line on the shared database with the simulator's models, which answer at once."""
    file = tmp_path / "models.toml"
    file.write_text(simulator.configuration())
    return modelless.with_(OMNINODE_CONFIG=str(file))


@pytest.fixture
def tarpit() -> Iterator[Tarpit]:
    held = Tarpit()
    yield held
    held.close()


def stuck_in(phase: str, door: Door, simulator: Simulator, tarpit: Tarpit) -> tuple[Door, list[str]]:
    """A door and the arguments of a run that comes as far as `phase` and waits there until the tarpit lets go."""
    sections = [simulator.configuration()]
    arguments = ["Write a parser and test the parser"]
    if phase == "context_gathering":
        sections.append(f'[[sources]]\nname = "slow"\nurl = "{tarpit.url}"\ntimeout_s = 600\n')
    elif phase == "parallel_execution":
        tasks = [
            {"id": "parser", "agent": "stuck", "description": "Write a parser", "task_type": "coding"},
            {"id": "test", "agent": "tester", "description": "Test the parser", "depends_on": ["parser"]},
        ]
        (door.directory / "stuck.json").write_text(json.dumps(tasks))
        arguments += ["--tasks", str(door.directory / "stuck.json")]
        sections.append(
            f'[[deployments]]\nname = "tarpit"\nbase_url = "{tarpit.url}"\nmodel = "tarpit"\nroles = ["worker"]\n'
            '[[agents]]\nname = "stuck"\npurpose = "waits"\ninstructions = "Wait."\ndeployment = "tarpit"\n'
        )
    else:
        role = {"task_decomposition": "planner", "quorum_validation": "voter"}[phase]
        sections = [section.replace(f'"{role}"', '"worker"') for section in sections]
        sections.append(
            f'[[deployments]]\nname = "tarpit"\nbase_url = "{tarpit.url}"\nmodel = "tarpit"\nroles = ["{role}"]\n'
        )
    file = door.directory / f"stuck-{phase}.toml"
    file.write_text("\n".join(sections))
    return door.with_(OMNINODE_CONFIG=str(file)), arguments


@pytest.fixture
def library(omninode: Door, monkeypatch: pytest.MonkeyPatch) -> Callable[[], Runtime]:
    """The other door: a function that opens OmniNode in this process, with the settings of `omninode`."""
    for name in list(os.environ):
        if name.startswith(_FOREIGN):
            monkeypatch.delenv(name)
    for name, value in omninode.environment.items():
        monkeypatch.setenv(name, value)
    return open_runtime


def configured(door: Door, simulator: Simulator, **options: Any) -> Door:
    """`door` with the models of `simulator`."""
    file = door.directory / f"models-{simulator.models.port}.toml"
    file.write_text(simulator.configuration(**options))
    return door.with_(OMNINODE_CONFIG=str(file))
