"""What a simulated model says: its part when the product asks for one, a labelled summary in an ordinary chat."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from random import Random
from typing import Any

import orjson

from omninode.simulation.planner import plan
from omninode.simulation.profile import ModelProfile
from omninode.simulation.protocol import Assignment, assignment, message_text
from omninode.simulation.reading import terms
from omninode.simulation.voter import judge
from omninode.simulation.worker import work

__all__ = ["answer_text", "prose"]

_QUOTE_CHARS = 400


def answer_text(
    profile: ModelProfile, messages: Sequence[Mapping[str, Any]], *, random: Random, wants_json: bool = False
) -> str:
    """The answer to a chat; JSON for planner and voter, and for an ordinary chat that asks for a JSON object."""
    part = assignment(messages)
    if part is None:
        return _chat(profile.name, messages, wants_json=wants_json)
    if part.role == "worker":
        return work(part.data, model=profile.name, quality=profile.quality, random=random)
    return orjson.dumps(_structured(profile, part, random)).decode()


def prose(profile: ModelProfile) -> str:
    """What a model says that was asked for JSON and does not listen."""
    return f"SIMULATED: certainly! Here is what I, {profile.name}, think of it: it looks fine to me, mostly."


def _structured(profile: ModelProfile, part: Assignment, random: Random) -> dict[str, Any]:
    if part.role == "planner":
        return plan(part.data, quality=profile.quality, random=random)
    return judge(part.data, quality=profile.quality, random=random)


def _chat(model: str, messages: Sequence[Mapping[str, Any]], *, wants_json: bool) -> str:
    users = [message_text(message) for message in messages if message.get("role") == "user"]
    said = " ".join((users[-1] if users else "").split())
    topics = [word for word, _ in Counter(terms(said)).most_common(6)]
    quoted = said if len(said) <= _QUOTE_CHARS else said[:_QUOTE_CHARS] + "…"
    if wants_json:
        return orjson.dumps({"simulated": True, "model": model, "you_said": quoted, "topics": topics}).decode()
    about = f" It is about: {', '.join(topics)}." if topics else ""
    return (
        f"SIMULATED answer by {model}. You sent {len(messages)} messages; the last one of yours has"
        f' {len(said.split())} words: "{quoted}".{about} No real model has read it.'
    )
