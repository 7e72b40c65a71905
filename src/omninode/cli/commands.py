"""Which commands there are. Each is a module of its own that imports what it needs only when it is called."""

from __future__ import annotations

import typer

from omninode.cli import audit, bench, db, doctor, guard, run, runs, serve, simulate

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add every command to `app`, in the order of the help text."""
    for module in (run, guard, serve, runs, doctor, db, audit, bench, simulate):
        module.register(app)
