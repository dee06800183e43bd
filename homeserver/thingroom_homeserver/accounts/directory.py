"""The directory: which room a local alias points to.

May import storage, core and thingroom_common. It is the `Aliases` port of rooms/ports.py; client_api/directory.py
adds who may do what. Source: client-server API, "Room aliases".
"""

from __future__ import annotations

from thingroom_common.database import Database, Transaction
from thingroom_homeserver.accounts.appservices import AppService, AppServices
from thingroom_homeserver.accounts.outcomes import Refusal, Refused
from thingroom_homeserver.core.identifiers import is_valid_room_alias, server_name_of
from thingroom_homeserver.storage import directory as storage
from thingroom_homeserver.storage.connection import Reader


class Directory:
    """The table of local aliases."""

    def __init__(self, database: Database, server_name: str, appservices: AppServices) -> None:
        self._database = database
        self._server_name = server_name
        self._appservices = appservices

    def room_of_alias(self, connection: Reader, alias: str) -> str | None:
        """The room that a local alias points to."""
        row = storage.find_alias(connection, alias)
        return None if row is None else row["room_id"]

    def claim_alias(self, transaction: Transaction, alias: str, room_id: str, creator: str) -> bool:
        """Point `alias` to the room; False if it is taken or reserved for an application service."""
        owner = self._appservices.owner_of_alias(alias)
        if owner is not None and not self._acts_for(owner, creator):
            return False
        return storage.insert_alias(transaction, alias, room_id, creator)

    def move_aliases(self, transaction: Transaction, room_id: str, new_room_id: str) -> None:
        """Point all aliases of a room to another one."""
        storage.move_aliases(transaction, room_id, new_room_id)

    def resolve(self, alias: str) -> str | None:
        """The room that a local alias points to, from the committed data."""
        return self._database.read(lambda connection: self.room_of_alias(connection, alias))

    def creator_of(self, alias: str) -> str | None:
        """Who made the alias; None if there is none."""
        row = self._database.read(lambda connection: storage.find_alias(connection, alias))
        return None if row is None else row["creator"]

    def aliases_of(self, room_id: str) -> list[str]:
        return self._database.read(lambda connection: storage.aliases_of_room(connection, room_id))

    def why_unfit(self, alias: str, appservice: AppService | None) -> Refused | None:
        """Why nobody here, or not this requester, may make or remove the alias."""
        if not is_valid_room_alias(alias):
            return Refused(Refusal.INVALID, "Not a room alias")
        if server_name_of(alias) != self._server_name:
            return Refused(Refusal.INVALID, "The alias belongs to another server")
        if appservice is not None and not appservice.aliases.covers(alias):
            return Refused(Refusal.EXCLUSIVE, "The alias is outside of the application service's namespaces")
        if self._appservices.owner_of_alias(alias, asks=appservice) is not None:
            return Refused(Refusal.EXCLUSIVE, "The alias is reserved by an application service")
        return None

    async def create(self, alias: str, room_id: str, creator: str) -> Refused | None:
        """Point a new alias to a room."""
        made = await self._database.write(
            lambda transaction: storage.insert_alias(transaction, alias, room_id, creator)
        )
        return None if made else Refused(Refusal.ALIAS_IN_USE, "The alias is taken")

    async def delete(self, alias: str) -> None:
        await self._database.write(lambda transaction: storage.delete_alias(transaction, alias))

    def _acts_for(self, appservice_id: str, user_id: str) -> bool:
        appservice = self._appservices.find(appservice_id)
        return appservice is not None and appservice.covers_user(user_id)
