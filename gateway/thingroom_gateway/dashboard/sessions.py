"""Who is signed in: a random token in the browser's cookie, its digest on disk, and the token that forms carry.

May import thingroom_common and storage.dashboard. pages_sign_in.py begins and ends sessions, server.py looks them up.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

from thingroom_common.database import Database
from thingroom_gateway.storage import dashboard as store
from thingroom_gateway.storage.dashboard import SessionRow

DAY_MS: Final = 86_400_000
# 32 bytes as base64 without padding.
TOKEN_LENGTH: Final = 43
MAX_SAID: Final = 256


@dataclass(frozen=True, slots=True)
class Visitor:
    """Somebody who is signed in. `form` is what each of their forms must carry."""

    person: str
    digest: bytes
    form: str


@dataclass(frozen=True, slots=True)
class Said:
    """What the next page tells the visitor, once."""

    text: str
    kind: Literal["done", "failed"] = "done"


class Sessions:
    """Owns the table of sessions; what is said to visitors is in memory only."""

    def __init__(self, database: Database, days: int, now_ms: Callable[[], int]) -> None:
        self._database = database
        self._lasting_ms = days * DAY_MS
        self._now_ms = now_ms
        self._said: OrderedDict[bytes, Said] = OrderedDict()

    async def begin(self, person: str) -> tuple[str, int]:
        """A new session: the cookie's value, and for how many seconds it is good. Raises sqlite3.Error."""
        token, now = new_token(), self._now_ms()
        row = SessionRow(digest_of(token), person, now, now + self._lasting_ms)
        await self._database.write(lambda transaction: store.add_session(transaction, row))
        return token, self._lasting_ms // 1000

    def find(self, token: str) -> Visitor | None:
        """Who has this cookie. Raises sqlite3.Error."""
        if len(token) != TOKEN_LENGTH:
            return None
        digest = digest_of(token)
        person = self.still(digest)
        return None if person is None else Visitor(person, digest, form_token(token))

    def still(self, digest: bytes) -> str | None:
        """Who is signed in with the session of that digest, None once it has ended. Raises sqlite3.Error."""
        row = self._database.read(lambda connection: store.load_session(connection, digest, self._now_ms()))
        return None if row is None else row.person

    async def end(self, visitor: Visitor, everywhere: bool) -> None:
        """Sign out, here or on every device. Raises sqlite3.Error."""
        if everywhere:
            await self._database.write(lambda transaction: store.end_sessions_of(transaction, visitor.person))
        else:
            await self._database.write(lambda transaction: store.end_session(transaction, visitor.digest))

    def say(self, visitor: Visitor, said: Said) -> None:
        """Tell the visitor on their next page."""
        self._said[visitor.digest] = said
        while len(self._said) > MAX_SAID:
            self._said.popitem(last=False)

    def take_said(self, visitor: Visitor) -> Said | None:
        """What is to be told now; it is forgotten."""
        return self._said.pop(visitor.digest, None)


def new_token() -> str:
    """256 random bits as text."""
    return secrets.token_urlsafe(32)


def digest_of(token: str) -> bytes:
    """What is kept of a token."""
    return hashlib.sha256(token.encode("utf-8", "replace")).digest()


def form_token(cookie: str) -> str:
    """What a form must carry that is sent along with `cookie`: nobody who cannot read the cookie can make it."""
    return hmac.new(cookie.encode("utf-8", "replace"), b"thingroom form", hashlib.sha256).hexdigest()


def is_form_token(given: str, cookie: str) -> bool:
    """Whether a form was made for whoever has `cookie`."""
    return hmac.compare_digest(given.encode("utf-8", "replace"), form_token(cookie).encode())
