"""The command `omninode`: its sub-commands, and the one place where an error becomes a line and an exit code."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from omninode.cli import commands
from omninode.cli.exits import Exit, complain, exit_code, show_error

__all__ = ["app", "main"]

app = typer.Typer(
    name="omninode",
    help="The performance and reliability layer for systems built from LLM agents.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
commands.register(app)


@app.callback()
def options(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    """The performance and reliability layer for systems built from LLM agents."""
    # `main` looks for --debug itself, because an error may come before this runs.
    del debug


@app.command()
def version() -> None:
    """Print the version."""
    from importlib.metadata import version as installed

    typer.echo(installed("omninode"))


def main() -> None:
    """Run the command line and exit with its code."""
    wants_traceback = "--debug" in sys.argv
    try:
        # --debug may stand anywhere; to Typer it belongs in front of the command.
        arguments = [argument for argument in sys.argv[1:] if argument != "--debug"]
        code = app(arguments, standalone_mode=False)
    except (KeyboardInterrupt, typer.Abort):
        code = Exit.INTERRUPTED
    except BrokenPipeError:
        # The reader of our output left (`omninode … | head`): no fault of the run.
        sys.stderr.close()
        code = Exit.DONE
    except typer.Exit as left:
        code = left.exit_code
    except Exception as error:  # noqa: BLE001 - border: every error becomes one line and an exit code
        show_error(error, with_traceback=wants_traceback)
        code = exit_code(error)
    if code == Exit.INTERRUPTED:  # some releases of Typer turn the interrupt into this code themselves
        complain("interrupted; nothing is left running")
    sys.exit(code if isinstance(code, int) else Exit.DONE)
