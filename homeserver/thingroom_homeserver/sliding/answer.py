"""A sliding sync answer: which rooms the lists and subscriptions show, what of them is news, and the extensions.

Once a connection is settled (it was told all that its lists show, and they stayed the same), an answer looks at the
rooms with activity since then and at nothing else. A room with activity that no list shows is noted as known up to the
connection's position, and told from there when it comes into view. May import rooms and storage. Source: MSC4186.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import islice

from thingroom_homeserver.rooms.ignoring import ignored_users
from thingroom_homeserver.rooms.present import JsonObject, Viewer
from thingroom_homeserver.sliding import extensions
from thingroom_homeserver.sliding.connections import Connection, Pos, Settled, Told
from thingroom_homeserver.sliding.ports import SlidingSources
from thingroom_homeserver.sliding.request import EVERYWHERE, ListWish, RoomConfig, SlidingWish
from thingroom_homeserver.sliding.room_result import Ask, Result, joined_result, left_result, stripped_result
from thingroom_homeserver.sliding.user_rooms import Listed, UserRooms
from thingroom_homeserver.storage.connection import Reader
from thingroom_homeserver.storage.memberships import changes_of_user, membership_at, membership_of

TURN_SECONDS = 0.004


@dataclass(frozen=True, slots=True)
class Asker:
    """Who asks: session as in Viewer."""

    user_id: str
    device_id: str | None
    session: str | None


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer without its `pos`; what it would add to the connection; and whether it tells anything."""

    body: JsonObject
    upto: int
    ephemeral: int
    told: dict[str, Told]
    extensions: frozenset[str]
    has_news: bool
    generation: int
    counts: dict[str, int]


@dataclass(slots=True)
class _View:
    """What of the lists matters to this answer: configs by room, the lists that show it."""

    configs: dict[str, list[RoomConfig]] = field(default_factory=dict)
    names: dict[str, list[str]] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)

    def show(self, room_id: str, config: RoomConfig, name: str | None) -> None:
        self.configs.setdefault(room_id, []).append(config)
        if name is not None:
            self.names.setdefault(room_id, []).append(name)


async def build_answer(
    sources: SlidingSources, asker: Asker, connection: Connection, pos: Pos | None, wish: SlidingWish
) -> Answer:
    """The answer as of now to a request at `pos` (None: the connection's first)."""
    user_rooms = await sources.lists.of(asker.user_id)
    return await _Builder(sources, asker, connection, pos, wish, user_rooms).build()


