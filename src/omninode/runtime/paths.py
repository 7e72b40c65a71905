"""Where OmniNode keeps what outlives a process: the embedded database, the spool, the logs."""

from __future__ import annotations

import os
from pathlib import Path

from omninode.core.errors import ConfigurationError
from omninode.runtime.settings import Settings

__all__ = ["data_directory"]


def data_directory(settings: Settings) -> Path:
    """The directory, made when missing; raises ConfigurationError when it cannot be written."""
    chosen = settings.data_dir or _default()
    directory = chosen.expanduser().absolute()
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        probe = directory / f".write-test-{os.getpid()}"
        probe.write_bytes(b"")
        probe.unlink()
    except OSError as error:
        raise ConfigurationError(
            f"cannot write to {directory} ({error.strerror}); set OMNINODE_DATA_DIR to a directory you may write to"
        ) from error
    return directory


def _default() -> Path:
    # XDG base directory specification: state and data of a user live below XDG_DATA_HOME.
    home = os.environ.get("XDG_DATA_HOME")
    return Path(home) / "omninode" if home else Path("~/.local/share/omninode")
