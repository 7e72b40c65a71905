"""Peers are optional: what is not installed is named, and what builds on it is left out."""

from __future__ import annotations

import sys

import pytest

from omninode.bench.peers import load_peers

pytestmark = pytest.mark.unit


async def answer() -> int:
    return 7


async def test_a_missing_peer_is_named_and_takes_its_stack_along(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "purgatory", None)
    peers = await load_peers(answer)
    assert "purgatory" in peers.missing
    assert "purgatory" not in peers.calls
    assert "tenacity + purgatory + wait_for" not in peers.stacks


async def test_every_installed_peer_hands_on_the_answer() -> None:
    peers = await load_peers(answer)
    assert len(peers.calls) + len(peers.missing) == 7
    for call in (*peers.calls.values(), *peers.stacks.values()):
        assert await call() == 7
