"""The public door: every name opens, and opening the door alone costs and touches nothing."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module
from pkgutil import iter_modules

import pytest

import omninode
from omninode import resilience

pytestmark = pytest.mark.unit

# Runs in a fresh interpreter, because this one has imported everything.
_PROBE = """
import os, socket, sys

def touched(event, arguments):
    if event.startswith("socket.") or event == "subprocess.Popen":
        raise SystemExit(f"touched: {event}")

class Watched(dict):
    def __getitem__(self, name):
        raise SystemExit(f"read: {name}")
    def get(self, name, default=None):
        raise SystemExit(f"read: {name}")

sys.addaudithook(touched)
os.environ = Watched()
import omninode
dir(omninode)
heavy = {"asyncpg", "aiohttp", "starlette", "uvicorn", "numpy", "typer", "rich", "pydantic", "bm25s", "asyncio"}
print(sorted(heavy & set(sys.modules)))
"""


@pytest.mark.parametrize("name", omninode.__all__)
def test_every_public_name_can_be_imported_and_belongs_here(name: str) -> None:
    found = getattr(omninode, name)
    assert found.__module__.startswith("omninode.")
    assert getattr(import_module(found.__module__), found.__name__) is found


def test_dir_and_star_give_the_public_names() -> None:
    scope: dict[str, object] = {}
    exec("from omninode import *", scope)
    assert set(omninode.__all__) <= set(dir(omninode))
    assert {name: scope[name] for name in omninode.__all__} == {
        name: getattr(omninode, name) for name in omninode.__all__
    }


def test_the_names_are_sorted_and_each_has_a_home() -> None:
    assert omninode.__all__ == sorted(omninode.__all__)
    assert set(omninode.__all__) == set(omninode._HOMES)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no_such_name"):
        omninode.no_such_name  # noqa: B018 - the access is what is tested


def test_the_import_alone_is_light_opens_no_socket_and_reads_no_environment() -> None:
    ended = subprocess.run([sys.executable, "-c", _PROBE], capture_output=True, text=True, check=False, timeout=30)
    assert (ended.stdout.strip(), ended.stderr, ended.returncode) == ("[]", "", 0)


@pytest.mark.parametrize("part", ["InputValidator", "PerformanceOptimizer", "call_with_breaker"])
def test_using_one_part_does_not_load_the_web_and_the_command_line(part: str) -> None:
    probe = (
        f"import sys, omninode; omninode.{part}; print(sorted({{'starlette', 'typer', 'uvicorn'}} & set(sys.modules)))"
    )
    ended = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True, timeout=30)
    assert ended.stdout.strip() == "[]"


@pytest.mark.parametrize("name", resilience.__all__)
def test_every_name_of_the_resilience_room_can_be_imported_from_it(name: str) -> None:
    found = getattr(resilience, name)
    assert getattr(import_module(found.__module__), found.__name__) is found
    assert found.__module__ == f"omninode.resilience.{resilience._HOMES.get(name, 'classify')}"


def test_no_lazy_name_is_also_that_of_a_module() -> None:
    """The module, once it is imported, would take the place of the name."""
    for package in (omninode, resilience):
        modules = {entry.name for entry in iter_modules(package.__path__)}
        assert not modules & set(package._HOMES)


# Runs in a fresh interpreter, as above.
_POLICY_PROBE = """
import sys
from omninode.resilience import BudgetConfig, CircuitBreakerConfig, Policy, RetryConfig
Policy("p", deadline_s=1.0, retry=RetryConfig(budget=BudgetConfig()), breaker=CircuitBreakerConfig())
rare = ("blocking", "chaos", "hedge", "limiter", "parking", "peers", "rates", "registry", "state", "streaming")
found = [name for name in rare if f"omninode.resilience.{name}" in sys.modules]
print(found, [name for name in ("email.utils", "aiohttp", "asyncpg", "pydantic") if name in sys.modules])
"""


def test_a_policy_loads_what_it_is_made_of_and_no_more() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", _POLICY_PROBE], capture_output=True, text=True, check=True, timeout=30
    )
    assert ended.stdout.strip() == "[] []"
