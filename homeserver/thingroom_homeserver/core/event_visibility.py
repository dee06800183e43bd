"""Whether a user may see an event.

Imports event only. Source: Client-Server API, "Room History Visibility", "Server behaviour". Whether another *server*
may be given an event follows from its users: ask for each, or for the best membership among them.
"""

from __future__ import annotations

from thingroom_homeserver.core.event import Event

_KNOWN = frozenset({"world_readable", "shared", "invited", "joined"})


def visibility_of(history_visibility: Event | None) -> str:
    """The value of an m.room.history_visibility event; `shared` when there is none or it is not understood."""
    value = None if history_visibility is None else history_visibility.content.get("history_visibility")
    return value if isinstance(value, str) and value in _KNOWN else "shared"


def may_see(
    event: Event,
    visibility_at_event: str,
    membership_at_event: str,
    current_membership: str,
    *,
    user_id: str | None = None,
    joined_since: bool | None = None,
) -> bool:
    """Whether the user may see `event`.

    `visibility_at_event` and `membership_at_event` are those in the state *before* the event (`leave` where there is no
    member event). `user_id`: whose membership it is; with it the user's own member events are judged by the membership
    after them too. `joined_since`: whether the user joined at any point after the event, when more is known than
    `current_membership`; by default, whether the user is joined now.
    """
    visibilities = [visibility_at_event if visibility_at_event in _KNOWN else "shared"]
    if event.type == "m.room.history_visibility" and event.state_key == "":
        visibilities.append(visibility_of(event))
    memberships = [membership_at_event]
    if event.type == "m.room.member" and user_id is not None and event.state_key == user_id:
        memberships.append(str(event.content.get("membership")))
    joined_later = current_membership == "join" if joined_since is None else joined_since
    return any(
        _allows(visibility, membership, joined_later) for visibility in visibilities for membership in memberships
    )


def _allows(visibility: str, membership: str, joined_later: bool) -> bool:
    # 1. If the history_visibility was set to world_readable, allow.
    if visibility == "world_readable":
        return True
    # 2. If the user's membership was join, allow.
    if membership == "join":
        return True
    # 3. If history_visibility was set to shared, and the user joined the room at any point after the event, allow.
    if visibility == "shared" and joined_later:
        return True
    # 4. If the user's membership was invite, and the history_visibility was set to invited, allow. 5. Otherwise, deny.
    return visibility == "invited" and membership == "invite"
