"""`omninode serve`: the dashboard and the JSON API."""

from __future__ import annotations

from typing import Annotated

import typer

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command()(serve)


def serve(
    host: Annotated[str | None, typer.Option("--host", help="Address to listen on; default 127.0.0.1.")] = None,
    allow_remote: Annotated[
        bool, typer.Option("--allow-remote", help="Allow an address others can reach; needs OMNINODE_SERVER_KEY.")
    ] = False,
    port: Annotated[int | None, typer.Option("--port", "-p", help="Port to listen on; default 8420.")] = None,
    simulate: Annotated[bool, typer.Option("--simulate", help="Serve with the bundled model simulator.")] = False,
) -> None:
    """Serve the dashboard, the JSON API and the metrics, on loopback."""
    from omninode.cli.loop import run_async

    run_async(_serve(host, port, allow_remote=allow_remote, simulate=simulate))


async def _serve(host: str | None, port: int | None, *, allow_remote: bool, simulate: bool) -> None:
    import omninode
    from omninode.server.access import Access
    from omninode.server.serve import run
    from omninode.server.view import RuntimeView

    async with omninode.open(simulate=simulate, needs_models=False) as node:
        settings = node.settings
        key = settings.server_key.get_secret_value() if settings.server_key else None
        where = host or settings.server_host
        await run(
            RuntimeView(node),
            host=where,
            port=settings.server_port if port is None else port,
            access=Access(host=where, allow_remote=allow_remote, key=key),
            on_ready=lambda url: typer.echo(f"OmniNode serves {url} (Ctrl-C ends it)"),
        )
