"""The files and processes of one Postgres data directory: where they lie, making them, starting, stopping.

Everything here blocks and expects the caller (`embedded.EmbeddedPostgres`) to hold the directory's lock.

    DATA_DIR/           lock          who may start or stop (flock)
                        clients/      who uses it (one locked file each)
                        pg18/         the cluster, of the user the server runs as
                        s/            the Unix socket, unless its path would be too long
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import stat
import subprocess
import time
from pathlib import Path

from omninode.core.errors import ConfigurationError, DatabaseUnavailableError
from omninode.storage.install import SYSTEM_ROOT, Install, is_reachable

__all__ = ["SUPERUSER", "Cluster", "placed"]

SUPERUSER = "omninode"
# sun_path holds 108 bytes on Linux and 104 on macOS, with the file name and a NUL.
_SOCKET_PATH_LIMIT = 100
_SOCKET_NAME = ".s.PGSQL.5432"
_START_TIMEOUT_S = 120
_LOG_LIMIT_BYTES = 10 * 1024 * 1024

# Small, because it shares the machine with what it serves. Durability stays on: a commit is on disk.
# No replication, so the least WAL; an hour's idle server keeps no workers beyond what it needs.
_SETTINGS = """\
# Written by OmniNode at every start; put your own settings into postgresql.conf below the include.
listen_addresses = ''
unix_socket_directories = '{socket_dir}'
unix_socket_permissions = 0700
max_connections = 100
shared_buffers = '128MB'
wal_level = minimal
max_wal_senders = 0
max_wal_size = '512MB'
checkpoint_timeout = '15min'
huge_pages = off
jit = off
log_checkpoints = off
log_min_messages = warning
"""


def placed(data_dir: Path, install: Install) -> Path:
    """Where the data really goes: `data_dir`, or a place below /var/lib/omninode.

    The second when we are root and the user the server runs as cannot reach `data_dir` (a home of mode 0700). The
    name there is derived from `data_dir`, so the same request finds the same data.
    """
    wanted = data_dir.expanduser().absolute()
    if install.user is None or is_reachable(wanted / "pg", install.user):
        return wanted
    mark = hashlib.sha256(os.fsencode(wanted)).hexdigest()[:10]
    return SYSTEM_ROOT / f"{re.sub('[^a-z0-9]+', '-', wanted.name.lower()).strip('-') or 'data'}-{mark}"


class Cluster:
    """One data directory and the programs that serve it."""

    def __init__(self, data_dir: Path, install: Install) -> None:
        self.data_dir = data_dir
        self.install = install
        self.pgdata = data_dir / f"pg{install.major}"
        self.log = self.pgdata / "server.log"
        self.clients = data_dir / "clients"

    @property
    def socket_dir(self) -> Path:
        """The directory of the Unix socket: ours, or a short one in /tmp when that path would be too long."""
        near = self.data_dir / "s"
        is_plain = re.fullmatch(r"[\w./+@=-]+", str(near), re.ASCII) is not None
        if is_plain and len(os.fsencode(near / _SOCKET_NAME)) <= _SOCKET_PATH_LIMIT:
            return near
        mark = hashlib.sha256(os.fsencode(self.data_dir)).hexdigest()[:10]
        return Path("/tmp") / f"omninode-{os.geteuid()}-{mark}"  # noqa: S108 - owner and mode are checked

    def make_directories(self) -> None:
        """Make what is missing; raises ConfigurationError when a directory cannot be made or is not ours."""
        try:
            self.data_dir.mkdir(mode=0o755, parents=True, exist_ok=True)
            self.clients.mkdir(mode=0o700, exist_ok=True)
            self._make_private(self.socket_dir)
        except OSError as error:
            raise ConfigurationError(
                f"the database directory {self.data_dir} cannot be used: {error.strerror or error}; set "
                "OMNINODE_DATA_DIR to a directory you may write, or POSTGRES_HOST to a server"
            ) from error

    def initialise(self, *, has_older: bool = False) -> bool:
        """Make the cluster unless it is there; whether it was made now. A half-made one is made again.

        Raises ConfigurationError when an earlier version's is there and nobody says, by `has_older`, that it is known.
        """
        version = self.pgdata / "PG_VERSION"
        if not has_older and (older := self.older()) is not None:
            raise ConfigurationError(
                f"{older} was made by an earlier PostgreSQL, this release brings {self.install.major}; run 'omninode db "
                "upgrade', or set OMNINODE_DATA_DIR to another directory"
            )
        if version.exists():
            found = version.read_text(encoding="ascii").strip()
            if found != str(self.install.major):
                raise ConfigurationError(
                    f"{self.pgdata} was made by PostgreSQL {found}, this release brings {self.install.major}; "
                    "restore a dump into an empty directory, or set OMNINODE_DATA_DIR to another"
                )
            return False
        partial = self.pgdata.with_suffix(".partial")
        shutil.rmtree(partial, ignore_errors=True)
        self._make_private(partial)
        # Not synced: a machine that fails within the first seconds leaves a directory that is made again.
        self.install.run(
            "initdb",
            *("-D", str(partial), "-U", SUPERUSER, "--auth=trust", "--encoding=UTF8", "--no-sync"),
            *("--no-instructions", "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"),
            timeout_s=_START_TIMEOUT_S,
        )
        with (partial / "postgresql.conf").open("a", encoding="utf-8") as conf:
            conf.write("\ninclude_if_exists = 'omninode.conf'\n")
        partial.rename(self.pgdata)
        return True

    def older(self) -> Path | None:
        """The directory of a cluster that an earlier version made and that has not been upgraded; the newest."""
        found = [
            (int(place.name[2:]), place)
            for place in self.data_dir.glob("pg*")
            if place.name[2:].isdigit() and int(place.name[2:]) < self.install.major and place.is_dir()
        ]
        return max(found)[1] if found else None

    def launch(self) -> None:
        """Start the server and wait until it takes connections; raises DatabaseUnavailableError with its log's end.

        Tried again for some seconds: the children of a server that was killed hold its shared memory until they
        notice.
        """
        self._prepare_start()
        end = time.monotonic() + 10.0
        while True:
            try:
                self.install.run(
                    "pg_ctl",
                    *("start", "-w", "-s", "-t", str(_START_TIMEOUT_S)),
                    *("-D", str(self.pgdata), "-l", str(self.log)),
                    timeout_s=_START_TIMEOUT_S + 10,
                )
            except DatabaseUnavailableError as error:
                if time.monotonic() > end:
                    raise DatabaseUnavailableError(
                        f"the embedded database in {self.data_dir} does not start: {self._log_end()} (all of it: "
                        f"{self.log})"
                    ) from error
                time.sleep(0.3)  # noqa: TID251 - runs in a worker thread
            else:
                return

    def shut_down(self) -> None:
        """Stop the server, ending the sessions it has; returns when it is gone."""
        if self.server_pid() is not None:
            self.install.run(
                "pg_ctl", "stop", "-w", "-s", "-m", "fast", "-t", "60", "-D", str(self.pgdata), timeout_s=70
            )

    def server_pid(self) -> int | None:
        """The pid of the live server of this directory, or None.

        postmaster.pid alone is not believed: its process must be a Postgres started on this very directory.
        """
        pid = self._recorded_pid()
        return pid if pid is not None and self._is_our_server(pid) else None

    def _prepare_start(self) -> None:
        conf = self.pgdata / "omninode.conf"
        wanted = _SETTINGS.format(socket_dir=self.socket_dir)
        if self.install.major >= 18:
            wanted += "io_method = sync\n"
        if not conf.exists() or conf.read_text(encoding="utf-8") != wanted:
            conf.write_text(wanted, encoding="utf-8")
            self._give_to_server(conf)
        if self.log.exists() and self.log.stat().st_size > _LOG_LIMIT_BYTES:
            self.log.unlink()
        # A pid that another process of the same user has taken over would make Postgres refuse to start, and so would
        # a half-written file. Here no server of this directory lives, and Postgres itself still checks for shared
        # memory in use, by a key made from the directory.
        pid = self._recorded_pid()
        if pid is None or not self._is_our_server(pid):
            (self.pgdata / "postmaster.pid").unlink(missing_ok=True)

    def _recorded_pid(self) -> int | None:
        path = self.pgdata / "postmaster.pid"
        for _ in range(20):  # it may be in the middle of being written
            try:
                first = path.read_text(encoding="utf-8", errors="replace").splitlines()[:1]
            except FileNotFoundError:
                return None
            if first and first[0].strip().lstrip("-").isdigit():
                return abs(int(first[0]))
            time.sleep(0.02)  # noqa: TID251 - runs in a worker thread
        return None

    def _is_our_server(self, pid: int) -> bool:
        words = _command_of(pid)
        return str(self.pgdata) in words and "postgres" in words

    def _make_private(self, folder: Path) -> None:
        folder.mkdir(mode=0o700, exist_ok=True)
        self._give_to_server(folder)
        entry = folder.lstat()
        owner = os.geteuid() if self.install.user is None else self.install.user.pw_uid
        if not stat.S_ISDIR(entry.st_mode) or entry.st_uid != owner:
            raise PermissionError(1, f"{folder} belongs to another user")
        folder.chmod(0o700)

    def _give_to_server(self, path: Path) -> None:
        if self.install.user is not None:
            os.chown(path, self.install.user.pw_uid, self.install.user.pw_gid, follow_symlinks=False)

    def _log_end(self) -> str:
        try:
            lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:
            return "its log cannot be read"
        told = [line for line in lines[-50:] if "FATAL" in line or "PANIC" in line or "ERROR" in line] or lines
        return told[-1] if told else "its log is empty"


def _command_of(pid: int) -> str:
    """The command line of a live process; empty when there is none (or only its zombie)."""
    proc = Path("/proc")
    if (proc / "self").exists():
        try:
            return (proc / str(pid) / "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
        except OSError:
            return ""
    shown = subprocess.run(  # noqa: S603 - fixed program, an integer argument
        ["/bin/ps", "-o", "command=", "-p", str(pid)], capture_output=True, text=True, check=False, timeout=10
    )
    return shown.stdout.strip()
