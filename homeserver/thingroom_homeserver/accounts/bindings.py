"""Telling identity servers which addresses are whose, remembering which were told, and taking it back.

May import storage and outgoing/identity_server.py. Source: client-server API, POST /account/3pid/bind, unbind, delete,
and /account/deactivate.
"""

from __future__ import annotations

from thingroom_common.database import Database
from thingroom_homeserver.outgoing.identity_server import IdentityRefused, IdentityServers
from thingroom_homeserver.storage import bound_addresses as storage


class Bindings:
    """The addresses that identity servers know of, by user."""

    def __init__(self, database: Database, servers: IdentityServers) -> None:
        self._database = database
        self._servers = servers

    async def bind(
        self, user_id: str, id_server: str, token: str, sid: str, client_secret: str
    ) -> IdentityRefused | None:
        """Bind what was verified at the identity server in `sid`. None: done."""
        bound = await self._servers.bind(id_server, token, sid, client_secret, user_id)
        if isinstance(bound, IdentityRefused):
            return bound
        await self._database.write(
            lambda transaction: storage.note_bound(transaction, user_id, bound.medium, bound.address, id_server)
        )
        return None

    async def unbind(self, user_id: str, medium: str, address: str, id_server: str | None) -> IdentityRefused | bool:
        """Unbind at `id_server`, or wherever it was bound from here. False: nowhere to go, or not supported there."""
        known = self._database.read(lambda connection: storage.bound_of(connection, user_id))
        servers = [server for one, other, server in known if (one, other) == (medium, address)]
        wanted = servers if id_server is None else [id_server]
        done = bool(wanted)
        for server in wanted:
            outcome = await self._unbind_at(server, user_id, medium, address)
            if isinstance(outcome, IdentityRefused):
                return outcome
            done = done and outcome
        return done

    async def unbind_all(self, user_id: str, id_server: str | None) -> bool:
        """Everything, before the account goes. True if nothing was bound; False if something could not be unbound."""
        done = True
        for medium, address, server in self._database.read(lambda connection: storage.bound_of(connection, user_id)):
            outcome = await self._unbind_at(id_server or server, user_id, medium, address)
            done = done and outcome is True
        return done

    async def _unbind_at(self, server: str, user_id: str, medium: str, address: str) -> IdentityRefused | bool:
        refused = await self._servers.unbind(server, user_id, medium, address)
        if refused is not None:
            # An error that is not in Matrix's words means that the server unbinds nothing (identity service API).
            return refused if refused.spoke_matrix or refused.status not in (400, 404, 501) else False
        await self._database.write(
            lambda transaction: storage.forget_bound(transaction, user_id, medium, address, server)
        )
        return True
