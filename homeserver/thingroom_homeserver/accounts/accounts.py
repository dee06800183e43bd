"""Accounts, their passwords, sessions and devices: the rules; storage/accounts.py has the SQL.

May import storage, core and thingroom_common. Endpoints of client_api/ call it; http/authentication.py is told
when sessions end.
"""

from __future__ import annotations

import hashlib
import secrets
import sqlite3
import string
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Protocol

from thingroom_common.database import Database, Transaction
from thingroom_homeserver.accounts.account_data import PUSH_RULES, AccountData
from thingroom_homeserver.accounts.appservices import AppService, AppServices
from thingroom_homeserver.accounts.outcomes import Refusal, Refused
from thingroom_homeserver.accounts.passwords import MAX_PASSWORD_BYTES, Passwords
from thingroom_homeserver.accounts.push_rules import default_push_rules
from thingroom_homeserver.clock import Clock
from thingroom_homeserver.config_accounts import TokenLifetimes
from thingroom_homeserver.core.identifiers import is_valid_new_localpart, parse_user_id
from thingroom_homeserver.storage import accounts as storage
from thingroom_homeserver.storage.cross_signing import is_public_key_of
from thingroom_homeserver.storage.device_keys import device_keys_text, forget_encryption
from thingroom_homeserver.storage.erasures import note_erasure
from thingroom_homeserver.storage.refresh_tokens import insert_refresh_token
from thingroom_homeserver.storage.short_tokens import delete_short_tokens_of
from thingroom_homeserver.storage.standing import note_outside_change
from thingroom_homeserver.storage.third_party_ids import delete_everything_of

MIN_PASSWORD_LENGTH = 8
MAX_DEVICE_ID_BYTES = 255
MAX_DEVICE_NAME_LENGTH = 100


@dataclass(frozen=True, slots=True)
class Session:
    """A new session. The tokens are shown here once and stored as digests only.

    `expires_in_ms` is None for an access token that lasts until its session ends.
    """

    user_id: str
    device_id: str
    access_token: str
    refresh_token: str | None = None
    expires_in_ms: int | None = None


class SessionCache(Protocol):
    """Who must hear at once that sessions ended."""

    def forget_devices(self, user_id: str, device_ids: Collection[str]) -> None: ...

    def forget_user(self, user_id: str) -> None: ...


class DeviceChanges(Protocol):
    """Who must hear that the keys that others see of a user change."""

    def note_change(
        self,
        transaction: Transaction,
        user_id: str,
        device_ids: Collection[str] = (),
        *,
        signing_keys: bool = False,
    ) -> None: ...