class _Builder:
    """One answer in the making. What the lists show is fixed at its start, in one turn of the event loop."""

    def __init__(
        self,
        sources: SlidingSources,
        asker: Asker,
        connection: Connection,
        pos: Pos | None,
        wish: SlidingWish,
        user_rooms: UserRooms,
    ) -> None:
        user_rooms.refresh()
        self._sources, self._asker, self._connection = sources, asker, connection
        self._pos, self._wish, self._list = pos, wish, user_rooms
        self._since = None if pos is None else pos.position
        self._upto, self._ephemeral = user_rooms.upto, sources.typing.position
        ignored = sources.rooms.database.read(lambda c: ignored_users(c, asker.user_id))
        self._viewer = Viewer(asker.user_id, asker.session, sources.rooms.clock.now_ms(), ignored)
        settled = connection.settled
        self._settled = (
            settled is not None
            and settled.pos == pos
            and settled.wish.same_rooms_as(wish)
            and settled.generation == user_rooms.generation
        )
        self._told: dict[str, Told] = {}
        self._bodies: dict[str, JsonObject] = {}
        self._fresh: dict[str, list[str]] = {}

    async def build(self) -> Answer:
        view = self._look()
        changed = [] if self._since is None else list(self._list.changed_since(self._since))
        leaving = self._leaving()
        generation, order = self._list.generation, self._list.order
        listed = {room_id: order[room_id] for room_id in view.configs if room_id in order}
        windows = self._windows() if self._scoped() else {}
        direct = self._list.direct
        turn_ends = time.monotonic() + TURN_SECONDS
        for room_id, configs in view.configs.items():
            if room_id not in leaving:
                self._tell(room_id, listed.get(room_id), configs, room_id in direct)
            if time.monotonic() > turn_ends:
                await asyncio.sleep(0)
                turn_ends = time.monotonic() + TURN_SECONDS
        for room_id in leaving:
            self._tell(room_id, None, view.configs.get(room_id, ()), room_id in direct)
        for room_id in changed:
            told = self._connection.told.get(room_id)
            if room_id not in view.configs and told is not None and told.upto is None:
                self._told[room_id] = replace(told, upto=self._since)
        self._sources.rooms.database.read(self._tell_counts)
        for room_id, names in view.names.items():
            if room_id in self._bodies:
                self._bodies[room_id]["lists"] = names
        more, more_news = self._read_extensions(windows)
        settled = self._connection.settled
        counts_news = settled is not None and settled.pos == self._pos and settled.counts != view.counts
        body: JsonObject = {
            "lists": {name: {"count": count} for name, count in view.counts.items()},
            "rooms": self._bodies,
            "extensions": more,
        }
        return Answer(
            body,
            self._upto,
            self._ephemeral,
            self._told,
            self._connection.extensions | self._wish.extensions.enabled,
            bool(self._bodies) or more_news or counts_news,
            generation,
            view.counts,
        )

    def _look(self) -> _View:
        """The rooms to look at, of all that the lists and subscriptions show, with what is asked of each."""
        found = _View()
        for name, wish in self._wish.lists.items():
            rooms = self._list.view(wish.filters)
            found.counts[name] = len(rooms)
            for room_id in self._newest(rooms, wish):
                found.show(room_id, wish.config, name)
        for room_id, config in self._wish.subscriptions.items():
            found.show(room_id, config, None)
        return found

    def _newest(self, rooms: Collection[str], wish: ListWish) -> Iterable[str]:
        order, since = self._list.order, self._since
        ranges = ((0, len(rooms)),) if wish.ranges is None else wish.ranges
        newest_first = reversed(rooms)  # type: ignore[call-overload]  # an OrderedDict
        if self._settled and since is not None and len(ranges) == 1 and ranges[0][0] == 0:
            for room_id in islice(newest_first, ranges[0][1] + 1):
                if order[room_id].last <= since:
                    return
                yield room_id
            return
        end = min(max((last for _, last in ranges), default=-1) + 1, len(rooms))
        for index, room_id in enumerate(islice(newest_first, end)):
            if any(first <= index <= last for first, last in ranges):
                yield room_id

    def _windows(self) -> dict[str, set[str]]:
        """All rooms that each list shows: for extensions that are restricted to some lists."""
        since, self._since = self._since, None
        windows = {
            name: set(self._newest(self._list.view(wish.filters), wish)) for name, wish in self._wish.lists.items()
        }
        self._since = since
        return windows

    def _scoped(self) -> bool:
        return any(scope != EVERYWHERE for scope in self._wish.extensions.scopes.values())

    def _leaving(self) -> list[str]:
        """Rooms that the client knows, and that the user went out of since."""
        if self._since is None:
            return []
        since, told = self._since, self._connection.told
        changes = self._sources.rooms.database.read(
            lambda c: changes_of_user(c, self._asker.user_id, since, self._upto)
        )
        last = {change.room_id: change.membership for change in changes}
        return [
            room_id
            for room_id, membership in last.items()
            if membership in ("leave", "ban") and room_id in told and told[room_id].kind != "left"
        ]

    def _tell(self, room_id: str, listed: Listed | None, configs: Collection[RoomConfig], is_dm: bool) -> None:
        told = self._connection.told.get(room_id)
        limit = max((config.timeline_limit for config in configs), default=1)
        required = frozenset(config.required for config in configs)
        if not configs and told is not None:
            limit, required = max(1, min(told.timeline_limit, 20)), told.required
        ask = Ask(room_id, self._since, self._upto, told, limit, required, is_dm)
        if listed is not None and listed.membership == "join" and _unchanged(ask, listed):
            return
        result = self._sources.rooms.database.read(lambda c: self._result(c, ask))
        if result is None:
            return
        if result.body:
            self._bodies[room_id] = result.body
            if result.body.get("initial") and result.told.kind == "join":
                self._fresh[room_id] = [event["event_id"] for event in result.body.get("timeline", ())]
        if result.told != told:
            self._told[room_id] = result.told

    def _result(self, reader: Reader, ask: Ask) -> Result | None:
        """None: the room is none of the user's business, or there is nothing to tell."""
        rooms, viewer, told = self._sources.rooms, self._viewer, ask.told
        change = membership_at(reader, ask.room_id, viewer.user_id, ask.upto)
        if change is None:
            return None
        if change.membership == "join":
            return self._with_counts(reader, ask, joined_result(rooms, reader, viewer, ask))
        known = ask.known_upto
        stripped = change.membership in ("invite", "knock")
        kind = "stripped" if stripped else "left"
        if told is not None and told.kind == kind and known is not None and known >= change.position:
            return None
        if stripped:
            if ask.room_id not in self._list.order:
                return None  # an invite by somebody whom the user ignores
            return stripped_result(rooms, reader, ask, change)
        member = membership_of(reader, ask.room_id, viewer.user_id)
        if member is not None and member.forgotten:
            return None
        return left_result(rooms, reader, viewer, ask, change)

    def _with_counts(self, reader: Reader, ask: Ask, result: Result) -> Result:
        if result.body:
            result.body.update(self._counts(reader, ask.room_id))
        return result

    def _counts(self, reader: Reader, room_id: str) -> JsonObject:
        """Of all threads together."""
        unread = self._sources.unread
        threads = {} if unread is None else unread.counts(reader, self._asker.user_id, room_id, self._upto)
        return {
            "notification_count": sum(notifications for notifications, _ in threads.values()),
            "highlight_count": sum(highlights for _, highlights in threads.values()),
        }

    def _tell_counts(self, reader: Reader) -> None:
        """A room that the user read further in has other counts, although nothing else in it is news."""
        since, user_id = self._since, self._asker.user_id
        changed = None if since is None else self._sources.rooms.notifier.rooms_changed_since(since)
        if since is None or not changed:
            return
        known = _Known(self._connection.told, self._told)
        rooms = [room_id for room_id in changed if room_id in known and room_id not in self._bodies]
        for room_id, content in self._sources.receipts.since(reader, user_id, rooms, since, self._upto).items():
            if any(user_id in users for kinds in content.values() for users in kinds.values()):
                self._bodies[room_id] = self._counts(reader, room_id)

    def _read_extensions(self, windows: dict[str, set[str]]) -> tuple[JsonObject, bool]:
        known = _Known(self._connection.told, self._told)
        scene = extensions.Scene(
            self._asker.user_id,
            self._asker.device_id,
            self._pos,
            self._upto,
            self._ephemeral,
            self._connection.extensions,
            self._fresh,
            known,
            windows,
            self._wish.subscriptions.keys(),
        )
        return self._sources.rooms.database.read(
            lambda c: extensions.tell(self._sources, c, self._wish.extensions, scene)
        )


def _unchanged(ask: Ask, listed: Listed) -> bool:
    """Whether the client knows all that is asked of a joined room, without looking into the tables."""
    told = ask.told
    return (
        told is not None
        and told.kind == "join"
        and told.upto is None
        and ask.since is not None
        and listed.last <= ask.since
        and told.required == ask.required
        and told.timeline_limit >= ask.limit
        and told.is_dm == ask.is_dm
    )


class _Known(Collection[str]):
    """The joined rooms that the client knows once it has the answer."""

    def __init__(self, before: dict[str, Told], added: dict[str, Told]) -> None:
        self._before, self._added = before, added

    def __contains__(self, room_id: object) -> bool:
        told = self._added.get(str(room_id)) or self._before.get(str(room_id))
        return told is not None and told.kind == "join"

    def __iter__(self) -> Iterator[str]:
        return (room_id for room_id in {**self._before, **self._added} if room_id in self)

    def __len__(self) -> int:
        return sum(1 for _ in self)


def settle(connection: Connection, pos: Pos, wish: SlidingWish, answer: Answer) -> None:
    """Note that the answer at `pos` leaves nothing of the wish untold."""
    connection.settled = Settled(pos, wish, answer.generation, answer.counts)
