"""What the POSTGRES_ settings describe, and what is refused before anything is connected."""

from __future__ import annotations

from pathlib import Path

import pytest

from omninode.core.errors import ConfigurationError
from omninode.runtime.database import external_config
from omninode.runtime.settings import load_settings
from omninode.storage.config import PoolConfig
from omninode.storage.connection import connect_arguments

pytestmark = pytest.mark.unit


@pytest.mark.parametrize("host", ["db.example.org", "10.0.0.5", "0.0.0.0", "fe80::1", "localhost.example.org"])
def test_the_documents_password_is_refused_where_others_can_reach_the_server(host: str) -> None:
    with pytest.raises(ConfigurationError, match=f"database on {host}.*POSTGRES_PASSWORD") as refusal:
        external_config(load_settings(postgres_host=host, postgres_password="password"))
    assert "\n" not in refusal.value.message


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "::1", "/var/run/postgresql", None])
def test_the_documents_password_will_do_on_this_machine(host: str | None) -> None:
    config = external_config(load_settings(postgres_host=host, postgres_password="password"))
    assert config.password == "password"


def test_another_password_will_do_anywhere() -> None:
    settings = load_settings(postgres_host="db.example.org", postgres_password="Password")
    assert external_config(settings).password == "Password"


@pytest.mark.parametrize(("mode", "checks_name"), [("verify-full", True), ("verify-ca", False)])
def test_a_verifying_mode_asks_for_a_trusted_certificate(mode: str, checks_name: bool) -> None:
    config = external_config(load_settings(postgres_host="db.example.org", postgres_sslmode=mode))
    context = connect_arguments(config, PoolConfig())["ssl"]
    assert (context.verify_mode.name, context.check_hostname) == ("CERT_REQUIRED", checks_name)


def test_certificates_that_cannot_be_read_name_the_setting(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("not a certificate")
    for name in ("ca.pem", "nowhere.pem"):
        settings = load_settings(
            postgres_host="db", postgres_sslmode="verify-full", postgres_sslrootcert=str(tmp_path / name)
        )
        with pytest.raises(ConfigurationError, match="POSTGRES_SSLROOTCERT"):
            connect_arguments(external_config(settings), PoolConfig())
