"""Listening: one socket, started and stopped by the caller's loop."""

from __future__ import annotations

import asyncio
import errno
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from ipaddress import ip_address

import uvicorn

from omninode.core.errors import ConfigurationError
from omninode.core.events import EventSink
from omninode.server.access import Access
from omninode.server.app import create_app
from omninode.server.node import Node

__all__ = ["run"]

_GRACE_S = 3
_BACKLOG = 128


async def run(
    node: Node,
    host: str = "127.0.0.1",
    port: int = 8420,
    *,
    access: Access | None = None,
    on_ready: Callable[[str], None] | None = None,
    sink: EventSink | None = None,
    stop: asyncio.Event | None = None,
) -> None:
    """Serve `node` until SIGINT, SIGTERM or `stop`; open streams are ended, open requests get 3 s.

    `sink` is told who uses the server's key; `on_ready` is told the URL once the port is open (`port` 0 takes a free
    one). Raises ConfigurationError when the address cannot be listened on, or may not be (see `Access`). Signals are
    only caught in the main thread.
    """
    allowed = replace(access, host=host) if access else Access(host=host)
    listener = _bind(host, port)
    app = create_app(node, access=allowed, sink=sink)
    server = _Server(
        uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=_GRACE_S,
            # Our wants are small, and a page never posts.
            h11_max_incomplete_event_size=32_768,
        )
    )
    stopping = stop or asyncio.Event()
    with _signals(stopping):
        if on_ready is not None:
            on_ready(_url(listener))
        serving = asyncio.ensure_future(server.serve(sockets=[listener]))
        waiting = asyncio.ensure_future(stopping.wait())
        try:
            await asyncio.wait({serving, waiting}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            # Streams never end by themselves, and uvicorn waits for them.
            app.state.feed.close()
            server.should_exit = True
            waiting.cancel()
            await serving


class _Server(uvicorn.Server):
    """uvicorn without its signal handlers: the loop is the caller's, and so is what a signal means."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals alone."""
        yield


def _bind(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        # From here on a connection waits for us instead of being refused.
        listener.listen(_BACKLOG)
    except (OSError, OverflowError) as error:
        listener.close()
        raise ConfigurationError(_why(error, host, port)) from error
    listener.set_inheritable(True)
    return listener


def _why(error: OSError | OverflowError, host: str, port: int) -> str:
    code = getattr(error, "errno", None)
    if code == errno.EADDRINUSE:
        return f"port {port} on {host} is taken by another program; choose another with --port"
    if code == errno.EACCES:
        return f"port {port} on {host} needs more rights; choose one above 1023 with --port"
    return f"cannot listen on {host}, port {port}: {error}; choose another address with --host or --port"


def _url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    shown = "127.0.0.1" if ip_address(host).is_unspecified else host
    return f"http://[{shown}]:{port}" if ":" in shown else f"http://{shown}:{port}"


@contextmanager
def _signals(stopping: asyncio.Event) -> Iterator[None]:
    loop = asyncio.get_running_loop()
    caught = []
    for number in (signal.SIGINT, signal.SIGTERM):
        # RuntimeError: not in the main thread. Then whoever is decides when to stop.
        with suppress(RuntimeError, NotImplementedError, ValueError):
            loop.add_signal_handler(number, stopping.set)
            caught.append(number)
    try:
        yield
    finally:
        for number in caught:
            loop.remove_signal_handler(number)
