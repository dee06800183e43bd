"""Who is notified of an event: every event passes here as it is stored, inside its own write.

Users whose rules are the same share one evaluation, and an event that notifies nobody writes nothing. May import
core, storage, rooms and accounts. It is the `Watcher` of rooms/context.py.
Source: Client-Server API, "Push Notifications", "Server behaviour". Next: unread.py, delivery.py.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache, partial
from typing import Any
from weakref import WeakValueDictionary

import orjson

from thingroom_common.database import Transaction
from thingroom_homeserver.accounts.account_data import NO_ROOM, PUSH_RULES
from thingroom_homeserver.accounts.push_rules import default_push_rules
from thingroom_homeserver.core.event import Event
from thingroom_homeserver.core.push_rules import (
    Member,
    PushRules,
    compile_rules,
    highlights,
    notifies,
    without_user,
)
from thingroom_homeserver.push.unread import Unread
from thingroom_homeserver.rooms.context import Rooms
from thingroom_homeserver.rooms.room_cache import Room
from thingroom_homeserver.storage import notifications as storage
from thingroom_homeserver.storage.account_data import read_data
from thingroom_homeserver.storage.accounts import find_account
from thingroom_homeserver.storage.connection import Reader
from thingroom_homeserver.storage.current_state import MEMBER
from thingroom_homeserver.storage.events import StoredEvent
from thingroom_homeserver.storage.memberships import joined_local_users, member_count
from thingroom_homeserver.storage.notifications import ALL_THREADS, MAIN, Notification

CACHED_ROOMS = 1000
# A row for a whole room names at most so many whom it does not notify; beyond that each user has a row.
MAX_BUT = 200
# How far a chain of relations is followed to find its thread.
MAX_HOPS = 3
IGNORED_USERS = "m.ignored_user_list"
NOBODY = ""
"""Stands for actions that do not notify."""

News = Callable[[str, str | None], None]
"""(room id, user who is not in the room but notified)."""
Cleared = Callable[[str], None]
"""(user who has written, and so has read)."""


@dataclass(slots=True)
class _Audience:
    """The joined local users of a room by their rules, as the open transaction leaves them."""

    groups: dict[PushRules, set[str]]
    member_count: int | None = None
    """All joined users; None: to be counted."""
    caught_up: set[tuple[str, str]] = field(default_factory=set)
    """(user, thread) whose mark need not move: nothing has notified anybody since they wrote last."""


@dataclass(frozen=True, slots=True)
class _Outcome:
    """Whom an event notifies: `for_room` (actions as JSON) is for all who are joined except its sender and `but`."""

    for_room: str | None
    but: set[str]
    for_users: dict[str, str]
    invited: str | None


class _Situation:
    """An event for the rules. What costs a query is asked for only when a rule wants it."""

    def __init__(self, rooms: Rooms, transaction: Transaction, room: Room, event: Event, audience: _Audience) -> None:
        self._rooms = rooms
        self._transaction = transaction
        self._room = room
        self._event = event
        self._audience = audience
        self.event: dict[str, Any] = {
            "type": event.type,
            "content": event.content,
            "sender": event.sender,
            "room_id": event.room_id,
            "event_id": event.event_id,
            "origin_server_ts": event.origin_server_ts,
        }
        if event.state_key is not None:
            self.event["state_key"] = event.state_key

    def member_count(self) -> int:
        if self._audience.member_count is None:
            self._audience.member_count = member_count(self._transaction, self._room.room_id, "join")
        return self._audience.member_count

    def may_notify(self, key: str) -> bool:
        if not self._room.state:
            return False  # an invite to a room of other servers, whose power levels are not known here
        levels = self._rooms.cache.power_levels(self._transaction, self._room)
        return levels.user_level(self._event.sender) >= levels.notification_level(key)

    def member(self, user_id: str) -> Member:
        return Member(user_id, partial(self._display_name, user_id))

    def _display_name(self, user_id: str) -> str | None:
        event = self._rooms.cache.state_event(self._transaction, self._room, MEMBER, user_id)
        name = None if event is None else event.content.get("displayname")
        return name if isinstance(name, str) else None


class Recorder:
    """Writes down whom each event notifies."""

    def __init__(self, unread: Unread, news: News, cleared: Cleared) -> None:
        """`news` is told of every committed event that notified somebody, `cleared` of who has read by writing."""
        self._unread = unread
        self._news = news
        self._cleared = cleared
        self._audiences: OrderedDict[str, _Audience] = OrderedDict()
        self._rules: dict[str, PushRules | None] = {}
        self._ignored: dict[str, frozenset[str]] = {}
        self._shared: WeakValueDictionary[bytes, PushRules] = WeakValueDictionary()

    def account_data_changed(self, transaction: Transaction, user_id: str, kind: str) -> None:
        """The user's rules, or whom they ignore, are being changed."""
        if kind in (PUSH_RULES, IGNORED_USERS) and user_id in self._rules:
            self._forget_user(user_id)
            # The old rules may be read again before the change is committed or undone.
            transaction.after_rollback(lambda: self._forget_user(user_id))

    def members_changed(self, transaction: Transaction, room_id: str) -> None:
        self._drop_audience(room_id)
        # It may be read again before the change is committed or undone.
        transaction.after_rollback(lambda: self._drop_audience(room_id))

    def stored(self, rooms: Rooms, transaction: Transaction, room: Room, stored: StoredEvent) -> None:
        event, position = stored.event, stored.position
        assert position is not None
        audience = self._audience_after(rooms, transaction, stored)
        if event.type == "m.room.redaction" and event.redacts is not None:
            self._forget_redacted(rooms, transaction, event)
        outcome = self._outcome(rooms, transaction, room, event, audience)
        is_own = rooms.is_local(event.sender) and self._rules_of(transaction, event.sender) is not None
        if outcome is None and not is_own:
            return
        thread_id = self._thread_of(rooms, transaction, event)
        if is_own:
            self._note_own(rooms, transaction, audience, stored, thread_id)
        if outcome is not None:
            room_id, now = event.room_id, rooms.clock.now_ms()

            def make(actions: str) -> Notification:
                return Notification(room_id, position, thread_id, _highlight(actions), actions, now)

            if outcome.for_room is not None:
                storage.add_for_room(transaction, make(outcome.for_room), event.sender, outcome.but)
            if outcome.for_users:
                storage.add_for_users(
                    transaction, [(user, make(actions)) for user, actions in outcome.for_users.items()]
                )
            self._unread.note(room_id, position)
            audience.caught_up = {(event.sender, thread_id)} if is_own else set()
            transaction.after_rollback(lambda: self._drop_audience(room_id))
            transaction.after_commit(lambda: self._news(room_id, outcome.invited))

    def _outcome(
        self, rooms: Rooms, transaction: Transaction, room: Room, event: Event, audience: _Audience
    ) -> _Outcome | None:
        """Whom the event notifies; None: nobody."""
        sender = event.sender
        situation = _Situation(rooms, transaction, room, event, audience)
        groups: list[tuple[str, set[str]]] = []
        apart: dict[str, str] = {}
        for rules, users in audience.groups.items():
            if len(users) == 1 and sender in users:
                continue
            decision = rules.decide(situation)
            usual = _encoded(decision.actions)
            groups.append((usual, users))
            if decision.special:
                for user_id in users:
                    actions = _encoded(decision.actions_for(situation.member(user_id)))
                    if actions != usual:
                        apart[user_id] = actions
        invited = self._invited(rooms, transaction, event)
        if invited is not None and (rules_of_invited := self._rules_of(transaction, invited)) is not None:
            decision = rules_of_invited.decide(situation)
            apart[invited] = _encoded(decision.actions_for(situation.member(invited)))
        if not any(apart.values()) and not any(actions for actions, _ in groups):
            return None
        for user_id, whom in self._ignored.items():
            if sender in whom:
                apart[user_id] = NOBODY
        return _share(groups, apart, sender, invited)

    @staticmethod
    def _invited(rooms: Rooms, transaction: Transaction, event: Event) -> str | None:
        if event.type != MEMBER or event.state_key is None or event.content.get("membership") != "invite":
            return None
        return event.state_key if rooms.is_local(event.state_key) else None

    def _note_own(
        self, rooms: Rooms, transaction: Transaction, audience: _Audience, stored: StoredEvent, thread_id: str
    ) -> None:
        """Who writes in a thread has read it; who joins has read everything before."""
        event, position = stored.event, stored.position
        assert position is not None
        if event.is_state:
            if event.type != MEMBER or event.state_key != event.sender or event.content.get("membership") != "join":
                return
            before = None if stored.replaces_state is None else rooms.events.get(transaction, stored.replaces_state)
            if before is not None and before.event.content.get("membership") == "join":
                return
            thread_id = ALL_THREADS
        if (event.sender, thread_id) not in audience.caught_up:
            self._unread.read_up_to(transaction, event.sender, event.room_id, thread_id, position)
            audience.caught_up.add((event.sender, thread_id))
            transaction.after_commit(lambda: self._cleared(event.sender))
            transaction.after_rollback(lambda: self._drop_audience(event.room_id))

    def _forget_redacted(self, rooms: Rooms, transaction: Transaction, redaction: Event) -> None:
        target = rooms.events.get(transaction, redaction.redacts or "")
        if target is not None and target.redacted_by == redaction.event_id and target.position is not None:
            self._unread.drop_event(transaction, target.event.room_id, target.position)

    @staticmethod
    def _thread_of(rooms: Rooms, transaction: Transaction, event: Event) -> str:
        """The root of the event's thread, or MAIN (Client-Server API, "Marking notifications as read")."""
        current = event
        for _ in range(MAX_HOPS + 1):
            relation = current.content.get("m.relates_to")
            if not isinstance(relation, dict):
                return MAIN
            parent_id, kind = relation.get("event_id"), relation.get("rel_type")
            if not isinstance(parent_id, str) or not isinstance(kind, str):
                return MAIN
            parent = rooms.events.get(transaction, parent_id)
            if parent is None or parent.event.room_id != event.room_id:
                return MAIN
            if kind == "m.thread":
                return parent_id
            current = parent.event
        return MAIN

    def _audience_after(self, rooms: Rooms, transaction: Transaction, stored: StoredEvent) -> _Audience:
        """The room's audience, the event applied."""
        event = stored.event
        room_id = event.room_id
        audience = self._audiences.get(room_id)
        if audience is None:
            audience = _Audience({})
            for user_id in joined_local_users(transaction, room_id):
                self._add(transaction, audience, user_id)
            self._audiences[room_id] = audience
            if len(self._audiences) > CACHED_ROOMS:
                self._audiences.popitem(last=False)
            transaction.after_rollback(lambda: self._drop_audience(room_id))
            return audience
        self._audiences.move_to_end(room_id)
        if event.type == MEMBER and event.state_key is not None:
            transaction.after_rollback(lambda: self._drop_audience(room_id))
            audience.member_count = None
            for users in audience.groups.values():
                users.discard(event.state_key)
            if event.content.get("membership") == "join" and rooms.is_local(event.state_key):
                self._add(transaction, audience, event.state_key)
            audience.groups = {rules: users for rules, users in audience.groups.items() if users}
        return audience

    def _add(self, transaction: Transaction, audience: _Audience, user_id: str) -> None:
        rules = self._rules_of(transaction, user_id)
        if rules is not None:
            audience.groups.setdefault(rules, set()).add(user_id)

    def _rules_of(self, connection: Reader, user_id: str) -> PushRules | None:
        """None for who is never notified: users of application services, and accounts that are gone."""
        if user_id not in self._rules:
            self._rules[user_id] = self._load(connection, user_id)
        return self._rules[user_id]

    def _load(self, connection: Reader, user_id: str) -> PushRules | None:
        account = find_account(connection, user_id)
        if account is None or account["deactivated"] or account["appservice_id"] is not None:
            return None
        ignored = _decoded(read_data(connection, user_id, NO_ROOM, IGNORED_USERS)).get("ignored_users")
        if isinstance(ignored, dict) and ignored:
            self._ignored[user_id] = frozenset(ignored)
        content = _decoded(read_data(connection, user_id, NO_ROOM, PUSH_RULES)) or default_push_rules(user_id)
        key = orjson.dumps(without_user(content, user_id), option=orjson.OPT_SORT_KEYS)
        rules = self._shared.get(key)
        if rules is None:
            rules = compile_rules(content, user_id)
            self._shared[key] = rules
        return rules

    def _drop_audience(self, room_id: str) -> None:
        self._audiences.pop(room_id, None)

    def _forget_user(self, user_id: str) -> None:
        self._rules.pop(user_id, None)
        self._ignored.pop(user_id, None)
        self._audiences.clear()


