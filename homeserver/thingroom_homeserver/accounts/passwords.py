"""Password hashing: argon2id in a thread, a few at a time, so that guesses cost memory and not the event loop.

May import argon2 (loaded at the first use). Called by accounts.py.
"""

from __future__ import annotations

import asyncio
import ctypes
import secrets
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

from thingroom_homeserver.config import PasswordCost

if TYPE_CHECKING:
    from argon2 import PasswordHasher

AT_A_TIME = 2
MAX_PASSWORD_BYTES = 512


class Passwords:
    """Hashes and checks passwords at the configured cost (RFC 9106, argon2id)."""

    def __init__(self, cost: PasswordCost) -> None:
        self._cost = cost
        self._turn = asyncio.Semaphore(AT_A_TIME)
        self._hasher: PasswordHasher | None = None
        self._nobodys: str | None = None

    async def hash(self, password: str) -> str:
        """The hash of `password` in PHC string format."""
        async with self._turn:
            return await asyncio.to_thread(self._get_hasher().hash, password)

    async def matches(self, password_hash: str | None, password: str) -> bool:
        """Whether `password` is the one. With no hash (unknown user) it takes as long and is False."""
        if len(password.encode("utf-8", "surrogatepass")) > MAX_PASSWORD_BYTES:
            return False
        async with self._turn:
            return await asyncio.to_thread(self._matches, password_hash, password)

    def is_outdated(self, password_hash: str) -> bool:
        """Whether the hash was made at another cost than the configured one."""
        return self._get_hasher().check_needs_rehash(password_hash)

    def _matches(self, password_hash: str | None, password: str) -> bool:
        from argon2.exceptions import InvalidHashError, VerificationError

        hasher = self._get_hasher()
        if password_hash is None:
            self._nobodys = self._nobodys or hasher.hash(secrets.token_urlsafe(16))
        try:
            hasher.verify(password_hash or self._nobodys or "", password)
        except (VerificationError, InvalidHashError):
            return False
        return password_hash is not None

    def _get_hasher(self) -> PasswordHasher:
        if self._hasher is None:
            from argon2 import PasswordHasher

            _give_back_large_blocks()
            self._hasher = PasswordHasher(
                time_cost=self._cost.passes, memory_cost=self._cost.memory_kib, parallelism=1, hash_len=32
            )
        return self._hasher


def _give_back_large_blocks() -> None:
    """Keep the 19 MiB of a hash a mapping of its own, which is given back at once.

    After the first such block is freed, glibc would keep the next ones in its arenas for good (mallopt(3),
    M_MMAP_THRESHOLD). Elsewhere there is nothing to do.
    """
    m_mmap_threshold = -3
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):
            ctypes.CDLL("libc.so.6").mallopt(m_mmap_threshold, 1024 * 1024)
