"""The simulator's web application: chat completions, models, health, and the switch for faults."""

from __future__ import annotations

import asyncio
import hmac
import math
from collections.abc import Mapping, Sequence
from typing import Any

import orjson
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from omninode.core.clock import Clock, SystemClock
from omninode.core.concurrency import race
from omninode.core.errors import InvalidArgumentError
from omninode.simulation.answer import answer_text, prose
from omninode.simulation.fate import Fate, Fates, SimulationStatistics
from omninode.simulation.faults import FaultBook
from omninode.simulation.profile import Faults, ModelProfile
from omninode.simulation.protocol import message_text
from omninode.simulation.request import ChatCall, Refusal, parse_chat, read_body
from omninode.simulation.responses import Cut, Streamed, json_response
from omninode.simulation.wire import Completion, error_body, estimate_tokens

__all__ = ["Simulation"]

# The share of a call's latency that passes before the first token of a stream.
_FIRST_TOKEN_SHARE = 0.3
_CHUNK_CHARS = 24
_MAX_CHUNKS = 40


class Simulation:
    """The models behind the HTTP server. Everything in it runs on one event loop."""

    def __init__(
        self,
        profiles: Sequence[ModelProfile],
        *,
        seed: int = 0,
        latency_scale: float = 1.0,
        api_key: str | None = None,
        clock: Clock | None = None,
    ) -> None:
        if not profiles:
            raise InvalidArgumentError("a simulation needs at least one model profile")
        self.profiles = {profile.name: profile for profile in profiles}
        if len(self.profiles) < len(profiles):
            raise InvalidArgumentError("two model profiles have the same name")
        if not (math.isfinite(latency_scale) and latency_scale >= 0):
            raise InvalidArgumentError(f"latency_scale is {latency_scale}; use 0 (no latency) or more")
        self.book = FaultBook({profile.name: profile.faults for profile in profiles})
        self._fates = Fates(profiles, book=self.book, seed=seed, latency_scale=latency_scale)
        self._api_key = api_key
        self._clock = clock or SystemClock()
        self._closing = asyncio.Event()

    def application(self) -> Starlette:
        """The ASGI application; both `/v1/…` and the bare paths are served."""
        routes = [Route("/health", self._health), Route("/simulate/faults", self._script, methods=["POST"])]
        for prefix in ("/v1", ""):
            routes.append(Route(f"{prefix}/chat/completions", self._chat, methods=["POST"]))
            routes.append(Route(f"{prefix}/models", self._models))
        return Starlette(routes=routes)

    def statistics(self) -> SimulationStatistics:
        """Calls per model and kinds of fate so far."""
        return self._fates.statistics()

    def close(self) -> None:
        """Let every waiting answer go, so that the server can stop at once."""
        self._closing.set()

    async def _health(self, _request: Request) -> Response:
        calls = self.statistics().calls
        return json_response(orjson.dumps({"status": "ok", "label": "SIMULATED", "calls": calls}))

    async def _models(self, request: Request) -> Response:
        if refused := self._unauthorized(request):
            return refused
        listed = [{"id": name, "object": "model", "created": 0, "owned_by": "SIMULATED"} for name in self.profiles]
        return json_response(orjson.dumps({"object": "list", "data": listed}))

    async def _script(self, request: Request) -> Response:
        try:
            data = orjson.loads(await read_body(request))
            self._apply(data)
        except Refusal as refusal:
            return json_response(refusal.body, status=refusal.status)
        except (InvalidArgumentError, TypeError, ValueError, AttributeError) as error:
            return json_response(error_body(str(error), kind="invalid_request_error"), status=400)
        return json_response(orjson.dumps({"label": "SIMULATED", "applied": data}))

    # Any: JSON of the caller; what does not fit raises and is answered with 400.
    def _apply(self, data: Mapping[str, Any]) -> None:
        model, script = data.get("model"), data.get("script") or ()
        faults = Faults(**data["faults"]) if data.get("faults") is not None else None
        if model is not None and model not in self.profiles:
            raise InvalidArgumentError(f"no simulated model {model!r}; one of {', '.join(self.profiles)}")
        if model is None and (script or faults is not None or not data.get("clear")):
            raise InvalidArgumentError("name a model, or pass clear alone")
        if data.get("clear"):
            self.book.clear(model)
        if faults is not None:
            self.book.set(str(model), faults)
        if script:
            self.book.script(str(model), script)

    async def _chat(self, request: Request) -> Response:
        started = self._clock.monotonic()
        if refused := self._unauthorized(request):
            return refused
        try:
            body = await read_body(request)
            call = parse_chat(body, models=self.profiles)
        except Refusal as refusal:
            return json_response(refusal.body, status=refusal.status)
        fate = self._fates.draw(call.model, body, is_repeatable=call.temperature == 0)
        if (instead := await self._failure(call.model, fate, request)) is not None:
            return instead
        completion = self._completion(call, fate)
        left_s = max(0.0, fate.latency_s - (self._clock.monotonic() - started))
        if call.stream:
            return self._streamed(completion, call=call, fate=fate, left_s=left_s, request=request)
        await self._pause(request, left_s)
        return _whole(completion, fate)

    def _unauthorized(self, request: Request) -> Response | None:
        given = request.headers.get("authorization", "").removeprefix("Bearer ")
        if self._api_key is None or hmac.compare_digest(given.encode(), self._api_key.encode()):
            return None
        body = error_body("incorrect API key provided", kind="invalid_request_error", code="invalid_api_key")
        return json_response(body, status=401)

    async def _failure(self, model: str, fate: Fate, request: Request) -> Response | None:
        """The answer that takes the place of a completion; None when there is one after all."""
        faults = self.book.of(model)
        if fate.fault.kind == "error":
            return json_response(error_body("scripted failure", kind="server_error"), status=faults.error_status)
        if fate.fault.kind == "throttle":
            body = error_body("scripted rate limit", kind="rate_limit_error", code="rate_limit_exceeded")
            return json_response(body, status=429, headers={"retry-after": f"{faults.retry_after_s:g}"})
        if fate.fault.kind == "hang":
            await self._pause(request, math.inf)
            return json_response(error_body("the simulator closes", kind="server_error"), status=503)
        return None

    def _completion(self, call: ChatCall, fate: Fate) -> Completion:
        profile = self.profiles[call.model]
        if fate.fault.kind == "prose":
            text = prose(profile)
        else:
            text = answer_text(profile, call.messages, random=fate.noise, wants_json=call.wants_json)
        reason = "stop"
        if call.max_tokens is not None and estimate_tokens(text) > call.max_tokens:
            text, reason = text[: call.max_tokens * 4], "length"
        return Completion(
            id=f"chatcmpl-sim-{fate.token}",
            created=int(self._clock.now().timestamp()),
            model=call.model,
            text=text,
            finish_reason=reason,
            prompt_tokens=sum(estimate_tokens(message_text(message)) for message in call.messages),
        )

    def _streamed(
        self, completion: Completion, *, call: ChatCall, fate: Fate, left_s: float, request: Request
    ) -> Response:
        size = max(_CHUNK_CHARS, math.ceil(len(completion.text) / _MAX_CHUNKS))
        events = list(completion.chunks(size=size, with_usage=call.with_usage))
        if fate.fault.kind == "malformed":
            middle = len(events) // 2
            events[middle] = events[middle].rstrip()[:-9] + b"\n\n"
        first_s = left_s * _FIRST_TOKEN_SHARE
        return Streamed(
            events,
            first_s=first_s,
            gap_s=(left_s - first_s) / max(1, len(events) - 1),
            pause=lambda seconds: self._pause(request, seconds),
            is_cut=fate.fault.kind == "cut",
        )

    async def _pause(self, request: Request, seconds: float) -> bool:
        """Wait; False, at once, when the client leaves or the simulator closes."""
        if self._closing.is_set():
            return False
        if seconds <= 0:
            return True
        return await race([lambda: self._passed(seconds), self._closed, lambda: _departed(request)])

    async def _passed(self, seconds: float) -> bool:
        if math.isinf(seconds):
            await self._closing.wait()
            return False
        await self._clock.sleep(seconds)
        return True

    async def _closed(self) -> bool:
        await self._closing.wait()
        return False


async def _departed(request: Request) -> bool:
    while (await request.receive())["type"] != "http.disconnect":
        pass
    return False


def _whole(completion: Completion, fate: Fate) -> Response:
    body = completion.body()
    if fate.fault.kind == "cut":
        return Cut(body, 200, media_type="application/json")
    if fate.fault.kind == "malformed":
        return json_response(body[: len(body) // 2])
    return json_response(body)