class Accounts:
    """Local accounts."""

    def __init__(
        self,
        database: Database,
        server_name: str,
        clock: Clock,
        passwords: Passwords,
        appservices: AppServices,
        account_data: AccountData,
        sessions: SessionCache,
        device_changes: DeviceChanges,
        lifetimes: TokenLifetimes = TokenLifetimes(),  # noqa: B008 - frozen
    ) -> None:
        self._database = database
        self._server_name = server_name
        self._clock = clock
        self._passwords = passwords
        self._appservices = appservices
        self._account_data = account_data
        self._sessions = sessions
        self._device_changes = device_changes
        self._lifetimes = lifetimes

    def user_id_of(self, name: str) -> str:
        """The user id meant by a localpart or a full user id, as typed into a login form."""
        return name if name.startswith("@") else f"@{name}:{self._server_name}"

    def is_local(self, user_id: str) -> bool:
        parsed = parse_user_id(user_id)
        return parsed is not None and parsed[1] == self._server_name

    def find(self, user_id: str) -> sqlite3.Row | None:
        """The account's row (storage/accounts.py), deactivated ones included."""
        return self._database.read(lambda connection: storage.find_account(connection, user_id))

    def exists(self, user_id: str) -> bool:
        """Whether there is an active account."""
        account = self.find(user_id)
        return account is not None and not account["deactivated"]

    def why_unavailable(self, localpart: str, appservice: AppService | None = None) -> Refused | None:
        """Why no account of that name can be made (by `appservice`, or by a person); None if it can."""
        if not is_valid_new_localpart(localpart, self._server_name):
            return Refused(
                Refusal.INVALID_USERNAME, "A username has lower-case letters, digits and the characters . _ = - / +"
            )
        user_id = self.user_id_of(localpart)
        if appservice is not None and not appservice.covers_user(user_id):
            return Refused(Refusal.EXCLUSIVE, "The username is outside of the application service's namespaces")
        if self._appservices.owner_of_user(user_id, asks=appservice) is not None:
            return Refused(Refusal.EXCLUSIVE, "The username is reserved by an application service")
        if self.find(user_id) is not None:
            return Refused(Refusal.USER_IN_USE, "The username is taken")
        return None

    async def create_account(
        self,
        localpart: str | None,
        password: str | None,
        *,
        is_admin: bool = False,
        appservice: AppService | None = None,
        is_guest: bool = False,
        within: Callable[[Transaction, str], Refused | None] | None = None,
    ) -> str | Refused:
        """Make an account and return its user id. No localpart: a random one. No password: none will fit.

        `within` (transaction, user id) runs in the same write, before the account is there, and may refuse.
        """
        localpart = localpart or "".join(secrets.choice(string.ascii_lowercase) for _ in range(12))
        refused = self.why_unavailable(localpart, appservice)
        if refused is None and password is not None:
            refused = why_unfit(password)
        if refused is not None:
            return refused
        user_id = self.user_id_of(localpart)
        password_hash = await self._passwords.hash(password) if password is not None else None
        now_ms = self._clock.now_ms()

        def write(transaction: Transaction) -> Refused | None:
            if storage.find_account(transaction, user_id) is not None:
                return Refused(Refusal.USER_IN_USE, "The username is taken")
            refused = within(transaction, user_id) if within is not None else None
            if refused is not None:
                raise _Undo(refused)
            storage.insert_account(
                transaction,
                user_id,
                password_hash=password_hash,
                created_ts=now_ms,
                is_admin=is_admin,
                appservice_id=appservice.id if appservice else None,
                is_guest=is_guest,
            )
            if appservice is None:
                self._account_data.set_within(transaction, user_id, PUSH_RULES, default_push_rules(user_id))
            return None

        try:
            refused = await self._database.write(write)
        except _Undo as undone:
            return undone.refused
        return refused if refused is not None else user_id

    async def upgrade_guest(self, user_id: str, password: str) -> Refused | None:
        """Make a guest's account a lasting one."""
        refused = why_unfit(password)
        if refused is not None:
            return refused
        password_hash = await self._passwords.hash(password)

        def write(transaction: Transaction) -> None:
            storage.set_password_hash(transaction, user_id, password_hash)
            transaction.execute("UPDATE accounts SET is_guest = 0 WHERE user_id = ?", (user_id,))
            transaction.after_commit(lambda: self._sessions.forget_user(user_id))

        await self._database.write(write)
        return None

    async def ensure_sender(self, appservice: AppService) -> None:
        """Make the account of an application service's own user where it is missing."""
        if self.find(appservice.sender) is None:
            now_ms = self._clock.now_ms()
            await self._database.write(
                lambda transaction: storage.insert_account(
                    transaction,
                    appservice.sender,
                    password_hash=None,
                    created_ts=now_ms,
                    is_admin=False,
                    appservice_id=appservice.id,
                )
            )

    async def check_password(self, user_id: str, password: str) -> Refused | None:
        """None if `password` is the account's."""
        account = self.find(user_id)
        if account is not None and account["deactivated"]:
            return Refused(Refusal.DEACTIVATED, "The account has been deactivated")
        password_hash = account["password_hash"] if account is not None else None
        if not await self._passwords.matches(password_hash, password):
            return Refused(Refusal.FORBIDDEN, "Invalid username or password")
        if account is not None and account["locked"]:
            return Refused(Refusal.LOCKED, "This account has been locked")
        if password_hash is not None and self._passwords.is_outdated(password_hash):
            fresh = await self._passwords.hash(password)
            await self._database.write(lambda transaction: storage.set_password_hash(transaction, user_id, fresh))
        return None

    async def set_password(self, user_id: str, password: str) -> Refused | None:
        """Replace the password; sessions are the caller's to end."""
        refused = why_unfit(password)
        if refused is not None:
            return refused
        password_hash = await self._passwords.hash(password)
        await self._database.write(lambda transaction: storage.set_password_hash(transaction, user_id, password_hash))
        return None

    async def open_session(
        self,
        user_id: str,
        address: str,
        device_id: str | None = None,
        display_name: str | None = None,
        *,
        refreshable: bool = False,
    ) -> Session | Refused:
        """Log the user in from `address` on a device, new or known; the device's earlier tokens stop working.

        `refreshable`: the client can refresh its access token.
        """
        device_id = device_id or "".join(secrets.choice(string.ascii_uppercase) for _ in range(10))
        refused = why_unfit_device(device_id, display_name)
        if refused is not None:
            return refused
        token, digest = new_token("thr")
        refresh_token, refresh_digest = new_token("thf")
        now_ms = self._clock.now_ms()
        lifetimes = self._lifetimes
        seconds = lifetimes.access if refreshable else lifetimes.access_without_refresh
        expires_ts = now_ms + seconds * 1000 if seconds else None

        def write(transaction: Transaction) -> Refused | None:
            if is_public_key_of(transaction, user_id, device_id):
                return Refused(Refusal.INVALID, "A cross-signing key has this name")
            storage.insert_session(transaction, digest, user_id, device_id, display_name, now_ms, address, expires_ts)
            if refreshable:
                refresh_expires_ts = now_ms + lifetimes.refresh * 1000 if lifetimes.refresh else None
                insert_refresh_token(transaction, refresh_digest, user_id, device_id, now_ms, refresh_expires_ts)
            transaction.after_commit(lambda: self._sessions.forget_devices(user_id, {device_id}))
            return None

        session = Session(
            user_id, device_id, token, refresh_token if refreshable else None, seconds * 1000 if seconds else None
        )
        return await self._database.write(write) or session

    async def delete_devices(self, user_id: str, device_ids: Collection[str]) -> None:
        """Log devices out and forget them; unknown ones are ignored."""
        wanted = set(device_ids)

        def write(transaction: Transaction) -> None:
            known = {row["device_id"] for row in storage.list_devices(transaction, user_id)} & wanted
            if storage.delete_devices(transaction, user_id, wanted):
                self._device_changes.note_change(transaction, user_id, sorted(known))
            transaction.after_commit(lambda: self._sessions.forget_devices(user_id, wanted))

        await self._database.write(write)

    async def delete_all_devices(self, user_id: str, keep: str | None = None) -> None:
        """Log the user out everywhere, except on the device `keep`."""
        await self.delete_devices(user_id, {row["device_id"] for row in self.list_devices(user_id)} - {keep})

    def list_devices(self, user_id: str) -> list[sqlite3.Row]:
        return self._database.read(lambda connection: storage.list_devices(connection, user_id))

    def find_device(self, user_id: str, device_id: str) -> sqlite3.Row | None:
        return self._database.read(lambda connection: storage.find_device(connection, user_id, device_id))

    async def rename_device(self, user_id: str, device_id: str, display_name: str | None) -> Refused | None:
        refused = why_unfit_device(device_id, display_name)

        def write(transaction: Transaction) -> None:
            storage.rename_device(transaction, user_id, device_id, display_name)
            if device_keys_text(transaction, user_id, device_id) is not None:
                self._device_changes.note_change(transaction, user_id, [device_id])

        if refused is None:
            await self._database.write(write)
        return refused

    async def create_device(self, user_id: str, device_id: str, display_name: str | None) -> bool | Refused:
        """A device without a token, for an application service's user. False if it was there already."""
        refused = why_unfit_device(device_id, display_name)
        if refused is not None:
            return refused
        now_ms = self._clock.now_ms()

        def write(transaction: Transaction) -> bool | Refused:
            if is_public_key_of(transaction, user_id, device_id):
                return Refused(Refusal.INVALID, "A cross-signing key has this name")
            return storage.insert_device(transaction, user_id, device_id, display_name, now_ms)

        return await self._database.write(write)

    async def deactivate(self, user_id: str, *, erase: bool = False) -> None:
        """End the account for good: no password, no sessions, no profile; the user id is never given out again.

        The rooms are left by the server: it is told of through the database, so that a command may call this too.
        """
        device_ids = {row["device_id"] for row in self.list_devices(user_id)}

        def write(transaction: Transaction) -> None:
            storage.mark_deactivated(transaction, user_id)
            storage.delete_devices(transaction, user_id, device_ids)
            forget_encryption(transaction, user_id)
            self._device_changes.note_change(transaction, user_id, sorted(device_ids), signing_keys=True)
            transaction.execute("DELETE FROM profiles WHERE user_id = ?", (user_id,))
            transaction.execute("DELETE FROM account_data WHERE user_id = ?", (user_id,))
            delete_short_tokens_of(transaction, user_id)
            delete_everything_of(transaction, user_id)
            if erase:
                transaction.execute("UPDATE accounts SET erased = 1 WHERE user_id = ?", (user_id,))
                note_erasure(transaction, user_id)
                transaction.execute("DELETE FROM filters WHERE user_id = ?", (user_id,))
                transaction.execute("DELETE FROM receipts WHERE user_id = ?", (user_id,))
            note_outside_change(transaction, user_id, "deactivated")
            transaction.execute("DELETE FROM pushers WHERE user_id = ?", (user_id,))
            transaction.after_commit(lambda: self._sessions.forget_user(user_id))

        await self._database.write(write)

    def search(self, term: str, limit: int) -> list[sqlite3.Row]:
        """user_id, display_name, avatar_url (JSON text or NULL) of people that match."""
        return self._database.read(lambda connection: storage.search_people(connection, term, limit))


