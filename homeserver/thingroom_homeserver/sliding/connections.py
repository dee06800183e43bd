"""The connections of devices: what each was told of each room, up to the answer that the client has surely got.

A connection has a base, which the client acknowledged by naming its state in `pos`, and offers: what each of the last
answers would add to it. A request that names the base again is answered anew from the same ground; one that names an
offer makes it the base, and the others void. There are several because a request that the client gave up may overtake
the one that it sent instead: the answer it took must stay good. All are in the tables before the answer leaves, so a
restart changes nothing. An answer that changes nothing takes no write. May import storage. Source: MSC4186.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial

import orjson

from thingroom_common.database import Database
from thingroom_homeserver.rooms.ports import Clock
from thingroom_homeserver.sliding.request import SlidingWish
from thingroom_homeserver.sliding.required_state import Combined, dump, load
from thingroom_homeserver.storage import sliding as storage
from thingroom_homeserver.storage.connection import Reader

MAX_CONNECTIONS_A_DEVICE = 20
MAX_IN_MEMORY = 500
MAX_OFFERS = 4
MAX_MEMBERS_REMEMBERED = 1000
EXPIRE_MS = 30 * 24 * 3600 * 1000
TOUCH_MS = 24 * 3600 * 1000
_NO_ROOM = ""
_POS = re.compile(r"p([0-9]{1,18})_([0-9]{1,18})_([0-9]{1,18})_([0-9]{1,18})", re.ASCII)


@dataclass(frozen=True, slots=True)
class Pos:
    """Everything up to `position`, and `ephemeral` among what is not stored, was told to `connection` in `state`."""

    position: int
    ephemeral: int
    connection: int
    state: int

    def __str__(self) -> str:
        return f"p{self.position}_{self.ephemeral}_{self.connection}_{self.state}"


def parse_pos(text: str) -> Pos | None:
    match = _POS.fullmatch(text)
    return None if match is None else Pos(int(match[1]), int(match[2]), int(match[3]), int(match[4]))


@dataclass(frozen=True, slots=True)
class Told:
    """What the client knows of a room.

    upto: what happened later it does not know; None: nothing did that was not told. kind: how it was shown, "join",
    "stripped" or "left". members: whose member events it got by lazy loading.
    """

    upto: int | None
    kind: str
    timeline_limit: int = 0
    required: Combined = frozenset()
    members: frozenset[str] = frozenset()
    is_dm: bool = False


@dataclass(frozen=True, slots=True)
class Settled:
    """At `pos`, all that `wish` asks for was told, with the user's list at `generation`."""

    pos: Pos
    wish: SlidingWish
    generation: int
    counts: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Offer:
    """What an answer that is not acknowledged would make of the base."""

    told: dict[str, Told]
    extensions: frozenset[str]


@dataclass(slots=True)
class Connection:
    """One connection. `told` and `extensions` are the base; `offers` by their state, the last MAX_OFFERS of them.

    number: 0 before the first answer. turn: counts requests, so that one that waits knows when it is superseded.
    """

    user_id: str
    device_id: str
    conn_id: str
    number: int = 0
    base_state: int = 0
    last_state: int = 0
    told: dict[str, Told] = field(default_factory=dict)
    extensions: frozenset[str] = frozenset()
    offers: dict[int, Offer] = field(default_factory=dict)
    settled: Settled | None = None
    turn: int = 0
    used_ms: int = 0


