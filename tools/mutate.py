"""Changes the code of the resilience room in one place after another and checks that a test fails each time.

    python tools/mutate.py                          every module of TESTS; what became of it goes into docs/proofs.md
    python tools/mutate.py breaker probes           only these modules
    python tools/mutate.py breaker --match admit    only the mutants whose name holds "admit"; nothing is rewritten

Each mutant runs in a forked process that has the test framework loaded already: the changed tree is compiled in place
of the module, then the tests of that module run until the first one fails. A mutant that no test notices must be
explained in tools/mutants.toml; one that is not, or an explanation that no mutant needs, is an error.
"""

from __future__ import annotations

import argparse
import ast
import atexit
import gc
import importlib.util
import os
import resource
import signal
import sys
import tempfile
import time
import tomllib
import traceback
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType

import psutil

from mutants import Mutant, mutants_of

ROOT = Path(__file__).resolve().parent.parent
ROOM = "omninode.resilience"
REASONS = ROOT / "tools" / "mutants.toml"
PAGE = ROOT / "docs" / "proofs.md"
LAST = "<!-- end of the mutants -->"

# What proves each module, the quickest first.
_BREAKER = (
    "test_breaker",
    "test_breaker_restart",
    "test_settings",
    "test_breaker_model",
    "test_rates",
    "test_frame",
    "test_bad_input",
)
TESTS = {
    "probes": ("test_probes", *_BREAKER),
    "detector": ("test_detectors", *_BREAKER),
    "sensitivity": ("test_detectors", "test_breaker_model", "test_rates", "test_bad_input"),
    "circuit": _BREAKER,
    "breaker": (*_BREAKER, "test_released_once"),
    "budget": ("test_budget", "test_settings", "test_retry"),
    "bulkhead": ("test_bulkhead", "test_settings", "test_bad_input", "test_telling"),
    "pace": ("test_pace", "test_parking"),
}
# A mutant that loops is ended by the time it has used, one that hangs because it uses none: neither depends on what
# else the machine does, as a limit by the clock would.
_CPU_S, _IDLE_S, _IDLE_CPU_S = 60, 60.0, 0.2
_MEMORY_BYTES = 3 * 2**30


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of one mutant of `module`."""

    module: str
    mutant: Mutant
    has_survived: bool


@dataclass(slots=True)
class _Child:
    """A process that tests one mutant, and the time it had used when it was last looked at."""

    pid: int
    mutant: Mutant
    looked_at: float = field(default_factory=time.monotonic)
    used_s: float = 0.0


class _Changed(SourceFileLoader, MetaPathFinder):
    """Loads one module from a tree instead of from its file."""

    def __init__(self, name: str, path: Path, tree: ast.Module) -> None:
        super().__init__(name, str(path))
        self._code = compile(ast.fix_missing_locations(tree), str(path), "exec")

    def find_spec(self, fullname: str, path: object = None, target: ModuleType | None = None) -> ModuleSpec | None:  # noqa: ARG002 - as imports ask for it
        if fullname != self.name:
            return None
        return importlib.util.spec_from_file_location(fullname, self.path, loader=self)

    def get_code(self, fullname: str) -> CodeType:  # noqa: ARG002 - it is this one module
        return self._code


class _Impatient:
    """Ends the process at the first failure: what pytest would tell of it is of no interest."""

    def pytest_runtest_logreport(self, report: object) -> None:
        if getattr(report, "failed", False):
            os._exit(1)

    pytest_collectreport = pytest_runtest_logreport


def main() -> int:
    """Run the mutants asked for; 0 when each was noticed or is explained."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("modules", nargs="*", choices=[[], *TESTS], default=[])
    parser.add_argument("--match", default="", help="only mutants whose name holds this")
    parser.add_argument("--jobs", type=int, default=2)
    asked = parser.parse_args()
    _load_ahead()
    count = 0
    for module in asked.modules or TESTS:
        verdicts = _run(module, match=asked.match, jobs=asked.jobs)
        mistakes = list(_mistakes(module, verdicts, is_whole=not asked.match))
        print("\n".join(mistakes))
        if not mistakes and not asked.match:
            _write(module, verdicts)
        count += len(mistakes)
    return 1 if count else 0


def _load_ahead() -> None:
    """What every child needs and no mutant changes, so that it is loaded once."""
    os.nice(10)
    os.chdir(ROOT)
    # Compiled once, outside the tree, whatever the environment says of caches.
    cache = tempfile.TemporaryDirectory(prefix="omninode-mutate-")
    atexit.register(cache.cleanup)
    sys.dont_write_bytecode, sys.pycache_prefix = False, cache.name
    sys.path.insert(0, str(ROOT / "src"))
    for name in (
        "pytest", "pytest_asyncio.plugin", "pytest_timeout", "_hypothesis_pytestplugin", "hypothesis.stateful",
        "omninode.core.events", "omninode.core.deadline", "omninode.testing.clock", "omninode.testing.sink",
    ):  # fmt: skip
        importlib.import_module(name)
    hypothesis = importlib.import_module("hypothesis")
    hypothesis.settings.register_profile(
        "mutants", max_examples=40, deadline=None, database=None, suppress_health_check=list(hypothesis.HealthCheck)
    )
    # No child has to look through what is loaded here, nor for plugins that these tests do not use.
    gc.collect()
    gc.freeze()
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    loaded = [name for name in sys.modules if name.startswith(ROOM)]
    if loaded:
        raise SystemExit(f"loaded before they could be changed: {loaded}")


