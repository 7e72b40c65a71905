"""What code without a runtime is given."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest

from omninode.core import ambient, current

pytestmark = pytest.mark.unit


async def test_the_runtime_of_the_scope_comes_first_and_nothing_is_opened():
    inside = SimpleNamespace()
    before = asyncio.all_tasks()
    with current.entered(runtime=inside):
        assert await ambient.runtime() is inside
        assert ambient.find() is inside
    assert asyncio.all_tasks() == before


async def test_looking_opens_nothing():
    assert ambient.find() is None


async def test_a_shutdown_of_nothing_is_harmless():
    await ambient.shutdown()


def test_outside_of_any_loop_there_is_none():
    assert ambient.find() is None
