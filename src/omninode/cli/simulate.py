"""`omninode simulate`: the bundled model simulator as a server of its own."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from omninode.simulation.server import SimulatedModels

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command()(simulate)


def simulate(
    port: Annotated[int, typer.Option("--port", "-p", help="Port to listen on; 0 takes a free one.")] = 8710,
    seed: Annotated[int, typer.Option("--seed", help="Seed of latencies, faults and answers.")] = 0,
    latency: Annotated[
        float, typer.Option("--latency", help="Scale of all latencies; 0 answers at once.", min=0)
    ] = 1.0,
) -> None:
    """Serve SIMULATED models that speak the OpenAI chat protocol, on loopback."""
    from omninode.cli.loop import run_async

    # A server has no other end than this one.
    with suppress(KeyboardInterrupt):
        run_async(_simulate(port, seed, latency))


async def _simulate(port: int, seed: int, latency: float) -> None:
    from omninode.simulation.server import run_forever

    await run_forever(port, seed=seed, latency_scale=latency, on_ready=_announce)


def _announce(models: SimulatedModels) -> None:
    typer.echo(f"SIMULATED models on {models.base_url} (Ctrl-C ends them)")
    typer.echo(f"use them: OPENAI_BASE_URL={models.base_url} OPENAI_API_KEY=simulated omninode run …")
