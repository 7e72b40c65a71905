"""One seed for many parts: each draws its own numbers, and all of them repeat when the seed does."""

from __future__ import annotations

from zlib import crc32

__all__ = ["seed_of"]


def seed_of(seed: int | None, part: str) -> int | None:
    """The seed of the part called `part`; None, for numbers that nobody can repeat, where there is no seed."""
    return None if seed is None else crc32(f"{seed}/{part}".encode())
