"""Server-sent events, however they are cut."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from omninode.core.errors import MalformedAnswerError
from omninode.providers.sse import ServerEvent, SseParser

pytestmark = pytest.mark.unit

LINE = st.text(alphabet=st.characters(exclude_characters="\r\n", exclude_categories=["Cs"]), max_size=20)
EVENTS = st.lists(st.lists(LINE, min_size=1, max_size=3), max_size=5)


def parsed(*chunks: bytes, **more) -> list[ServerEvent]:
    parser = SseParser(**more)
    return [event for chunk in chunks for event in parser.feed(chunk)]


def test_every_cut_in_two_gives_the_same_events():
    stream = "\ufeffevent: héllo\r\ndata: ✓ 1\r\ndata: 2\r\n\r\n: keep-alive\n\ndata:3\n\ndata: 🎉\r\r".encode()
    expected = [
        ServerEvent("héllo", "✓ 1\n2".encode()),
        ServerEvent("message", b"3"),
        ServerEvent("message", "🎉".encode()),
    ]
    for cut in range(len(stream) + 1):
        assert parsed(stream[:cut], stream[cut:]) == expected, cut


def test_one_byte_at_a_time_gives_the_same_events():
    stream = b"data: a\r\n\r\ndata: b\n\n"
    assert (
        parsed(*(bytes([byte]) for byte in stream))
        == parsed(stream)
        == [
            ServerEvent("message", b"a"),
            ServerEvent("message", b"b"),
        ]
    )


@settings(max_examples=150, deadline=None)
@given(EVENTS, st.sampled_from(["\n", "\r\n", "\r"]), st.lists(st.integers(1, 7), min_size=1, max_size=40))
def test_what_was_written_is_read_whatever_the_line_end_and_the_cuts(events, end, sizes):
    text = "".join("".join(f"data: {line}{end}" for line in lines) + end for lines in events)
    rest, chunks = text.encode(), []
    for size in sizes:
        chunks.append(rest[:size])
        rest = rest[size:]
    got = parsed(*chunks, rest)
    assert [event.data.decode() for event in got] == ["\n".join(lines) for lines in events]


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=200), st.integers(0, 200))
def test_any_bytes_are_survived_and_a_cut_changes_nothing(data, cut):
    assert parsed(data[:cut], data[cut:]) == parsed(data)


def test_comments_and_events_without_data_yield_nothing():
    assert parsed(b": ping\n\nevent: x\n\nid: 1\nretry: 5\n\n\n\n") == []


def test_a_name_does_not_outlive_its_event():
    assert [event.name for event in parsed(b"event: x\ndata: 1\n\ndata: 2\n\n")] == ["x", "message"]


def test_an_event_without_its_blank_line_is_not_handed_out():
    assert parsed(b"data: whole\n\ndata: half\n") == [ServerEvent("message", b"whole")]


@pytest.mark.parametrize("stream", [b"data: " + b"x" * 200, b"data: 0123456789\n" * 20])
def test_an_endless_event_is_refused(stream):
    with pytest.raises(MalformedAnswerError, match="exceeds 100 bytes"):
        parsed(stream, max_event_bytes=100)
