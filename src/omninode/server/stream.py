"""The server-sent event stream: one per tab, all topics, at most four messages a second."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import asdict

import orjson
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse

from omninode.core.clock import Clock, SystemClock
from omninode.server.live import LiveFeed

__all__ = ["stream"]

_INTERVAL_S = 0.25
_HEARTBEAT_S = 5.0
_MAX_VIEWERS = 64
_HEADERS = {"cache-control": "no-store", "x-accel-buffering": "no"}


async def stream(request: Request) -> Response:
    """`GET /live`: resumes after `Last-Event-ID` where the ring still reaches back that far."""
    feed: LiveFeed = request.app.state.feed
    if feed.viewers >= _MAX_VIEWERS:
        message = f"{_MAX_VIEWERS} live streams are open already; close a tab.\n"
        return PlainTextResponse(message, status_code=503, headers={"retry-after": "30"})
    messages = _messages(feed, request.headers.get("last-event-id"), clock=SystemClock())
    return StreamingResponse(messages, media_type="text/event-stream", headers=_HEADERS)


async def _messages(feed: LiveFeed, last_event_id: str | None, *, clock: Clock) -> AsyncIterator[bytes]:
    feed.viewers += 1
    try:
        cursor = feed.start(last_event_id)
        yield b"retry: 2000\n\n"
        while not feed.is_closed:
            entries, cursor, missed = feed.since(cursor)
            body = {"entries": entries, "missed": missed, "pulse": asdict(feed.pulse())}
            yield b"id: %s.%d\nevent: live\ndata: %s\n\n" % (feed.boot.encode(), cursor, orjson.dumps(body))
            # The pause after a message is what makes four a second of however many events.
            await clock.sleep(_INTERVAL_S)
            await feed.changed(cursor, timeout_s=_HEARTBEAT_S)
    finally:
        feed.viewers -= 1