def _share(
    groups: list[tuple[str, set[str]]], apart: dict[str, str], sender: str, invited: str | None
) -> _Outcome | None:
    """One row for what most are told, and one for each user who is told something else.

    `groups`: users by what they are told, but for the users `apart`. Costs what the smaller groups have of users.
    """
    if len(groups) == 1 and not apart:
        return _Outcome(groups[0][0], set(), {}, invited)
    sizes: dict[str, int] = {}
    for actions, users in groups:
        sizes[actions] = sizes.get(actions, 0) + len(users)
    most = max((actions for actions in sizes if actions), key=sizes.__getitem__, default=None)
    others = sum(sizes.values()) - sizes[most] + len(apart) if most is not None else 0
    for_users = {user_id: actions for user_id, actions in apart.items() if actions}
    but: set[str] = set()
    if most is not None and others > min(MAX_BUT, sizes[most]):
        most = None
    for actions, users in groups:
        if actions != most:
            but |= users
            if actions:
                for_users |= {user_id: actions for user_id in users if user_id not in apart}
    but |= apart.keys()
    but.discard(sender)
    for_users.pop(sender, None)
    return None if most is None and not for_users else _Outcome(most, but, for_users, invited)


@lru_cache(maxsize=256)
def _highlight(actions: str) -> bool:
    return highlights(tuple(orjson.loads(actions)))


def _encoded(actions: tuple[Any, ...]) -> str:
    """The actions as JSON text; NOBODY if they do not notify."""
    return orjson.dumps(actions).decode() if notifies(actions) else NOBODY


def _decoded(text: str | None) -> dict[str, Any]:
    value = None if text is None else orjson.loads(text)
    return value if isinstance(value, dict) else {}
