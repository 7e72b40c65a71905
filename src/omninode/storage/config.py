"""Where the database is: the values of one connection, and the pool's limits.

A host that begins with `/` is the directory of a Unix socket, as everywhere in Postgres.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from hashlib import sha256
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

from omninode.core.errors import ConfigurationError

__all__ = ["ConnectionConfig", "PoolConfig"]

_SSL_MODES = {"disable", "allow", "prefer", "require", "verify-ca", "verify-full"}


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionConfig:
    """One database on one server; raises ConfigurationError for a value no server could have."""

    host: str = "localhost"
    port: int = 5432
    user: str = "postgres"
    password: str | None = field(default=None, repr=False)
    database: str = "postgres"
    ssl_mode: str = "prefer"
    # The certificates to trust, for the modes that verify; None: those of the system.
    ssl_root: str | None = None

    def __post_init__(self) -> None:
        if not self.host:
            raise ConfigurationError("database host is empty; set POSTGRES_HOST to a name, an address or a directory")
        if not 1 <= self.port <= 65535:
            raise ConfigurationError(f"database port is {self.port}; set POSTGRES_PORT to 1..65535")
        if self.ssl_mode not in _SSL_MODES:
            raise ConfigurationError(f"sslmode is {self.ssl_mode!r}; use one of {', '.join(sorted(_SSL_MODES))}")

    @classmethod
    def from_url(cls, url: str) -> ConnectionConfig:
        """The config a `postgresql://` URL describes; raises ConfigurationError when it is not one."""
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError as error:
            raise ConfigurationError(f"the database URL cannot be read: {error}") from error
        if parts.scheme not in {"postgresql", "postgres"}:
            raise ConfigurationError(f"the database URL begins with {parts.scheme!r}; it must be postgresql://…")
        query = dict(parse_qsl(parts.query))
        user = unquote(parts.username) if parts.username else "postgres"
        return cls(
            host=query.get("host") or unquote(parts.hostname or "") or "localhost",
            port=port or int(query.get("port", "5432")),
            user=user,
            password=unquote(parts.password) if parts.password else None,
            database=unquote(parts.path.lstrip("/")) or user,
            ssl_mode=query.get("sslmode", "prefer"),
            ssl_root=query.get("sslrootcert") if query.get("sslrootcert") != "system" else None,
        )

    @property
    def is_socket(self) -> bool:
        """Whether the server is reached through a Unix socket."""
        return self.host.startswith("/")

    @property
    def is_verifying(self) -> bool:
        """Whether the server must show a certificate that is trusted."""
        return self.ssl_mode.startswith("verify-")

    @property
    def dsn(self) -> str:
        """A URL that psql and asyncpg take, password included; show `display` to people instead."""
        return self._url(self.password)

    @property
    def display(self) -> str:
        """The URL without its password."""
        return self._url(None)

    @property
    def fingerprint(self) -> str:
        """16 hex digits that stand for this host, port, user and database, and for no other."""
        host = self.host.rstrip("/") if self.is_socket else self.host.lower()
        named = "\0".join((host, str(self.port), self.user, self.database))
        return sha256(named.encode()).hexdigest()[:16]

    def _url(self, password: str | None) -> str:
        login = quote(self.user, safe="") + (f":{quote(password, safe='')}" if password else "")
        name = quote(self.database, safe="")
        query = {"host": self.host, "port": str(self.port)} if self.is_socket else {}
        if self.ssl_mode != "prefer":
            query["sslmode"] = self.ssl_mode
        if self.is_verifying and not self.is_socket:
            query["sslrootcert"] = self.ssl_root or "system"
        host = f"[{self.host}]" if ":" in self.host else self.host
        place = "" if self.is_socket else f"{host}:{self.port}"
        return f"postgresql://{login}@{place}/{name}" + (f"?{urlencode(query, safe='/')}" if query else "")


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolConfig:
    """The limits of the one pool.

    `statement_timeout_s`, `lock_timeout_s` and `idle_in_transaction_s` are kept by the server; the driver gives up
    5 s after the first, for a server that no longer answers. `is_behind_pooler` is for proxies that lend a connection
    for one transaction: no prepared statements, nothing kept in a session, and the three limits inside transactions
    only.
    """

    size: int = 10
    acquire_timeout_s: float = 4.5
    connect_timeout_s: float = 10.0
    idle_check_s: float = 30.0
    idle_lifetime_s: float = 300.0
    statement_timeout_s: float = 30.0
    lock_timeout_s: float = 10.0
    idle_in_transaction_s: float = 60.0
    is_behind_pooler: bool = False

    def __post_init__(self) -> None:
        if not 1 <= self.size <= 1000:
            raise ConfigurationError(f"the pool size is {self.size}; set CONNECTION_POOL_SIZE to 1..1000")
        waits = (self.acquire_timeout_s, self.connect_timeout_s)
        if min(*waits, self.statement_timeout_s, self.lock_timeout_s, self.idle_in_transaction_s) <= 0:
            raise ConfigurationError("every timeout of the pool must be above 0 s")

    @property
    def server_limits(self) -> dict[str, str]:
        """The limits that the server keeps, by their names there, in milliseconds."""
        limits = {
            "statement_timeout": self.statement_timeout_s,
            "lock_timeout": self.lock_timeout_s,
            "idle_in_transaction_session_timeout": self.idle_in_transaction_s,
        }
        return {name: str(round(seconds * 1000)) for name, seconds in limits.items()}
