"""How news of breakers are written down for NOTIFY."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from omninode.resilience.circuit import CircuitState
from omninode.resilience.peers import PeerNews
from omninode.storage.news import decoded, encoded

pytestmark = pytest.mark.unit

SENDER = "00000000-0000-4000-8000-000000000001"

entries = st.builds(
    PeerNews,
    sender=st.just(SENDER),
    name=st.text(max_size=300),
    state=st.sampled_from(CircuitState),
    generation=st.integers(0, 2**62),
    left_s=st.integers(-(10**6), 10**6).map(lambda ms: ms / 1000),
)


@given(st.lists(entries, max_size=60))
def test_what_is_written_is_read_in_payloads_that_postgres_takes(news):
    payloads, untold = encoded(news)
    assert untold == 0
    assert all(len(payload.encode()) < 8000 for payload in payloads)
    assert [entry for payload in payloads for entry in decoded(payload)] == news


def test_few_payloads_carry_many():
    news = [
        PeerNews(sender=SENDER, name=f"gpt-{n}", state=CircuitState.OPEN, generation=7, left_s=0.5) for n in range(500)
    ]
    payloads, _ = encoded(news)
    assert len(payloads) == 2


@pytest.mark.parametrize(("length", "fits"), [(7800, True), (7850, False), (100_000, False)])
def test_a_name_that_fits_into_no_payload_is_counted(length, fits):
    long = PeerNews(sender=SENDER, name="n" * length, state=CircuitState.OPEN, generation=1, left_s=1.0)
    short = PeerNews(sender=SENDER, name="s", state=CircuitState.OPEN, generation=1, left_s=1.0)
    payloads, untold = encoded([short, long, short])
    assert untold == (0 if fits else 1)
    assert all(len(payload) < 8000 for payload in payloads)
    assert [entry for payload in payloads for entry in decoded(payload)] == [short, *[long] * fits, short]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.sampled_from(["open", "closed"]),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=20,
)


@given(st.text(max_size=50) | json_values.map(json.dumps))
def test_whatever_else_is_sent_on_the_channel_is_no_news_and_no_error(payload):
    news = decoded(payload)
    assert news is None or all(isinstance(entry, PeerNews) for entry in news)


@pytest.mark.parametrize(
    "payload",
    [
        "",
        "[]",
        '["a"]',
        '["a",{}]',
        '["a",["gpt"]]',
        '["a",[["gpt","open",1]]]',
        '["a",[["gpt","ajar",1,0]]]',
        '["a",[["gpt","open","1",0]]]',
        '["a",[["gpt","open",1,0.5]]]',
        '[1,[["gpt","open",1,0]]]',
        "[" * 5000,
        '["a",[["gpt","open",1,' + "9" * 5000 + "]]]",
    ],
)
def test_damaged_news_are_none(payload):
    assert decoded(payload) is None


def test_a_break_of_ages_is_cut_to_a_number():
    (entry,) = decoded('["a",[["gpt","open",1,' + "9" * 400 + "]]]")
    assert entry.left_s == pytest.approx(2**31 / 1000)
