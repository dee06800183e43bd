"""Which events an application service is told of.

May import core and accounts; no I/O. Walks the stream in order and keeps, per room, which of the application service's
users are joined at that point, so that the answer is the same however late the walk is.
Source: application service API, "Registration" (the namespaces' descriptions). Used by delivery.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from thingroom_homeserver.accounts.appservices import AppService
from thingroom_homeserver.core.event import Event


@dataclass(frozen=True, slots=True)
class MemberChange:
    """One of the application service's users joined a room, or is there no more."""

    room_id: str
    user_id: str
    joined: bool


class Interest:
    """The application service's view of the rooms at one point of the stream."""

    def __init__(
        self,
        appservice: AppService,
        members: Iterable[tuple[str, str]],
        aliases_of: Callable[[str], list[str]],
    ) -> None:
        """`members`: (room id, user id) of its joined users at that point; `aliases_of`: a room's aliases now."""
        self._appservice = appservice
        self._aliases_of = aliases_of
        self._members: dict[str, set[str]] = {}
        for room_id, user_id in members:
            self._members.setdefault(room_id, set()).add(user_id)

    def step(self, event: Event, members: Iterable[tuple[str, bool]]) -> tuple[bool, list[MemberChange]]:
        """Whether the next event of the stream is of interest, and what it changed about the joined users.

        `members`: (user id, whether joined now) of those whose membership changed with the event. Mostly the user of a
        member event; where the room's graph forks it may be none, or others.
        """
        changes = [
            MemberChange(event.room_id, user_id, joined)
            for user_id, joined in members
            if joined != (user_id in self._members.get(event.room_id, ())) and self._appservice.covers_user(user_id)
        ]
        # A user who leaves with this event is still told of it, one who joins is told of it already.
        wanted = bool(changes) or self._is_about_its_users(event) or self.covers_room(event.room_id)
        for change in changes:
            self._apply(change)
        return wanted, changes

    def covers_room(self, room_id: str) -> bool:
        """Whether everything in the room is of interest now."""
        return room_id in self._members or self._appservice.rooms.covers(room_id) or self._has_its_alias(room_id)

    def users_in(self, room_id: str) -> AbstractSet[str]:
        """Its users that are joined to the room."""
        return self._members.get(room_id, frozenset())

    def _apply(self, change: MemberChange) -> None:
        users = self._members.setdefault(change.room_id, set())
        if change.joined:
            users.add(change.user_id)
        else:
            users.discard(change.user_id)
        if not users:
            del self._members[change.room_id]

    def _has_its_alias(self, room_id: str) -> bool:
        aliases = self._appservice.aliases
        return bool(aliases) and any(aliases.covers(alias) for alias in self._aliases_of(room_id))

    def _is_about_its_users(self, event: Event) -> bool:
        """Sent by one of its users, or about the membership of one."""
        if self._appservice.covers_user(event.sender):
            return True
        return (
            event.type == "m.room.member"
            and event.state_key is not None
            and self._appservice.covers_user(event.state_key)
        )
