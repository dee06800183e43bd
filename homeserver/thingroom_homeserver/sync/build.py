"""A /sync answer: which rooms have something to tell, and everything that is not of a room.

An incremental answer costs in proportion to the rooms that changed, not to the rooms the user is in. All reads stop at
the notifier's position, so what is committed meanwhile waits for the next answer. May import rooms and storage.
Source: Client-Server API, "Syncing". Next: room_sections.py.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TypeVar

from thingroom_homeserver.rooms.event_filter import EventFilter
from thingroom_homeserver.rooms.ignoring import ignored_users
from thingroom_homeserver.rooms.invite_permission import hides_change
from thingroom_homeserver.rooms.present import JsonObject, Viewer
from thingroom_homeserver.rooms.tokens import SyncToken
from thingroom_homeserver.storage.connection import Reader
from thingroom_homeserver.storage.memberships import (
    Member,
    MembershipChange,
    changes_of_user,
    last_joined_position,
    membership_at,
    membership_of,
    rooms_of_user,
)
from thingroom_homeserver.sync.event_shape import needs_shaping, shape_events
from thingroom_homeserver.sync.request import SyncRequest, SyncSources
from thingroom_homeserver.sync.room_sections import (
    Span,
    joined_section,
    left_section,
    refused_section,
    stripped_section,
)
from thingroom_homeserver.sync.unread_counts import unread_fields

T = TypeVar("T")

# A long answer lets the event loop go after this time.
TURN_SECONDS = 0.004


@dataclass(frozen=True, slots=True)
class SyncResult:
    """The answer's JSON, its `next_batch`, and whether it tells anything."""

    response: JsonObject
    token: SyncToken
    has_news: bool


@dataclass(slots=True)
class _Rooms:
    """The four kinds of rooms in an answer."""

    join: JsonObject = field(default_factory=dict)
    invite: JsonObject = field(default_factory=dict)
    knock: JsonObject = field(default_factory=dict)
    leave: JsonObject = field(default_factory=dict)


async def build_sync(sources: SyncSources, request: SyncRequest) -> SyncResult:
    """The answer to `request` as of now."""
    return await _Builder(sources, request).build()


