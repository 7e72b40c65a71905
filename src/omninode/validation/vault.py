"""The vault: values taken out of a prompt, encrypted, until the answer goes back to whoever sent them.

One vault belongs to one run. It lives in memory, forgets each value after a time and all of them when it is closed; no
value is in its `repr`, in an error or in an event. What encryption adds in memory is that a value is in the clear only
while it is being put back; the same form can be kept elsewhere by another `Vault`.
"""

from __future__ import annotations

import base64
import binascii
import os
from collections import OrderedDict
from typing import TYPE_CHECKING, Protocol

from omninode.core.clock import Clock, SystemClock
from omninode.core.errors import ConfigurationError, InvalidArgumentError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

__all__ = ["MemoryVault", "Vault", "read_vault_key"]

_KEY_BYTES = (16, 24, 32)
# NIST SP 800-38D section 8.2: 96 bits, drawn at random, for far fewer than 2**32 values a key.
_NONCE_BYTES = 12


class Vault(Protocol):
    """Keeps values under names, encrypted, for a time."""

    def keep(self, name: str, value: str) -> None:
        """Keep `value` under `name`. When the vault is full the value is not kept, which the vault counts."""
        ...

    def value_of(self, name: str) -> str | None:
        """The value kept under `name`; None when there is none, or none any more."""
        ...

    def close(self) -> None:
        """Forget everything. Closing twice is harmless."""
        ...


class MemoryVault:
    """A vault in memory: AES-GCM, each value bound to this vault and to its name.

    Args:
        key: 16, 24 or 32 bytes (`read_vault_key`).
        ttl_s: how long a value can be put back.
        max_values: how many values are kept; one more is refused and counted in `refused`.
        clock: for the time to live.

    Raises ConfigurationError when the package `cryptography` is not installed.
    """

    def __init__(
        self, key: bytes, *, ttl_s: float = 3600.0, max_values: int = 10_000, clock: Clock | None = None
    ) -> None:
        if ttl_s <= 0 or max_values < 1:
            raise InvalidArgumentError(f"ttl_s is {ttl_s} and max_values {max_values}; both must be above zero")
        self._cipher = _cipher(key)
        self._id = os.urandom(16)
        self._ttl_s = ttl_s
        self._max_values = max_values
        self._clock = clock or SystemClock()
        self._sealed: OrderedDict[str, tuple[float, bytes]] = OrderedDict()
        self.refused = 0

    def __repr__(self) -> str:
        return f"MemoryVault({len(self._sealed)} values)"

    def __reduce__(self) -> str:
        raise TypeError("a vault is not copied, stored or sent")

    def keep(self, name: str, value: str) -> None:
        """Keep `value` under `name` until its time is over."""
        self._expire()
        if name not in self._sealed and len(self._sealed) >= self._max_values:
            self.refused += 1
            return
        nonce = os.urandom(_NONCE_BYTES)
        sealed = nonce + self._cipher.encrypt(nonce, value.encode("utf-8", "surrogatepass"), self._bound_to(name))
        self._sealed[name] = (self._clock.monotonic() + self._ttl_s, sealed)
        self._sealed.move_to_end(name)

    def value_of(self, name: str) -> str | None:
        """The value kept under `name`; None when there is none, or its time is over."""
        self._expire()
        entry = self._sealed.get(name)
        if entry is None:
            return None
        sealed = entry[1]
        opened = self._cipher.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], self._bound_to(name))
        return opened.decode("utf-8", "surrogatepass")

    def close(self) -> None:
        """Forget everything."""
        self._sealed.clear()

    def _bound_to(self, name: str) -> bytes:
        return self._id + name.encode()

    def _expire(self) -> None:
        now = self._clock.monotonic()
        while self._sealed and next(iter(self._sealed.values()))[0] <= now:
            self._sealed.popitem(last=False)


def read_vault_key(text: str) -> bytes:
    """The key that `text` holds in base64; raises ConfigurationError, which does not show it, for anything else."""
    try:
        key = base64.b64decode(text.strip().replace("-", "+").replace("_", "/"), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) not in _KEY_BYTES:
        raise ConfigurationError(
            "OMNINODE_VAULT_KEY is not a key of 16, 24 or 32 bytes in base64; make one with 'openssl rand -base64 32'"
        )
    return key


def _cipher(key: bytes) -> AESGCM:
    try:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM
    except ImportError as error:
        raise ConfigurationError(
            "the vault needs the package cryptography, which is not installed; install omninode[vault], or switch the "
            "vault off (OMNINODE_VAULT=false)"
        ) from error
    if len(key) not in _KEY_BYTES:
        raise InvalidArgumentError(f"the vault's key has {len(key)} bytes; AES takes 16, 24 or 32")
    return AESGCM(key)
