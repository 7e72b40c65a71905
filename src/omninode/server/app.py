"""The application: which URL shows what, and what happens when the database is away.

Every page is one loader; `?format=json` and `/api/…` answer with the very values that the HTML is drawn from.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlencode

import orjson
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from omninode.core.clock import Clock, SystemClock
from omninode.core.concurrency import cancel_and_wait
from omninode.core.deadline import DEADLINE_HEADER, Deadline, within
from omninode.core.errors import (
    DatabaseUnavailableError,
    DeadlineExceededError,
    InvalidArgumentError,
    OmniNodeError,
    PoolExhaustedError,
)
from omninode.core.events import EventSink
from omninode.server.access import Access, Guard
from omninode.server.exposition import exposition
from omninode.server.live import LiveFeed
from omninode.server.node import Node
from omninode.server.pages import agents, cost, errors, now, reliability, runs, settings, trends
from omninode.server.pages.question import NotFoundError, Panel, Question
from omninode.server.panels import PanelCache
from omninode.server.render import Renderer, static_directory
from omninode.server.stream import stream
from omninode.server.tail import Tail
from omninode.server.window import RANGES, Window

__all__ = ["create_app"]

_log = logging.getLogger(__name__)
_PATIENCE_S = 10.0

Loader = Callable[[Question], Awaitable[Panel]]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Page:
    """One page: `name` is its template, `section` the entry of the navigation that is marked."""

    path: str
    name: str
    title: str
    section: str
    load: Loader
    has_range: bool = True


_PAGES: Final = (
    _Page(path="/", name="now", title="Now", section="/", load=now.load),
    _Page(path="/runs", name="runs", title="Runs", section="/runs", load=runs.load, has_range=False),
    _Page(path="/runs/{run_id}", name="run", title="Run", section="/runs", load=runs.load_one, has_range=False),
    _Page(path="/agents", name="agents", title="Agents", section="/agents", load=agents.load),
    _Page(path="/reliability", name="reliability", title="Reliability", section="/reliability", load=reliability.load),
    _Page(path="/errors", name="errors", title="Errors", section="/errors", load=errors.load),
    _Page(
        path="/errors/{fingerprint}",
        name="error",
        title="Error",
        section="/errors",
        load=errors.load_one,
        has_range=False,
    ),
    _Page(path="/trends", name="trends", title="Trends", section="/trends", load=trends.load),
    _Page(path="/cost", name="cost", title="Cost", section="/cost", load=cost.load),
    _Page(
        path="/settings", name="settings", title="Settings", section="/settings", load=settings.load, has_range=False
    ),
)


def create_app(
    node: Node, *, access: Access | None = None, clock: Clock | None = None, sink: EventSink | None = None
) -> Starlette:
    """The dashboard, the JSON API and the live stream of `node`, as an ASGI application.

    `sink` is told who uses the server's key.
    """
    ticking = clock or SystemClock()
    feed = LiveFeed(clock=ticking)
    tail = Tail(node.database, feed, clock=ticking) if node.database is not None else None

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        subscription = node.bus.subscribe(feed.consume, name="live feed")
        following = [asyncio.create_task(tail.run(), name="omninode-live-tail")] if tail else []
        try:
            yield
        finally:
            feed.close()
            subscription.cancel()
            await cancel_and_wait(following)

    desk = _Desk(node=node, feed=feed, tail=tail, clock=ticking)
    app = Starlette(
        routes=_routes(desk),
        middleware=[
            Middleware(Guard, access=access or Access(), sink=sink, clock=ticking),
            Middleware(GZipMiddleware, minimum_size=1024),
        ],
        exception_handlers={HTTPException: desk.refused, Exception: desk.failed},
        lifespan=lifespan,
    )
    app.state.feed = feed
    return app


def _routes(desk: _Desk) -> list[Route | Mount]:
    routes: list[Route | Mount] = []
    for page in _PAGES:
        routes.append(Route(page.path, desk.html(page)))
        routes.append(Route("/api/now" if page.path == "/" else f"/api{page.path}", desk.json(page.load)))
    routes += [
        Route("/api/runs/{run_id}/timeline", desk.json(runs.load_timeline)),
        Route("/health", desk.health),
        Route("/metrics", desk.metrics),
        Route("/live", stream),
        Mount("/static", _Files(directory=static_directory())),
    ]
    return routes


class _Files(StaticFiles):
    """Static files: for ever when the URL carries the hash, otherwise asked for again each time (by ETag)."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        response = await super().get_response(path, scope)
        is_hashed = b"v=" in scope["query_string"]
        response.headers["cache-control"] = "public, max-age=31536000, immutable" if is_hashed else "no-cache"
        return response


