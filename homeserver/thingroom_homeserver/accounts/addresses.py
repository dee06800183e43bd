"""Email addresses (3PIDs) of accounts: asked for, verified by a link in a mail, added, removed.

Whoever asks for a mail learns nothing about other accounts: the answer and the time are the same for every address,
and what there is to say stands in the mail. May import storage, accounts and the mailer.
Source: client-server API, "Adding Account Administrative Contact Information"; identity service API.
"""

from __future__ import annotations

import hmac
import re
import secrets
import sqlite3
from dataclasses import dataclass
from urllib.parse import urlencode

from thingroom_common.database import Database, Transaction
from thingroom_homeserver.accounts import mails
from thingroom_homeserver.accounts.accounts import digest_of
from thingroom_homeserver.accounts.mailer import Mailer
from thingroom_homeserver.accounts.outcomes import Refusal, Refused
from thingroom_homeserver.clock import Clock
from thingroom_homeserver.storage import third_party_ids as storage

EMAIL = "email"
GOOD_FOR_MS = 60 * 60 * 1000
CONFIRM_PATH = "/_thingroom/email/confirm"
MAX_LINK_LENGTH = 2000

REGISTER, ADD, RESET = "register", "add", "reset"
"""What an address is verified for; it counts for nothing else."""

_SECRET = re.compile(r"[0-9A-Za-z.=_-]{1,255}")
_ADDRESS = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[A-Za-z0-9](?:[A-Za-z0-9.-]{0,250}[A-Za-z0-9])?")


@dataclass(frozen=True, slots=True)
class Verified:
    """An address that its owner confirmed, in the validation `sid`."""

    sid: str
    purpose: str
    address: str
    validated_ts: int


def canonical_address(address: str) -> str | None:
    """The address as it is stored and compared (lower case); None if it is none."""
    return address.lower() if len(address) <= 254 and _ADDRESS.fullmatch(address) else None


class Addresses:
    """The addresses and the verifications under way. Without a mailer (`enabled` is False) none can be verified."""

    def __init__(
        self, database: Database, clock: Clock, mailer: Mailer | None, base_url: str, server_name: str
    ) -> None:
        self._database = database
        self._clock = clock
        self._mailer = mailer
        self._base_url = base_url.rstrip("/")
        self._server_name = server_name

    @property
    def enabled(self) -> bool:
        return self._mailer is not None

    def of_user(self, user_id: str) -> list[sqlite3.Row]:
        """medium, address, validated_ts, added_ts."""
        return self._database.read(lambda connection: storage.addresses_of(connection, user_id))

    def user_with(self, medium: str, address: str) -> str | None:
        """The active account with the address, in any case of letters."""
        return self._database.read(lambda c: storage.user_with_address(c, medium, address.lower()))

    async def request(
        self, purpose: str, email: str, client_secret: str, send_attempt: int, next_link: str | None
    ) -> str | Refused:
        """Send a mail with a link; the answer is the session id. The same attempt again sends nothing."""
        if self._mailer is None:
            return Refused(Refusal.MEDIUM_UNSUPPORTED, "This server sends no mail")
        address = canonical_address(email)
        if address is None:
            return Refused(Refusal.INVALID, "Not an email address")
        if not _SECRET.fullmatch(client_secret):
            return Refused(Refusal.INVALID, "client_secret has 1 to 255 letters, digits and the characters . = _ -")
        now_ms = self._clock.now_ms()
        before = self._database.read(
            lambda c: storage.find_validation_of_secret(c, purpose, address, client_secret, now_ms)
        )
        if before is not None and (before["send_attempt"] >= send_attempt or before["validated_ts"] is not None):
            return str(before["sid"])
        sid = str(before["sid"]) if before is not None else secrets.token_urlsafe(18)
        token = secrets.token_urlsafe(24)
        owner = self.user_with(EMAIL, address)
        useful = (owner is not None) == (purpose == RESET)
        digest = digest_of(token) if useful else None
        link = next_link if next_link is not None and len(next_link) <= MAX_LINK_LENGTH else None

        def write(transaction: Transaction) -> None:
            storage.delete_expired_validations(transaction, now_ms)
            storage.put_validation(
                transaction, sid, purpose, address, client_secret, send_attempt, digest, link, now_ms + GOOD_FOR_MS
            )

        await self._database.write(write)
        url = f"{self._base_url}{CONFIRM_PATH}?" + urlencode(
            {"sid": sid, "client_secret": client_secret, "token": token}
        )
        subject, text = (
            mails.confirmation(purpose, self._server_name, url) if useful else mails.no_use(purpose, self._server_name)
        )
        if not await self._mailer.send(address, subject, text):
            await self._database.write(lambda transaction: storage.take_validation(transaction, sid))
            return Refused(Refusal.MAIL_FAILED, "The mail could not be sent; try again later")
        return sid

    def find_pending(self, sid: str, client_secret: str, token: str) -> sqlite3.Row | None:
        """The verification that the link of a mail belongs to."""
        now_ms = self._clock.now_ms()
        row = self._database.read(lambda connection: storage.find_validation(connection, sid, now_ms))
        if row is None or row["token_digest"] is None or not _same(row["client_secret"], client_secret):
            return None
        return row if hmac.compare_digest(row["token_digest"], digest_of(token)) else None

    async def confirm(self, sid: str, client_secret: str, token: str) -> sqlite3.Row | None:
        """The owner of the address agrees. None if the link is not good (any more)."""
        row = self.find_pending(sid, client_secret, token)
        if row is not None:
            now_ms = self._clock.now_ms()
            await self._database.write(lambda transaction: storage.mark_validated(transaction, sid, now_ms))
        return row

    def verified(self, sid: str, client_secret: str, purpose: str) -> Verified | None:
        """The address that was confirmed in that session, for that purpose."""
        now_ms = self._clock.now_ms()
        row = self._database.read(lambda connection: storage.find_validation(connection, sid, now_ms))
        if row is None or row["validated_ts"] is None or row["purpose"] != purpose:
            return None
        if not _same(row["client_secret"], client_secret):
            return None
        return Verified(sid, purpose, row["address"], row["validated_ts"])

    def add_within(self, transaction: Transaction, user_id: str, verified: Verified) -> Refused | None:
        """Give the address to the account, in a larger write. Each verification is good for one thing."""
        if not storage.take_validation(transaction, verified.sid):
            return Refused(Refusal.ADDRESS_UNVERIFIED, "The address has not been verified")
        now_ms = self._clock.now_ms()
        if storage.insert_address(transaction, EMAIL, verified.address, user_id, verified.validated_ts, now_ms):
            return None
        return Refused(Refusal.ADDRESS_IN_USE, "The address belongs to another account")

    async def add(self, user_id: str, verified: Verified) -> Refused | None:
        return await self._database.write(lambda transaction: self.add_within(transaction, user_id, verified))

    async def use_up(self, verified: Verified) -> bool:
        """The verification is spent. False if it was already."""
        return await self._database.write(lambda transaction: storage.take_validation(transaction, verified.sid))

    async def remove(self, user_id: str, medium: str, address: str) -> None:
        await self._database.write(lambda t: storage.delete_address(t, medium, address.lower(), user_id))


def _same(one: str, other: str) -> bool:
    return hmac.compare_digest(one.encode(), other.encode("utf-8", "surrogatepass"))
