"""Random steps that people take in rooms, as a hypothesis strategy, and the story that plays them on a house."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st
from tests.homeserver.room_support import House

from thingroom_homeserver.rooms.membership import kick, unban
from thingroom_homeserver.rooms.outcomes import Sender
from thingroom_homeserver.rooms.send_event import redact_event, send_event, send_state

USERS = ("alice", "bob", "carol")
ROOMS = 2
user = st.sampled_from(USERS)
room = st.integers(0, ROOMS - 1)

step = st.one_of(
    st.tuples(st.just("say"), user, room, st.integers(1, 4)),
    st.tuples(st.just("topic"), user, room, st.integers(1, 4)),
    st.tuples(st.just("member"), user, room, user, st.sampled_from(("invite", "join", "leave", "ban", "knock"))),
    st.tuples(st.just("kick"), user, room, user),
    st.tuples(st.just("unban"), user, room, user),
    st.tuples(st.just("level"), user, room, user, st.sampled_from((0, 50, 100))),
    st.tuples(st.just("rules"), user, room, st.sampled_from(("public", "invite", "knock"))),
    st.tuples(st.just("visibility"), user, room, st.sampled_from(("world_readable", "shared", "invited", "joined"))),
    st.tuples(st.just("redact"), user, room),
    st.tuples(st.just("sync"), user),
    st.tuples(st.just("sync"), user),
    st.tuples(st.just("sync"), user),
)


class Story:
    """Plays steps on a house; what is refused, is refused."""

    def __init__(self, house: House, room_ids: list[str]) -> None:
        self.house = house
        self.room_ids = room_ids
        self.last: dict[str, str] = {}

    async def play(self, step: tuple[Any, ...]) -> None:
        kind, name, room_id = step[0], step[1], self.room_ids[step[2]]
        rooms, sender = self.house.rooms, Sender(self.house.user(name))
        if kind == "say":
            for _ in range(step[3]):
                sent = await send_event(rooms, sender, room_id, "m.room.message", {"body": "x"})
                self.last[room_id] = getattr(sent, "event_id", self.last.get(room_id, "$none"))
        elif kind == "topic":
            for number in range(step[3]):
                await send_state(rooms, sender, room_id, "m.room.topic", "", {"topic": str(number)})
        elif kind == "member":
            await self.house.change(name, room_id, step[3], step[4])
        elif kind == "kick":
            await kick(rooms, sender, room_id, self.house.user(step[3]), None)
        elif kind == "unban":
            await unban(rooms, sender, room_id, self.house.user(step[3]), None)
        elif kind == "level":
            levels = {"users": {"@alice:localhost": 100, self.house.user(step[3]): step[4]}}
            await send_state(rooms, sender, room_id, "m.room.power_levels", "", levels)
        elif kind == "rules":
            await send_state(rooms, sender, room_id, "m.room.join_rules", "", {"join_rule": step[3]})
        elif kind == "visibility":
            content = {"history_visibility": step[3]}
            await send_state(rooms, sender, room_id, "m.room.history_visibility", "", content)
        elif kind == "redact":
            await redact_event(rooms, sender, room_id, self.last.get(room_id, "$none"), {}, f"{self.last}")
