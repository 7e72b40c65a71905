"""The simulator as a server: a uvicorn inside the caller's own event loop, on loopback only."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import socket
from collections.abc import Callable, Iterator, Sequence
from types import TracebackType
from typing import Any, Self

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from omninode.core.clock import Clock
from omninode.core.errors import ConfigurationError
from omninode.simulation.app import Simulation
from omninode.simulation.fate import SimulationStatistics
from omninode.simulation.profile import DEFAULT_PROFILES, Faults, ModelProfile

__all__ = ["SimulatedModels", "run_forever"]

_HOST = "127.0.0.1"
_BACKLOG = 512
# Answers in flight are let go before the server stops; what is still there after this many seconds is cancelled.
_SHUTDOWN_S = 2


class SimulatedModels:
    """A running simulator: `async with SimulatedModels() as models:` serves until the block ends.

    Args:
        profiles: the models there are; five of different speed and quality by default.
        seed: what latencies, faults and noise are drawn from.
        port: 0 for any free one.
        latency_scale: multiplies every drawn latency; 0 answers at once (waits of scripted faults stay).
        api_key: when set, calls without this bearer key are answered 401.

    It installs no signal handlers, so Ctrl-C stays the caller's. Closing twice is harmless.
    """

    def __init__(
        self,
        profiles: Sequence[ModelProfile] = DEFAULT_PROFILES,
        *,
        seed: int = 0,
        port: int = 0,
        latency_scale: float = 1.0,
        api_key: str | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.simulation = Simulation(profiles, seed=seed, latency_scale=latency_scale, api_key=api_key, clock=clock)
        self._wanted_port = port
        self._port: int | None = None
        self._server: _Server | None = None
        self._serving: asyncio.Task[None] | None = None

    @property
    def port(self) -> int:
        """The port it listens on; raises ConfigurationError before it was started."""
        if self._port is None:
            raise ConfigurationError("the simulator is not running; enter it with `async with` first")
        return self._port

    @property
    def base_url(self) -> str:
        """What an OpenAI client takes as its base URL (it ends in `/v1`)."""
        return f"http://{_HOST}:{self.port}/v1"

    # Any: plain data for `DeploymentConfig`, which this room may not import.
    def deployments(self) -> tuple[dict[str, Any], ...]:
        """One deployment per model, in the words of the configuration."""
        return tuple(
            {
                "name": profile.name,
                "protocol": "openai",
                "base_url": self.base_url,
                "model": profile.name,
                "roles": list(profile.roles),
                "weight": profile.weight,
                "is_simulated": True,
            }
            for profile in self.simulation.profiles.values()
        )

    def set_faults(self, model: str, faults: Faults) -> None:
        """Replace the fault rates of `model` from the next call on."""
        self.simulation.book.set(model, faults)

    def script_faults(self, model: str, *kinds: str) -> None:
        """Say what happens to the next calls of `model`: ok, error, throttle, hang, cut, malformed, prose or slow."""
        self.simulation.book.script(model, kinds)

    def clear_faults(self, model: str | None = None) -> None:
        """Back to the faults of the profile, for one model or all."""
        self.simulation.book.clear(model)

    def statistics(self) -> SimulationStatistics:
        """Calls per model and kinds of fate so far."""
        return self.simulation.statistics()

    async def start(self) -> None:
        """Listen and serve; returns when requests are accepted. Raises ConfigurationError when the port is taken."""
        if self._serving is not None:
            return
        listener = _listen(self._wanted_port)
        self._port = listener.getsockname()[1]
        server = _Server(_config(self.simulation))
        self._server = server
        self._serving = asyncio.create_task(server.serve(sockets=[listener]), name="simulated models")
        ready = asyncio.create_task(server.ready.wait())
        try:
            await asyncio.wait({ready, self._serving}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            ready.cancel()
            if not server.ready.is_set():
                await self.close()

    async def close(self) -> None:
        """Stop serving; open answers are let go. Returns when nothing of it runs any more."""
        server, serving = self._server, self._serving
        if server is None or serving is None:
            return
        self.simulation.close()
        server.stop.set()
        try:
            await asyncio.shield(serving)
        except asyncio.CancelledError:
            serving.cancel()
            raise
        finally:
            self._server = self._serving = None

    async def serve(self) -> None:
        """Serve until cancelled."""
        async with self:
            assert self._serving is not None
            await asyncio.shield(self._serving)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


async def run_forever(
    port: int,
    *,
    profiles: Sequence[ModelProfile] = DEFAULT_PROFILES,
    seed: int = 0,
    latency_scale: float = 1.0,
    on_ready: Callable[[SimulatedModels], None] | None = None,
) -> None:
    """Serve the simulator on `port` until cancelled; `on_ready` is called once it listens."""
    models = SimulatedModels(profiles, seed=seed, port=port, latency_scale=latency_scale)
    async with models:
        if on_ready is not None:
            on_ready(models)
        await models.serve()


def _listen(port: int) -> socket.socket:
    # asyncio turns Nagle's algorithm off only where the protocol is named; with it every answer is 40 ms late.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((_HOST, port))
        listener.listen(_BACKLOG)
        listener.setblocking(False)
    except (OSError, OverflowError) as error:
        listener.close()
        raise ConfigurationError(_bind_message(port, error)) from error
    return listener


def _bind_message(port: int, error: OSError | OverflowError) -> str:
    if isinstance(error, OSError) and error.errno == errno.EADDRINUSE:
        return f"the simulator cannot listen on {_HOST}:{port}: the port is taken; stop what uses it or pass --port 0"
    if isinstance(error, OSError) and error.errno == errno.EACCES:
        return f"the simulator may not listen on {_HOST}:{port}: ports below 1024 need rights; pass a higher --port"
    return f"the simulator cannot listen on {_HOST}:{port}: {error}; pass a --port from 0 to 65535"


def _config(simulation: Simulation) -> uvicorn.Config:
    return uvicorn.Config(
        simulation.application(),
        http=_QuietProtocol,
        ws="none",
        loop="asyncio",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=False,
        proxy_headers=False,
        backlog=_BACKLOG,
        timeout_graceful_shutdown=_SHUTDOWN_S,
    )


class _QuietProtocol(H11Protocol):
    """uvicorn's protocol with a logger of its own: a cut answer is wanted here, and no error to be shown."""

    # Any: uvicorn passes its own internals through.
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.logger = logging.getLogger("omninode.simulation.http")
        self.logger.addFilter(_is_unwanted)
        self.access_log = False


def _is_unwanted(record: logging.LogRecord) -> bool:
    return "without completing response" not in record.getMessage()


class _Server(uvicorn.Server):
    """A uvicorn that is a guest in the loop: no signal handlers, ready and stop as events instead of polling."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ready = asyncio.Event()
        self.stop = asyncio.Event()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture none."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """See uvicorn."""
        await super().startup(sockets)
        self.ready.set()

    async def main_loop(self) -> None:
        """Wait until stopped; uvicorn's own loop wakes ten times a second for signals and dates we do not use."""
        await self.stop.wait()