class _Builder:
    """One answer in the making. `upto` and `joined` are fixed at its start."""

    def __init__(self, sources: SyncSources, request: SyncRequest) -> None:
        self._sources = sources
        self._rooms = sources.rooms
        self._request = request
        self._upto = self._rooms.notifier.position
        self._token = SyncToken(self._upto, sources.typing.position)
        self._since = request.since
        self._joined = frozenset(self._rooms.occupancy.joined_rooms(request.user_id))
        ignored = self._read(lambda c: ignored_users(c, request.user_id))
        self._viewer = Viewer(request.user_id, request.session, self._rooms.clock.now_ms(), ignored)
        since = None if request.since is None else request.since.position
        self._told = sources.lazy_members.of(request.user_id, request.device_id, request.sync_filter, since)
        self._turn_ends = time.monotonic() + TURN_SECONDS

    async def build(self) -> SyncResult:
        request, upto = self._request, self._upto
        since = 0 if self._since is None else self._since.position
        sections = _Rooms()
        room_data = self._read(lambda c: self._sources.account_data.rooms_since(c, request.user_id, since, upto))
        changes = {} if self._since is None else self._read(self._membership_changes)
        await self._add_joined(sections, changes, room_data)
        if self._since is None:
            await self._add_initial(sections)
        else:
            await self._add_changed(sections, changes)
        account_data = self._read(lambda c: self._sources.account_data.global_since(c, request.user_id, since, upto))
        account_data = _passing(account_data, request.sync_filter.account_data)
        if needs_shaping(request.sync_filter):
            self._read(lambda c: shape_events(self._rooms, c, request.sync_filter, sections.join, sections.leave))
        presence = self._read(partial(self._presence, changes))
        named = {"join": sections.join, "invite": sections.invite, "knock": sections.knock, "leave": sections.leave}
        response: JsonObject = {
            "account_data": {"events": account_data},
            "presence": {"events": presence},
            "to_device": {"events": []},
            "device_lists": {"changed": [], "left": []},
            "rooms": named,
        }
        has_news = bool(account_data or presence) or any(named.values())
        if self._since is not None:
            has_news |= self._add_device_lists(response, self._since.position)
        if request.device_id is not None:
            self._add_key_counts(response, request.device_id)
            has_news |= self._add_to_device(response, request.device_id)
        response["next_batch"] = str(self._token)
        return SyncResult(response, self._token, has_news)

    def _read(self, function: Callable[[Reader], T]) -> T:
        return self._rooms.database.read(function)

    async def _let_others_run(self) -> None:
        if time.monotonic() > self._turn_ends:
            await asyncio.sleep(0)
            self._turn_ends = time.monotonic() + TURN_SECONDS

    def _add_key_counts(self, response: JsonObject, device_id: str) -> None:
        user_id, keys = self._request.user_id, self._sources.device_keys
        response["device_one_time_keys_count"] = self._read(lambda c: keys.one_time_key_counts(c, user_id, device_id))
        response["device_unused_fallback_key_types"] = self._read(
            lambda c: keys.unused_fallback_key_types(c, user_id, device_id)
        )

    def _add_to_device(self, response: JsonObject, device_id: str) -> bool:
        """Messages to the device; the token tells how far they go."""
        user_id, upto, to_device = self._request.user_id, self._upto, self._sources.to_device
        after = 0 if self._since is None else self._since.to_device_position
        events, reached = self._read(lambda c: to_device.waiting(c, user_id, device_id, after, upto))
        response["to_device"] = {"events": events}
        if reached < upto:
            self._token = replace(self._token, to_device=reached)
        return bool(events)

    def _add_device_lists(self, response: JsonObject, since: int) -> bool:
        user_id, upto = self._request.user_id, self._upto
        news = self._read(lambda c: self._sources.device_lists.news(c, user_id, since, upto))
        response["device_lists"] = {"changed": news.changed, "left": news.left}
        return bool(news.changed or news.left)

    def _presence(self, changes: Mapping[str, list[MembershipChange]], connection: Reader) -> list[JsonObject]:
        source, wanted = self._sources.presence, self._request.sync_filter.presence
        if source is None:
            return []
        since = None if self._since is None else self._since.position
        new_rooms = [room_id for room_id in changes if room_id in self._joined and _newly_joined(changes[room_id])]
        events = source.since(connection, self._request.user_id, since, self._upto, new_rooms)
        return [event for event in events if wanted.allows_parts(event["type"], event["sender"])]

    def _membership_changes(self, connection: Reader) -> dict[str, list[MembershipChange]]:
        """The user's own changes in the span, by room."""
        assert self._since is not None
        changes: dict[str, list[MembershipChange]] = {}
        for change in changes_of_user(connection, self._request.user_id, self._since.position, self._upto):
            changes.setdefault(change.room_id, []).append(change)
        return changes

    async def _add_joined(
        self,
        sections: _Rooms,
        changes: Mapping[str, list[MembershipChange]],
        room_data: Mapping[str, list[JsonObject]],
    ) -> None:
        request, since = self._request, self._since
        wanted = request.sync_filter
        typing = self._sources.typing.changed_since(0 if since is None else since.ephemeral)
        if since is None or request.full_state:
            room_ids: Collection[str] = self._joined
            asked: Collection[str] = self._joined
        else:
            asked = self._changed_rooms(since.position)
            room_ids = {*asked, *(self._joined & (changes.keys() | room_data.keys() | typing.keys()))}
        receipts_since = 0 if since is None else since.position
        new_rooms = [room_id for room_id in room_ids if _newly_joined(changes.get(room_id, ()))]
        receipts = self._receipts(asked, new_rooms, receipts_since)
        for room_id in room_ids:
            if not wanted.rooms.allows_room(room_id):
                continue
            new = since is None or room_id in new_rooms
            known_upto = None if new or since is None else since.position
            span = Span(room_id, known_upto, self._upto, new or request.full_state)
            ephemeral: list[JsonObject] = []
            if room_id in receipts and wanted.ephemeral.allows_parts("m.receipt", None):
                ephemeral.append({"type": "m.receipt", "content": receipts[room_id]})
            if room_id in typing and wanted.ephemeral.allows_parts("m.typing", None):
                ephemeral.append({"type": "m.typing", "content": {"user_ids": typing[room_id]}})
            data = _passing(room_data.get(room_id, ()), wanted.room_account_data)
            section = self._section(span, ephemeral, data)
            if section is None and _is_read_by(request.user_id, receipts.get(room_id, {})):
                section = {}
            if section is not None:
                self._add_unread(section, room_id)
                sections.join[room_id] = section
            await self._let_others_run()

    def _section(self, span: Span, ephemeral: list[JsonObject], data: list[JsonObject]) -> JsonObject | None:
        def read(connection: Reader) -> JsonObject | None:
            return joined_section(
                self._rooms, connection, self._viewer, self._request, span, ephemeral, data, self._told
            )

        return self._read(read)

    def _add_unread(self, section: JsonObject, room_id: str) -> None:
        unread, user_id, upto = self._sources.unread, self._request.user_id, self._upto
        if unread is not None:
            counts = self._read(lambda c: unread.counts(c, user_id, room_id, upto))
            section |= unread_fields(counts, by_thread=self._request.sync_filter.unread_threads)

    def _receipts(self, room_ids: Collection[str], new_rooms: list[str], since: int) -> dict[str, JsonObject]:
        user_id, receipts, upto = self._request.user_id, self._sources.receipts, self._upto
        found = dict(self._read(lambda c: receipts.since(c, user_id, room_ids, since, upto))) if room_ids else {}
        if new_rooms:
            found |= self._read(lambda c: receipts.since(c, user_id, new_rooms, 0, upto))
        return found

    def _changed_rooms(self, since: int) -> Collection[str]:
        """The user's rooms where something happened after `since`."""
        changed = self._rooms.notifier.rooms_changed_since(since)
        if changed is None:
            # The client was away while the server started: receipts are not in the order of rooms, so ask of all.
            return self._joined
        return [room_id for room_id in changed if room_id in self._joined]

    async def _add_initial(self, sections: _Rooms) -> None:
        """Rooms that the user is invited to, knocks at, or (if asked for) has left."""
        memberships = ("invite", "knock", *(("leave", "ban") if self._request.sync_filter.include_leave else ()))
        members = self._read(lambda c: rooms_of_user(c, self._request.user_id, memberships))
        for member in members:
            change = self._read(partial(self._change_at_end, member))
            if member.forgotten or change is None:
                continue
            self._add_apart(sections, change, (), whole=True)
            await self._let_others_run()

    def _change_at_end(self, member: Member, connection: Reader) -> MembershipChange | None:
        """The user's last change that is not newer than the answer."""
        return membership_at(connection, member.room_id, member.user_id, self._upto)

    async def _add_changed(self, sections: _Rooms, changes: Mapping[str, list[MembershipChange]]) -> None:
        """Rooms where the user's membership changed to something other than join."""
        for of_room in changes.values():
            member = self._read(partial(self._member_now, of_room[0].room_id))
            if member is not None and not member.forgotten:
                self._add_apart(sections, of_room[-1], of_room, whole=self._request.full_state)
            await self._let_others_run()

    def _member_now(self, room_id: str, connection: Reader) -> Member | None:
        return membership_of(connection, room_id, self._request.user_id)

    def _add_apart(
        self, sections: _Rooms, last: MembershipChange, changes: Collection[MembershipChange], *, whole: bool
    ) -> None:
        """A room that the user is not in after `last`, the end of `changes` (empty: of an initial sync)."""
        room_id = last.room_id
        if last.membership == "join" or not self._request.sync_filter.rooms.allows_room(room_id):
            return
        if last.membership in ("invite", "knock"):
            if last.membership == "invite" and self._read(lambda c: hides_change(self._rooms, c, last)):
                return
            stripped = self._read(lambda c: stripped_section(self._rooms, c, last))
            if last.membership == "invite":
                sections.invite[room_id] = {"invite_state": {"events": stripped}}
            else:
                sections.knock[room_id] = {"knock_state": {"events": stripped}}
            return
        sections.leave[room_id] = self._read(lambda c: self._left(c, last, changes, whole))

    def _left(
        self, connection: Reader, last: MembershipChange, changes: Collection[MembershipChange], whole: bool
    ) -> JsonObject:
        rooms, viewer, request = self._rooms, self._viewer, self._request
        known = bool(changes) and next(iter(changes)).previous == "join"
        was_in = known or any(change.membership == "join" for change in changes)
        if not changes:
            ended = last_joined_position(connection, last.room_id, request.user_id)
            was_in = ended is not None
            upto = last.position if ended is None else min(ended, last.position)
        else:
            upto = max((change.position for change in changes if change.previous == "join"), default=last.position)
        if not was_in:
            return refused_section(rooms, connection, viewer, request, last)
        # Left, came back and left again: what was missed in between makes the room unknown again.
        interrupted = sum(change.previous == "join" and change.membership != "join" for change in changes) > 1
        since = self._since.position if self._since is not None and known and not interrupted else None
        span = Span(last.room_id, since, upto, whole or since is None)
        return left_section(rooms, connection, viewer, request, span, [])


def _is_read_by(user_id: str, receipts: JsonObject) -> bool:
    """Whether the user's own receipt is among them: their unread counts changed, even if they want no receipts."""
    return any(user_id in users for kinds in receipts.values() for users in kinds.values())


def _passing(account_data: Collection[JsonObject], wanted: EventFilter) -> list[JsonObject]:
    return [entry for entry in account_data if wanted.allows_parts(entry["type"], None)]


def _newly_joined(changes: Collection[MembershipChange]) -> bool:
    """Whether the user was not in the room at some time of the span (and is at its end)."""
    return any(change.membership != "join" or change.previous != "join" for change in changes)