class Connections:
    """The table of connections, with those last used in memory."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._cache: OrderedDict[int, Connection] = OrderedDict()

    def find(self, user_id: str, device_id: str, conn_id: str, pos: Pos) -> Connection | None:
        """The connection at `pos`, one turn on; None if there is none such, or not the asker's."""
        connection = self._cache.get(pos.connection) or self._database.read(_loaded(pos.connection))
        if connection is None or (connection.user_id, connection.device_id, connection.conn_id) != (
            user_id,
            device_id,
            conn_id,
        ):
            return None
        offer = connection.offers.get(pos.state)
        if offer is not None:
            connection.told.update(offer.told)
            connection.extensions = offer.extensions
            connection.base_state, connection.offers = pos.state, {}
        elif pos.state != connection.base_state:
            return None
        connection.turn += 1
        self._keep(connection)
        return connection

    async def touch(self, connection: Connection) -> None:
        """Note once in a while that the connection is used."""
        now_ms = self._clock.now_ms()
        if now_ms - connection.used_ms > TOUCH_MS:
            connection.used_ms = now_ms
            await self._database.write(lambda t: storage.touch_connection(t, connection.number, now_ms))

    async def save(self, connection: Connection, told: dict[str, Told], extensions: frozenset[str]) -> int | None:
        """The state with `told` added to the base, on disk; None if the connection is gone."""
        if connection.number and not told and extensions == connection.extensions:
            # The client may only name the base, or what it has not been told of yet.
            return connection.base_state
        now_ms = self._clock.now_ms()
        if not connection.number:
            connection.number = await self._database.write(
                lambda t: storage.add_connection(
                    t,
                    connection.user_id,
                    connection.device_id,
                    connection.conn_id,
                    now_ms,
                    MAX_CONNECTIONS_A_DEVICE,
                    now_ms - EXPIRE_MS,
                )
            )
            self._drop_other(connection)
            connection.used_ms = now_ms
        data = {room_id: _dump_told(one) for room_id, one in told.items()}
        if extensions != connection.extensions:
            data[_NO_ROOM] = orjson.dumps(sorted(extensions)).decode()
        number, base, state = connection.number, connection.base_state, connection.last_state + 1
        connection.last_state = state
        connection.offers[state] = Offer(told, extensions)
        while len(connection.offers) > MAX_OFFERS:
            del connection.offers[min(connection.offers)]
        good = (base, *connection.offers)
        self._keep(connection)
        there = await self._database.write(lambda t: storage.add_state(t, number, good, state, data, now_ms))
        if not there:
            self._cache.pop(number, None)
            return None
        return state

    def _drop_other(self, connection: Connection) -> None:
        """A new connection takes the place of the one with its name; of too many, the device loses the oldest."""
        of_device = [
            other
            for other in self._cache.values()
            if (other.user_id, other.device_id) == (connection.user_id, connection.device_id)
        ]
        for other in of_device:
            known = self._database.read(partial(storage.find_connection, number=other.number))
            if known is None:
                self._cache.pop(other.number, None)

    def _keep(self, connection: Connection) -> None:
        self._cache[connection.number] = connection
        self._cache.move_to_end(connection.number)
        if len(self._cache) > MAX_IN_MEMORY:
            self._cache.popitem(last=False)


def _loaded(number: int) -> Callable[[Reader], Connection | None]:
    def read(reader: Reader) -> Connection | None:
        row = storage.find_connection(reader, number)
        if row is None:
            return None
        connection = Connection(row["user_id"], row["device_id"], row["conn_id"], number)
        connection.base_state, connection.last_state = row["base_state"], row["last_state"]
        shared: dict[Combined, Combined] = {}
        connection.used_ms = row["used_ts"]
        offered: dict[int, dict[str, Told]] = {}
        extensions: dict[int, frozenset[str]] = {}
        for room_id, state, text in storage.rows_of_connection(reader, number):
            is_base = state <= connection.base_state
            told_here = connection.told if is_base else offered.setdefault(state, {})
            if room_id == _NO_ROOM:
                extensions[0 if is_base else state] = frozenset(orjson.loads(text))
            else:
                told = _load_told(text)
                told_here[room_id] = replace(told, required=shared.setdefault(told.required, told.required))
        connection.extensions = extensions.get(0, frozenset())
        if connection.last_state > connection.base_state:
            offered.setdefault(connection.last_state, {})  # one that told nothing has no rows
        for state in sorted(offered):
            connection.offers[state] = Offer(offered[state], extensions.get(state, connection.extensions))
        return connection

    return read


def _dump_told(told: Told) -> str:
    members = sorted(told.members)
    values = [told.upto, told.kind, told.timeline_limit, dump(told.required), members, told.is_dm]
    return orjson.dumps(values).decode()


def _load_told(text: str) -> Told:
    upto, kind, limit, required, members, is_dm = orjson.loads(text)
    return Told(upto, kind, limit, load(required), frozenset(members), is_dm)
