"""Making users leave rooms that they cannot stay in: deactivated accounts, and guests where guests are not wanted.

May import the rooms services. Source: client-server API, "Account deactivation" and "Guest Access".
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from thingroom_homeserver.http.restrictions import guests_may_join
from thingroom_homeserver.rooms.membership import Change, change_membership
from thingroom_homeserver.rooms.outcomes import Sender
from thingroom_homeserver.storage.memberships import rooms_of_user

if TYPE_CHECKING:
    from thingroom_homeserver.services import Services


async def leave_everywhere(user_id: str, services: Services) -> None:
    """Leave every room, reject every invite and take back every knock; and from now on hide what is to be erased."""
    services.database.read(services.rooms.erasures.load)
    members = services.database.read(lambda connection: rooms_of_user(connection, user_id, ("join", "invite", "knock")))
    change, memberships = Change(user_id, "leave"), services.federation.memberships
    # Together, since other servers may have to be asked, of which some may be down.
    await asyncio.gather(*(memberships.change(Sender(user_id), member.room_id, change) for member in members))


async def remove_guests(room_id: str, services: Services) -> None:
    """After m.room.guest_access changed: where guests may not be any more, they leave."""
    if not services.config.guest_access or guests_may_join(services, room_id):
        return
    for user_id in sorted(services.rooms.occupancy.joined_users(room_id)):
        account = services.accounts.find(user_id)
        if account is not None and account["is_guest"]:
            await change_membership(services.rooms, Sender(user_id), room_id, Change(user_id, "leave"))
