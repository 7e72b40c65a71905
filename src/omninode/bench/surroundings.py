"""What scenarios share: a scratch directory, one embedded Postgres, and how much effort to spend."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from omninode.core.errors import InvalidArgumentError
from omninode.runtime.settings import Settings
from omninode.storage.database import Database
from omninode.storage.embedded import EmbeddedPostgres
from omninode.storage.migrate import migrate

__all__ = ["Surroundings"]


class Surroundings:
    """Enter with `async with`; leaving stops the server and removes every file.

    Args:
        effort: scales rounds, calls and time; 1 for figures to publish, less to see that everything runs.
        data: the folder of labelled texts that are not part of the project; a scenario says what it leaves out without.
    """

    def __init__(self, *, effort: float = 1.0, data: Path | None = None) -> None:
        if not 0 < effort <= 10:
            raise InvalidArgumentError(f"effort is {effort}; pass more than 0 and at most 10")
        self.effort = effort
        self.data = data
        self._stack = AsyncExitStack()
        self._directory: Path | None = None
        self._server: EmbeddedPostgres | None = None
        self._database: Database | None = None

    async def __aenter__(self) -> Self:
        self._directory = Path(await asyncio.to_thread(tempfile.mkdtemp, prefix="omninode-bench-"))
        # The embedded server may run as another user than we do, and has to get in.
        self._directory.chmod(0o755)
        self._stack.push_async_callback(asyncio.to_thread, shutil.rmtree, self._directory, ignore_errors=True)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    @property
    def directory(self) -> Path:
        """A directory of our own."""
        if self._directory is None:
            raise InvalidArgumentError("the surroundings are not open; enter them with `async with` first")
        return self._directory

    def scaled(self, count: int, *, least: int = 1) -> int:
        """`count` by the effort, at least `least`."""
        return max(least, round(count * self.effort))

    def budget_s(self, seconds: float) -> float:
        """`seconds` by the effort."""
        return seconds * self.effort

    async def database(self) -> Database:
        """An open, migrated database on the embedded server, made when it is first asked for."""
        if self._database is None:
            self._server = EmbeddedPostgres(self.postgres_directory)
            await self._server.start()
            self._stack.push_async_callback(self._server.stop)
            database = Database.open(self._server.config)
            self._database = await self._stack.enter_async_context(database)
            await migrate(self._database)
        return self._database

    @property
    def postgres_directory(self) -> Path:
        """Where the shared embedded server keeps its data."""
        return self.directory / "postgres"

    # Any: values of settings by field name.
    def settings(self, **values: Any) -> Settings:
        """Settings that read neither the environment nor a file, on the shared embedded server."""
        return Settings(**{"data_dir": self.directory, **values})