class _Desk:
    """Answers requests: asks a loader, and writes what it says as HTML or JSON."""

    def __init__(self, *, node: Node, feed: LiveFeed, tail: Tail | None, clock: Clock) -> None:
        self._node = node
        self._feed = feed
        self._tail = tail
        self._clock = clock
        self._started = clock.monotonic()
        self._renderer = Renderer()
        self._panels = PanelCache(clock=clock)

    def html(self, page: _Page) -> Callable[[Request], Awaitable[Response]]:
        """The endpoint of a page."""

        async def endpoint(request: Request) -> Response:
            if request.query_params.get("format") == "json":
                return await self._as_json(page.load, request)
            question = self._question(request)
            trouble, panel = None, None
            try:
                panel = await self._ask(page.load, question, self._deadline(request))
            except NotFoundError as error:
                return self._message(request, status=404, title="Not found", text=str(error))
            except (OmniNodeError, OSError) as error:
                trouble = (_verdict(error), _reason(error))
            text = self._renderer.page(
                f"{page.name}.html", page=page, panel=panel, trouble=trouble, **self._frame(question, request)
            )
            return Response(text, media_type="text/html", headers={"cache-control": "no-store"})

        return endpoint

    def json(self, load: Loader) -> Callable[[Request], Awaitable[Response]]:
        """The JSON endpoint behind a page."""

        async def endpoint(request: Request) -> Response:
            return await self._as_json(load, request)

        return endpoint

    async def health(self, _: Request) -> Response:
        """`/health`: 200 while the process serves; `status` says whether the database answers too."""
        trouble = await self._database_trouble()
        body = {
            "status": "degraded" if trouble else "ok",
            "database": trouble or "ok",
            "version": self._node.version,
            "is_simulated": self._node.is_simulated,
            "uptime_s": round(self._clock.monotonic() - self._started, 1),
        }
        return _json_response(body)

    async def metrics(self, _: Request) -> Response:
        """`/metrics` for Prometheus."""
        return Response(exposition(self._node, self._feed), media_type="text/plain; version=0.0.4; charset=utf-8")

    async def refused(self, request: Request, error: Exception) -> Response:
        """A URL that is not there, in words."""
        assert isinstance(error, HTTPException)
        return self._message(
            request, status=error.status_code, title=error.detail, text=f"{request.url.path}: {error.detail}"
        )

    async def failed(self, request: Request, error: Exception) -> Response:
        """The border for our own mistakes: logged, and said without the inside."""
        _log.error("request for %s failed", request.url.path, exc_info=error)
        return PlainTextResponse("Something went wrong on our side; the log has the details.\n", status_code=500)

    async def _as_json(self, load: Loader, request: Request) -> Response:
        question, deadline = self._question(request), self._deadline(request)
        head = {"window": question.window.as_json(), "at": question.now, "is_simulated": self._node.is_simulated}
        try:
            return _json_response({**head, **await self._ask(load, question, deadline)})
        except NotFoundError as error:
            return _json_response({**head, "error": str(error)}, status=404)
        except (OmniNodeError, OSError) as error:
            return _json_response({**head, "error": _reason(error), "live": self._feed.recent(50)}, status=503)

    def _deadline(self, request: Request) -> Deadline:
        """Until when the answer is worth giving: the caller may say so, and can only shorten our own patience."""
        own = Deadline.after(_PATIENCE_S, clock=self._clock)
        asked = request.headers.get(DEADLINE_HEADER)
        try:
            return own if asked is None else own.narrowed(Deadline.from_header(asked, clock=self._clock))
        except InvalidArgumentError as error:
            raise HTTPException(400, error.message) from error

    async def _ask(self, load: Loader, question: Question, deadline: Deadline) -> Panel:
        key = (load, question.window.key, tuple(question.path.items()), tuple(question.query.items()))
        async with within(deadline, doing="reading the page's numbers"):
            return await self._panels.get(key, lambda: load(question))

    async def _database_trouble(self) -> str | None:
        if self._node.database is None:
            return "none: this node runs without a database"
        try:
            async with within(Deadline.after(2.0, clock=self._clock), doing="asking the database"):
                await self._node.database.ping()
        except (OmniNodeError, OSError) as error:
            return _reason(error)
        return None

    def _question(self, request: Request) -> Question:
        moment = self._clock.now()
        known = {name: value for name, value in request.query_params.items() if name in {"status", "after"}}
        return Question(
            node=self._node,
            feed=self._feed,
            window=Window.parse(request.query_params.get("range"), now=moment),
            now=moment,
            path=dict(request.path_params),
            query=known,
        )

    def _frame(self, question: Question, request: Request) -> Mapping[str, Any]:  # Any: what base.html names
        kept = {name: value for name, value in question.query.items() if name != "after"}
        return {
            "node": self._node,
            "window": question.window,
            "now": question.now,
            "ranges": [(key, label, urlencode({**kept, "range": key})) for key, (label, _, _) in RANGES.items()],
            "json_url": "?" + urlencode({**dict(request.query_params), "format": "json"}),
            "live": self._feed.recent(40),
        }

    def _message(self, request: Request, *, status: int, title: str, text: str) -> Response:
        if request.url.path.startswith("/api/"):
            return _json_response({"error": text}, status=status)
        page = _Page(path="", name="message", title=title, section="", load=now.load, has_range=False)
        frame = self._frame(self._question(request), request)
        body = self._renderer.page("message.html", page=page, panel=None, trouble=None, text=text, **frame)
        return Response(body, status_code=status, media_type="text/html", headers={"cache-control": "no-store"})


def _reason(error: Exception) -> str:
    text = error.message if isinstance(error, OmniNodeError) else str(error)
    return text or type(error).__name__


def _verdict(error: Exception) -> str:
    away = isinstance(error, DatabaseUnavailableError | PoolExhaustedError | DeadlineExceededError | OSError)
    return "The database does not answer." if away else "The stored numbers could not be read."


def _json_response(body: Mapping[str, object], *, status: int = 200) -> Response:
    content = orjson.dumps(body, default=str, option=orjson.OPT_INDENT_2 | orjson.OPT_NON_STR_KEYS)
    return Response(content, status_code=status, media_type="application/json", headers={"cache-control": "no-store"})
