"""A server that shows a certificate: who is connected to, and who is not."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from omninode.core.errors import ConfigurationError, DatabaseUnavailableError
from omninode.storage.config import ConnectionConfig
from omninode.storage.connection import connect

pytestmark = pytest.mark.integration

_BIN = Path("/usr/lib/postgresql/15/bin")


def _certificate(folder: Path, name: str) -> Path:
    """A certificate for `name` that it signed itself, with its key beside it."""
    target = folder / f"{name}.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN={name}"),
            *("-addext", f"subjectAltName=DNS:{name}", "-keyout", str(folder / f"{name}.key"), "-out", str(target)),
        ],
        check=True,
        capture_output=True,
    )
    return target


@pytest.fixture(scope="module")
def tls_server() -> Iterator[tuple[ConnectionConfig, Path]]:
    """A PostgreSQL that speaks TLS as `localhost`, and a folder with its certificate and that of a stranger."""
    if not _BIN.is_dir() or shutil.which("openssl") is None:
        pytest.skip("there is no PostgreSQL with TLS here")
    folder = Path(tempfile.mkdtemp(prefix="omn-tls-", dir="/tmp"))
    folder.chmod(0o777)
    user = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []

    def run(*words: str) -> None:
        subprocess.run([*user, *words], check=True, capture_output=True, cwd="/tmp", timeout=120)

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    _certificate(folder, "stranger")
    _certificate(folder, "localhost")
    try:
        run(str(_BIN / "initdb"), "-D", f"{folder}/db", "-A", "trust", "-U", "postgres", "--no-sync")
        for name in ("localhost.pem", "localhost.key"):
            shutil.copy(folder / name, folder / "db" / name)
            if user:
                shutil.chown(folder / "db" / name, "postgres", "postgres")
            (folder / "db" / name).chmod(0o600)
        options = (
            f"-k {folder} -c listen_addresses=127.0.0.1 -p {port} -c fsync=off "
            "-c ssl=on -c ssl_cert_file=localhost.pem -c ssl_key_file=localhost.key"
        )
        run(str(_BIN / "pg_ctl"), "-D", f"{folder}/db", "-w", "-o", options, "-l", f"{folder}/log", "start")
        yield ConnectionConfig(host="localhost", port=port, user="postgres", database="postgres"), folder
    finally:
        subprocess.run(
            [*user, str(_BIN / "pg_ctl"), "-D", f"{folder}/db", "-m", "immediate", "stop"],
            check=False,
            capture_output=True,
            cwd="/tmp",
        )
        shutil.rmtree(folder, ignore_errors=True)


async def _is_encrypted(config: ConnectionConfig) -> bool:
    connection = await connect(config)
    try:
        return bool(await connection.fetchval("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"))
    finally:
        await connection.close()


async def test_a_certificate_that_is_trusted_and_of_that_name_is_connected_to(tls_server) -> None:
    config, folder = tls_server
    trusting = replace(config, ssl_mode="verify-full", ssl_root=str(folder / "localhost.pem"))
    assert await _is_encrypted(trusting)
    assert await _is_encrypted(ConnectionConfig.from_url(trusting.dsn))


@pytest.mark.parametrize("root", ["stranger.pem", None])
async def test_a_certificate_that_nobody_trusted_issued_is_refused(tls_server, root: str | None) -> None:
    config, folder = tls_server
    mode = replace(config, ssl_mode="verify-ca", ssl_root=root and str(folder / root))
    with pytest.raises(ConfigurationError, match=r"not trusted.*POSTGRES_SSLROOTCERT"):
        await connect(mode)


async def test_the_name_counts_for_verify_full_only(tls_server) -> None:
    config, folder = tls_server
    elsewhere = replace(config, host="127.0.0.1", ssl_root=str(folder / "localhost.pem"))
    assert await _is_encrypted(replace(elsewhere, ssl_mode="verify-ca"))
    with pytest.raises(ConfigurationError, match="not trusted"):
        await connect(replace(elsewhere, ssl_mode="verify-full"))


async def test_a_server_without_tls_is_not_connected_to_in_the_clear() -> None:
    plain = socket.socket()
    plain.bind(("127.0.0.1", 0))
    plain.listen(1)

    # Whoever answers "N" to the request for TLS has none.
    def answer() -> None:
        client, _ = plain.accept()
        client.recv(8)
        client.sendall(b"N")
        client.close()

    thread = threading.Thread(target=answer)
    thread.start()
    try:
        with pytest.raises(DatabaseUnavailableError):
            await connect(ConnectionConfig(host="localhost", port=plain.getsockname()[1], ssl_mode="verify-full"))
    finally:
        thread.join()
        plain.close()
