"""`omninode db backup`, `restore`, `reset` and `upgrade` as a user types them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.integration

Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def omninode() -> Iterator[Command]:
    """Runs `omninode db …` (or that of another `room`) on an embedded database of its own."""
    folder = Path(tempfile.mkdtemp(prefix="omn-", dir="/tmp"))
    folder.chmod(0o755)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("POSTGRES_", "OMNINODE_"))}

    def run(*words: str, answer: str = "", room: str = "db") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "omninode.cli", room, *words],
            env={**kept, "OMNINODE_DATA_DIR": str(folder / "data")},
            cwd=folder,
            input=answer,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    yield run
    run("stop")
    shutil.rmtree(folder, ignore_errors=True)


def test_a_database_is_backed_up_emptied_and_restored(omninode: Command) -> None:
    done = omninode("backup", "all.dump")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("all.dump: ")

    refused = omninode("reset", answer="n\n")
    assert refused.returncode != 0
    assert "Delete all data of embedded Postgres in" in refused.stdout

    assert "is deleted" in omninode("reset", "--yes").stdout
    assert "is as it was in all.dump" in omninode("restore", "all.dump", answer="y\n").stdout
    assert "nothing to upgrade" in omninode("upgrade").stdout

    told = omninode("show", room="audit").stdout
    assert [line.split()[3] for line in told.splitlines()] == ["database.reset", "database.restored"]
    assert "all.dump" in told
    assert omninode("verify", room="audit").stdout.startswith("2 rows are whole")


def test_a_backup_that_is_not_there_is_one_line(omninode: Command) -> None:
    done = omninode("restore", "missing.dump", "--yes")
    assert done.returncode == 3
    assert "missing.dump cannot be read: No such file" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
