"""Connection values."""

from __future__ import annotations

from dataclasses import replace

import pytest

from omninode.core.errors import ConfigurationError
from omninode.storage.config import ConnectionConfig, PoolConfig

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    "config",
    [
        ConnectionConfig(host="db.example", port=6543, user="me@home", password="a/b:c?", database="my db"),
        ConnectionConfig(host="/var/run/my dir", user="omninode", database="omninode"),
        ConnectionConfig(host="::1", database="d", ssl_mode="require"),
        ConnectionConfig(host="db", ssl_mode="verify-full"),
        ConnectionConfig(host="db", ssl_mode="verify-ca", ssl_root="/etc/ssl/my ca.pem"),
    ],
)
def test_url_holds_everything(config: ConnectionConfig) -> None:
    assert ConnectionConfig.from_url(config.dsn) == config


def test_password_is_in_neither_repr_nor_display() -> None:
    config = ConnectionConfig(password="geheim")
    assert "geheim" not in repr(config)
    assert "geheim" not in config.display


@pytest.mark.parametrize("url", ["http://x/y", "postgresql://h:notaport/d", "postgresql://h:99999/d"])
def test_bad_url_is_refused(url: str) -> None:
    with pytest.raises(ConfigurationError):
        ConnectionConfig.from_url(url)


@pytest.mark.parametrize("size", [0, -1, 1001])
def test_pool_size_out_of_range_names_the_setting(size: int) -> None:
    with pytest.raises(ConfigurationError, match="CONNECTION_POOL_SIZE"):
        PoolConfig(size=size)


def test_fingerprint_tells_databases_apart_and_not_how_one_logs_in() -> None:
    config = ConnectionConfig(host="db", port=5432, user="u", database="d")
    others = [
        replace(config, **{name: value})
        for name, value in (("host", "db2"), ("port", 5433), ("user", "v"), ("database", "e"))
    ]

    assert len({other.fingerprint for other in (config, *others)}) == 5
    assert replace(config, password="secret", ssl_mode="require", host="DB").fingerprint == config.fingerprint
    assert replace(config, host="/run/pg/").fingerprint == replace(config, host="/run/pg").fingerprint
