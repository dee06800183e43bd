"""Names at a single sign-on server, and which account each of them signs in to.

May import storage and accounts. Source: client-server API, "SSO client login"; appendices, "Mapping from other
character sets".
"""

from __future__ import annotations

from thingroom_common.database import Database, Transaction
from thingroom_homeserver.accounts.accounts import Accounts
from thingroom_homeserver.accounts.outcomes import Refusal, Refused
from thingroom_homeserver.config_accounts import Cas
from thingroom_homeserver.storage import third_party_ids as storage

CAS = "cas"
MAX_EXTERNAL_ID = 200
_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyz0123456789._-/+")


def localpart_for(external_id: str) -> str:
    """A user id's localpart for any name: lower case, and what does not fit as =xx."""
    return "".join(
        chr(byte) if chr(byte) in _PLAIN else f"={byte:02x}" for byte in external_id.lower().encode("utf-8", "replace")
    )


class ExternalIds:
    """The table of external ids."""

    def __init__(self, database: Database, accounts: Accounts, cas: Cas) -> None:
        self._database = database
        self._accounts = accounts
        self._cas = cas

    @property
    def enabled(self) -> bool:
        return bool(self._cas.server_url)

    def has_any(self, user_id: str) -> bool:
        return self._database.read(lambda connection: storage.has_external_id(connection, user_id))

    async def user_for(self, external_id: str) -> str | Refused:
        """The account that the name at the CAS server signs in to, made or adopted where that is configured."""
        if not external_id or len(external_id) > MAX_EXTERNAL_ID:
            return Refused(Refusal.FORBIDDEN, "The sign-on server gave no usable name")
        known = self._database.read(lambda c: storage.user_with_external_id(c, CAS, external_id))
        if known is not None:
            return self._usable(known)
        user_id = self._accounts.user_id_of(localpart_for(external_id))
        account = self._accounts.find(user_id)

        def link(transaction: Transaction, user_id: str) -> None:
            storage.insert_external_id(transaction, CAS, external_id, user_id)

        if account is not None:
            if not self._cas.adopt_accounts or account["is_admin"] or account["appservice_id"] is not None:
                return Refused(Refusal.FORBIDDEN, "There is an account of that name which is somebody else's")
            await self._database.write(lambda transaction: link(transaction, user_id))
            return self._usable(user_id)
        if not self._cas.create_accounts:
            return Refused(Refusal.FORBIDDEN, "You have no account on this server")
        return await self._accounts.create_account(localpart_for(external_id), None, within=link)

    def _usable(self, user_id: str) -> str | Refused:
        account = self._accounts.find(user_id)
        if account is None or account["deactivated"]:
            return Refused(Refusal.DEACTIVATED, "The account has been deactivated")
        return Refused(Refusal.LOCKED, "This account has been locked") if account["locked"] else user_id