def _run(module: str, *, match: str, jobs: int) -> list[Verdict]:
    path = ROOT / "src" / Path(*ROOM.split(".")) / f"{module}.py"
    tree, mutants = mutants_of(path)
    if _wait(_start(module, path, tree, None)) != 0:
        raise SystemExit(f"{module}: its tests fail without any change; run pytest on them")
    mutants = [mutant for mutant in mutants if match in mutant.key]
    began, verdicts = time.monotonic(), []
    under_way: list[_Child] = []
    waiting = iter(mutants)
    while len(verdicts) < len(mutants):
        while len(under_way) < jobs and (mutant := next(waiting, None)) is not None:
            under_way.append(_Child(_start(module, path, tree, mutant), mutant))
        for child in list(under_way):
            code = _ended(child)
            if code is not None:
                under_way.remove(child)
                mutant = child.mutant
                verdicts.append(Verdict(module, mutant, has_survived=code == 0))
                if code == 0:
                    print(f"{path.relative_to(ROOT)}:{mutant.line}: survived: {mutant.key}", flush=True)
        time.sleep(0.005)  # noqa: TID251 - no event loop here
    print(f"{module}: {len(mutants)} mutants in {time.monotonic() - began:.0f} s", flush=True)
    return verdicts


def _start(module: str, path: Path, tree: ast.Module, mutant: Mutant | None) -> int:
    pid = os.fork()
    if pid:
        return pid
    code = 70
    try:
        resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_BYTES, _MEMORY_BYTES))
        resource.setrlimit(resource.RLIMIT_CPU, (_CPU_S, _CPU_S + 1))
        if mutant is not None:
            mutant.apply()
            silence = os.open(os.devnull, os.O_WRONLY)
            os.dup2(silence, 1)
            os.dup2(silence, 2)
        sys.meta_path.insert(0, _Changed(f"{ROOM}.{module}", path, tree))
        import pytest

        options = [
            "-x",
            "-q",
            "--timeout=0",
            "--no-header",
            "--confcutdir=tests/unit/resilience",
            "-W",
            "ignore::pytest.PytestAssertRewriteWarning",
        ]
        # The same histories for every mutant, fewer than usual; every order of a few callers finds no more than they do, in ten seconds.
        options += ["-p", "pytest_asyncio.plugin", "-p", "pytest_timeout", "-p", "_hypothesis_pytestplugin"]
        options += ["--hypothesis-seed=1", "--hypothesis-profile=mutants", "-k", "not interleaving"]
        for name in TESTS[module]:
            path_of_test = f"tests/unit/resilience/{name}.py"
            code = int(pytest.main([*options, path_of_test], plugins=[_Impatient()] if mutant else []))
            if code:
                break
    except BaseException:  # noqa: BLE001 - a module that cannot be loaded is a mutant that was noticed
        code = 1
        if mutant is None:
            traceback.print_exc()
    finally:
        os._exit(code)


def _wait(pid: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def _ended(child: _Child) -> int | None:
    done, status = os.waitpid(child.pid, os.WNOHANG)
    if done:
        return os.waitstatus_to_exitcode(status)
    if time.monotonic() - child.looked_at > _IDLE_S:
        times = psutil.Process(child.pid).cpu_times()
        used_s = times.user + times.system
        if used_s - child.used_s < _IDLE_CPU_S:
            os.kill(child.pid, signal.SIGKILL)
            return _wait(child.pid)
        child.looked_at, child.used_s = time.monotonic(), used_s
    return None


def _reasons() -> dict[tuple[str, str], str]:
    if not REASONS.exists():
        return {}
    entries = tomllib.loads(REASONS.read_text(encoding="utf-8"))["survivor"]
    return {(entry["module"], mutant): entry["reason"] for entry in entries for mutant in entry["mutants"]}


def _mistakes(module: str, verdicts: list[Verdict], *, is_whole: bool) -> Iterator[str]:
    explained = {key for name, key in _reasons() if name == module}
    survived = {verdict.mutant.key for verdict in verdicts if verdict.has_survived}
    for key in sorted(survived - explained):
        yield f"{module}: no test notices, and no reason is given: {key}"
    if is_whole:
        for key in sorted(explained - survived):
            yield f"{module}: explained in {REASONS.name}, but no such mutant survives: {key}"


def _write(module: str, verdicts: list[Verdict]) -> None:
    """Put what became of the mutants of `module` into the page, between its marks."""
    reasons = _reasons()
    survivors = [verdict.mutant.key for verdict in verdicts if verdict.has_survived]
    lines = [f"`{module}`: {len(verdicts)} mutants, {len(verdicts) - len(survivors)} killed, {len(survivors)} survive."]
    if survivors:
        lines += ["", "| Survivor | Why no test can notice |", "|---|---|"]
    for key in survivors:
        change = key.replace("|", "\\|")
        lines.append(f"| `{change}` | {reasons[module, key]} |")
    begin, end = f"<!-- begin {module} -->", f"<!-- end {module} -->"
    text = PAGE.read_text(encoding="utf-8")
    if begin not in text:
        text = text.replace(LAST, f"{begin}\n{end}\n\n{LAST}")
    head, rest = text.split(begin)
    PAGE.write_text("\n".join([head + begin, "", *lines, "", end + rest.split(end)[1]]), encoding="utf-8")


if __name__ == "__main__":
    raise SystemExit(main())
