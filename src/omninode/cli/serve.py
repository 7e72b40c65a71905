"""`omninode serve`: the dashboard and the JSON API."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from omninode.server.access import Access

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command()(serve)


def serve(
    host: Annotated[str | None, typer.Option("--host", help="Address to listen on; default 127.0.0.1.")] = None,
    allow_remote: Annotated[
        bool, typer.Option("--allow-remote", help="Allow an address others can reach; needs OMNINODE_SERVER_KEY.")
    ] = False,
    host_name: Annotated[
        list[str] | None, typer.Option("--host-name", help="A further name it is reached by; may be repeated.")
    ] = None,
    port: Annotated[int | None, typer.Option("--port", "-p", help="Port to listen on; default 8420.")] = None,
    simulate: Annotated[bool, typer.Option("--simulate", help="Serve with the bundled model simulator.")] = False,
) -> None:
    """Serve the dashboard, the JSON API and the metrics, on loopback."""
    from omninode.cli.loop import run_async

    run_async(_serve(host, port, names=host_name or [], allow_remote=allow_remote, simulate=simulate))


async def _serve(host: str | None, port: int | None, *, names: list[str], allow_remote: bool, simulate: bool) -> None:
    import omninode
    from omninode.runtime.settings import load_settings
    from omninode.server.access import Access
    from omninode.server.serve import run
    from omninode.server.view import RuntimeView

    settings = load_settings()
    key = settings.server_key.get_secret_value() if settings.server_key else None
    where = host or settings.server_host
    known = frozenset(name.strip() for name in [*names, *settings.server_host_names.split(",")] if name.strip())
    # Before anything is opened: what may not be served needs no database.
    access = Access(host=where, allow_remote=allow_remote, key=key, names=known)
    async with omninode.open(settings, simulate=simulate, needs_models=False) as node:
        await run(
            RuntimeView(node),
            host=where,
            port=settings.server_port if port is None else port,
            access=access,
            sink=node.sink,
            on_ready=lambda url: typer.echo(_told(url, access)),
        )


def _told(url: str, access: Access) -> str:
    line = f"OmniNode serves {url} (Ctrl-C ends it)"
    if access.is_nameless:
        line += f"\nOnly {', '.join(sorted(access.hosts))} are answered; name the host others use with --host-name"
    return line
