"""A chat request as it came in: read within limits, checked, refused as OpenAI refuses."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from starlette.requests import Request

from omninode.simulation.wire import error_body

__all__ = ["ChatCall", "Refusal", "parse_chat", "read_body"]

_MAX_BODY_BYTES = 16 * 1024 * 1024
_INVALID = "invalid_request_error"


class Refusal(Exception):  # noqa: N818 - an answer to send, which never leaves this room
    """A request that is answered with an error; `status` and `body` are that answer."""

    def __init__(self, status: int, body: bytes) -> None:
        super().__init__(status)
        self.status = status
        self.body = body


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatCall:
    """The parts of a chat request that the simulator heeds."""

    model: str
    # Any: messages are the client's JSON; their readers check what they take out.
    messages: Sequence[Mapping[str, Any]]
    stream: bool = False
    with_usage: bool = False
    wants_json: bool = False
    max_tokens: int | None = None
    temperature: float = 1.0


async def read_body(request: Request) -> bytes:
    """The whole body; raises Refusal (413) above 16 MiB."""
    pieces, size = [], 0
    async for piece in request.stream():
        size += len(piece)
        if size > _MAX_BODY_BYTES:
            raise Refusal(413, error_body("the request is larger than 16 MiB", kind=_INVALID))
        pieces.append(piece)
    return b"".join(pieces)


def parse_chat(body: bytes, *, models: Collection[str]) -> ChatCall:
    """The call in `body`; raises Refusal 400 for what is no chat request, 404 for a model that is not here."""
    try:
        data = orjson.loads(body)
    except ValueError as error:
        raise Refusal(400, error_body(f"the body is not JSON: {error}", kind=_INVALID)) from error
    messages = data.get("messages") if isinstance(data, dict) else None
    if not isinstance(messages, list) or not messages or not all(isinstance(item, dict) for item in messages):
        raise Refusal(400, error_body("'messages' must be a non-empty list of objects", kind=_INVALID))
    model = data.get("model")
    if not isinstance(model, str) or model not in models:
        text = f"the model {model!r} does not exist; there are {', '.join(models)}"
        raise Refusal(404, error_body(text, kind=_INVALID, code="model_not_found"))
    options, shape = data.get("stream_options"), data.get("response_format")
    limit = data.get("max_completion_tokens") or data.get("max_tokens")
    temperature = data.get("temperature")
    return ChatCall(
        model=model,
        messages=messages,
        stream=bool(data.get("stream")),
        with_usage=isinstance(options, dict) and bool(options.get("include_usage")),
        wants_json=isinstance(shape, dict) and str(shape.get("type", "")).startswith("json"),
        max_tokens=limit if isinstance(limit, int) and limit > 0 else None,
        temperature=temperature if isinstance(temperature, int | float) else 1.0,
    )
