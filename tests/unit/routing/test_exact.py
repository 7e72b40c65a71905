"""The exact cache."""

from __future__ import annotations

from uuid import uuid4

import pytest

from omninode.core.errors import InvalidArgumentError
from omninode.providers.messages import ChatRequest, Message
from omninode.routing.cache.exact import CacheStatistics, ExactCache, exact_key
from omninode.testing.clock import FakeClock

pytestmark = pytest.mark.unit


def test_a_value_is_served_until_it_is_too_old():
    clock = FakeClock()
    cache = ExactCache(10, 5.0, clock)
    cache.put("k", "v")
    clock.advance(4.9)
    assert cache.get("k") == "v"
    clock.advance(0.1)
    assert cache.get("k") is None
    assert cache.statistics() == CacheStatistics(
        entries=0, size_bytes=0, hits=1, misses=1, expired=1, evicted=0, refused=0
    )


def test_when_full_the_one_unused_for_longest_makes_room():
    cache = ExactCache(2, 60.0, FakeClock())
    cache.put("a", 1)
    cache.put("b", 2)
    assert cache.get("a") == 1
    cache.put("c", 3)
    assert (cache.get("a"), cache.get("b"), cache.get("c")) == (1, None, 3)
    assert cache.statistics().evicted == 1


def test_bytes_are_bounded_too():
    cache = ExactCache(100, 60.0, FakeClock(), max_bytes=10, size_of=len)
    for key in "abc":
        cache.put(key, key * 4)
    assert [cache.get(key) for key in "abc"] == [None, "bbbb", "cccc"]
    cache.put("b", "b" * 11)
    assert cache.get("b") is None
    assert (cache.statistics().size_bytes, cache.statistics().refused) == (4, 1)


def test_a_value_put_again_replaces_the_first():
    cache = ExactCache(10, 60.0, FakeClock(), max_bytes=10, size_of=len)
    cache.put("k", "12345")
    cache.put("k", "123")
    assert (cache.get("k"), cache.statistics().size_bytes, cache.statistics().evicted) == ("123", 3, 0)


def test_discard_and_clear_forget():
    cache = ExactCache(10, 60.0, FakeClock(), size_of=len)
    cache.put("a", "x")
    cache.put("b", "x")
    cache.discard("a")
    cache.discard("a")
    assert (cache.get("a"), cache.get("b")) == (None, "x")
    cache.clear()
    assert (cache.get("b"), cache.statistics().size_bytes) == (None, 0)


@pytest.mark.parametrize("bad", [(0, 1.0), (1, 0.0), (1, float("nan"))])
def test_a_cache_of_nothing_is_refused(bad):
    with pytest.raises(InvalidArgumentError):
        ExactCache(*bad)


def test_equal_questions_have_one_key():
    assert exact_key({"a": 1, "b": {2, 1}}) == exact_key({"b": {1, 2}, "a": 1})
    ask = ChatRequest(messages=(Message(role="user", content="x"),))
    assert exact_key(ask) == exact_key(ChatRequest(messages=(Message(role="user", content="x"),)))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (("ab", "c"), ("a", "bc")),
        (("a",), ("a", None)),
        ((1,), ("1",)),
        (({"a": None},), ({},)),
        (("\ud800",), ("\ud801",)),
    ],
)
def test_different_questions_have_different_keys(one, other):
    assert exact_key(*one) != exact_key(*other)


def test_every_field_of_a_request_is_in_its_key():
    message = Message(role="user", content="x")
    fields = {"temperature": 0.5, "max_tokens": 5, "json": True, "stop": ("x",), "seed": 1}
    keys = {exact_key(ChatRequest(messages=(message,), **{name: value})) for name, value in fields.items()}
    keys.add(exact_key(ChatRequest(messages=(message,))))
    keys.add(exact_key(ChatRequest(messages=(Message(role="system", content="x"),))))
    assert len(keys) == 7


def test_a_part_without_a_json_form_is_refused():
    assert exact_key(uuid4())
    with pytest.raises(InvalidArgumentError, match="no JSON form"):
        exact_key(object())
