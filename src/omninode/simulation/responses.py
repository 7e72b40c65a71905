"""Answers as they go over the wire, whole, slowly, in pieces, or broken on purpose."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

__all__ = ["LABEL_HEADERS", "Cut", "Streamed", "json_response"]

LABEL_HEADERS = {"x-omninode-simulated": "SIMULATED"}

# Waits that many seconds; False when the client has left or the simulator closes.
Pause = Callable[[float], Awaitable[bool]]


def json_response(body: bytes, *, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """A JSON body that says it is SIMULATED."""
    return Response(body, status, headers={**LABEL_HEADERS, **(headers or {})}, media_type="application/json")


class Cut(Response):
    """Promises the whole body, sends half of it, and ends; the server then closes the connection."""

    async def __call__(self, _scope: Scope, _receive: Receive, send: Send) -> None:
        """See ASGI."""
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        half = bytes(self.body)[: len(self.body) // 2]
        await send({"type": "http.response.body", "body": half, "more_body": True})


class Streamed(Response):
    """Server-sent events with a wait before the first and a gap before each of the others.

    With `is_cut` it ends after half of them, without an end marker; the server then closes the connection.
    """

    media_type = "text/event-stream"

    def __init__(
        self, events: Sequence[bytes], *, first_s: float, gap_s: float, pause: Pause, is_cut: bool = False
    ) -> None:
        super().__init__(None, 200, headers={**LABEL_HEADERS, "cache-control": "no-cache"})
        del self.headers["content-length"]
        self._events = list(events[: max(2, len(events) // 2)] if is_cut else events)
        self._first_s = first_s
        self._gap_s = gap_s
        self._pause = pause
        self._is_cut = is_cut

    async def __call__(self, _scope: Scope, _receive: Receive, send: Send) -> None:
        """See ASGI."""
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        # Without gaps there is nothing to gain from many small writes.
        batches = self._events if self._gap_s > 0 else [b"".join(self._events)]
        for number, batch in enumerate(batches):
            if not await self._pause(self._gap_s if number else self._first_s):
                return
            await send({"type": "http.response.body", "body": batch, "more_body": True})
        if not self._is_cut:
            await send({"type": "http.response.body", "body": b"", "more_body": False})