class _Undo(Exception):
    """Takes back what a write did before it was refused."""

    def __init__(self, refused: Refused) -> None:
        super().__init__(refused.text)
        self.refused = refused


def new_token(prefix: str) -> tuple[str, bytes]:
    """A token of 256 random bits, and the digest that is stored of it."""
    token = f"{prefix}_{secrets.token_urlsafe(32)}"
    return token, digest_of(token)


def digest_of(token: str) -> bytes:
    """What tokens are stored and looked up by; comparing digests tells nothing about a token."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()


def why_unfit(password: str) -> Refused | None:
    """Why a password is not taken, or None."""
    if len(password) < MIN_PASSWORD_LENGTH:
        return Refused(Refusal.WEAK_PASSWORD, f"A password has at least {MIN_PASSWORD_LENGTH} characters")
    try:
        too_long = len(password.encode()) > MAX_PASSWORD_BYTES
    except UnicodeEncodeError:
        too_long = True
    if too_long:
        return Refused(Refusal.INVALID, f"A password has at most {MAX_PASSWORD_BYTES} bytes")
    return None


def why_unfit_device(device_id: str, display_name: str | None) -> Refused | None:
    """Why a device id or name is not taken, or None."""
    if not device_id or len(device_id.encode("utf-8", "surrogatepass")) > MAX_DEVICE_ID_BYTES:
        return Refused(Refusal.INVALID, f"A device id has 1 to {MAX_DEVICE_ID_BYTES} bytes")
    if display_name is not None and len(display_name) > MAX_DEVICE_NAME_LENGTH:
        return Refused(Refusal.INVALID, f"A device's name has at most {MAX_DEVICE_NAME_LENGTH} characters")
    return None
