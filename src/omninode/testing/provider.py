"""A provider that plays a script: for tests of whatever calls models."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from omninode.core.clock import Clock, SystemClock
from omninode.core.errors import InvalidArgumentError
from omninode.core.usage import Usage
from omninode.providers import tokens
from omninode.providers.messages import ChatAnswer, ChatRequest, FinishReason

__all__ = ["Scripted", "ScriptedProvider"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scripted:
    """One step of a script: after `delay_s` on the provider's clock, `text`, or `error` raised in its place."""

    text: str = ""
    error: Exception | None = None
    delay_s: float = 0.0
    finish_reason: FinishReason = "stop"
    usage: Usage | None = None


class ScriptedProvider:
    """Answers call after call from `script`; the last step is repeated for ever. See `Provider`.

    A step may be a text or an exception for short. `requests` keeps what was asked, `running` counts the calls under
    way and `most_running` the most there ever were at once.
    """

    def __init__(
        self,
        script: Iterable[Scripted | str | Exception],
        *,
        name: str = "scripted",
        models: tuple[str, ...] = ("scripted",),
        clock: Clock | None = None,
    ) -> None:
        self._steps = deque(_step(entry) for entry in script)
        if not self._steps:
            raise InvalidArgumentError("an empty script; give at least one step")
        self._name = name
        self._models = models
        self._clock = clock or SystemClock()
        self.requests: list[tuple[str, ChatRequest]] = []
        self.running = 0
        self.most_running = 0
        self.is_closed = False

    @property
    def name(self) -> str:
        """See `Provider.name`."""
        return self._name

    async def complete(self, request: ChatRequest, *, model: str) -> ChatAnswer:
        """Play the next step."""
        step = self._steps.popleft() if len(self._steps) > 1 else self._steps[0]
        self.requests.append((model, request))
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        started = self._clock.monotonic()
        try:
            if step.delay_s:
                await self._clock.sleep(step.delay_s)
        finally:
            self.running -= 1
        if step.error is not None:
            raise step.error
        return ChatAnswer(
            text=step.text,
            model=model,
            finish_reason=step.finish_reason,
            usage=step.usage or tokens.estimated(request.messages, step.text),
            duration_s=self._clock.monotonic() - started,
        )

    def stream(self, request: ChatRequest, *, model: str) -> ScriptedStream:
        """The next step, word by word."""
        return ScriptedStream(self, request, model=model)

    async def models(self) -> tuple[str, ...]:
        """The models it was made with."""
        return self._models

    async def close(self) -> None:
        """Note that it was closed."""
        self.is_closed = True


class ScriptedStream:
    """A scripted answer, word by word; see `AnswerStream`."""

    def __init__(self, provider: ScriptedProvider, request: ChatRequest, *, model: str) -> None:
        self._provider = provider
        self._request = request
        self._model = model
        self._words: deque[str] = deque()
        self._whole: ChatAnswer | None = None
        self._answer: ChatAnswer | None = None

    @property
    def answer(self) -> ChatAnswer | None:
        """See `AnswerStream.answer`."""
        return self._answer

    async def __aenter__(self) -> Self:
        self._whole = await self._provider.complete(self._request, model=self._model)
        *words, last = self._whole.text.split(" ")
        self._words.extend([*(f"{word} " for word in words), last])
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._words.clear()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> str:
        if self._words:
            return self._words.popleft()
        self._answer = self._whole
        raise StopAsyncIteration


def _step(entry: Scripted | str | Exception) -> Scripted:
    if isinstance(entry, Scripted):
        return entry
    return Scripted(error=entry) if isinstance(entry, Exception) else Scripted(text=entry)
