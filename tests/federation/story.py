"""A scripted story of a room on three servers, made from a seed: the network breaks and mends while everybody acts.

`play` gives what was answered with success. Everything random comes from the seed and is chosen before it is sent, but
the servers are real, so what they answer depends on timing too. `agree` says in what the servers differ afterwards.
"""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from dataclasses import dataclass, field
from typing import Any

from tests.federation.network import Link
from tests.federation.sides import Side, Sides, differences
from tests.homeserver.running import Answer, MatrixClient, escape
from tests.patience import PATIENCE_SECONDS

JOIN_RULES = ("public", "invite", "public", "knock")
NO_KNOCKING = ("1", "2", "3", "4", "5", "6")
SECONDS_OF_ROUND = 8.0
MAX_ROUNDS = 6
PATIENT_TRIES = 10
UNREACHABLE = (502, 504)


@dataclass
class Told:
    """Events that were answered with 200: ids by what was asked for."""

    messages: dict[str, str] = field(default_factory=dict)
    """Event id by body."""
    others: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    refused: int = 0


class Story:
    """One room. `rounds` times the network is set anew, and every side does `steps` things."""

    def __init__(self, sides: Sides, seed: int, version: str, *, rounds: int = 4, steps: int = 6) -> None:
        self.sides, self.seed, self.version = sides, seed, version
        self._chance = random.Random(seed)
        self._rounds, self._steps = rounds, steps
        self._numbers = itertools.count(1)
        self.told = Told()
        self.room_id = ""
        self.host = sides.all[seed % len(sides.all)]

    async def play(self) -> None:
        """From the room's making until all links are healed, everybody is there and has said a last word."""
        await self.begin()
        for _ in range(self._rounds):
            self.break_links()
            chances = [random.Random(self._chance.random()) for _ in self.sides.all]
            await asyncio.gather(*map(self._act, self.sides.all, chances))
            if self._chance.random() < 0.5:
                self.sides.network.heal()
                await asyncio.sleep(self._chance.uniform(0, 0.5))
        self.sides.network.heal()
        await self.mend()
        await self.last_words()

    async def begin(self) -> None:
        """The host's room, with everybody in it who lives here."""
        guests = [side.anchor.user_id for side in self.sides.all if side is not self.host]
        users = dict.fromkeys(guests, 90)
        if self.version not in ("12",):
            users[self.host.anchor.user_id] = 100
        made = await self.host.anchor.post(
            "v3/createRoom",
            {
                "room_version": self.version,
                "preset": "public_chat",
                "power_level_content_override": {"users": users, "invite": 0},
            },
        )
        self.room_id = str(made.ok()["room_id"])
        self.sides.network.room_versions[self.room_id] = self.version
        for side in self.sides.all:
            for client in side.clients:
                if client is not self.host.anchor and (client is side.anchor or self._chance.random() < 0.6):
                    (await self._join(client, self.host)).ok()

    def break_links(self) -> None:
        network = self.sides.network
        network.heal()
        names = [side.name for side in self.sides.all]
        kinds: tuple[Link, ...] = ("cut", "cut", "deaf")
        how = self._chance.random()
        if how < 0.25:
            for one, other in itertools.combinations(names, 2):
                network.cut(one, other)
        elif how < 0.6:
            alone = self._chance.choice(names)
            for other in names:
                if other != alone:
                    network.cut(alone, other)
        else:
            for one, other in itertools.permutations(names, 2):
                if self._chance.random() < 0.4:
                    network.links[one, other] = self._chance.choice(kinds)

    async def _act(self, side: Side, chance: random.Random) -> None:
        for _ in range(self._steps):
            client = side.anchor if chance.random() < 0.5 else chance.choice(side.clients)
            await self._step(client, chance)
            await asyncio.sleep(chance.uniform(0, 0.06))

    async def _step(self, client: MatrixClient, chance: random.Random) -> None:
        """One thing that somebody does, allowed or not."""
        everybody = [each.user_id for side in self.sides.all for each in side.users]
        anchors = [side.anchor.user_id for side in self.sides.all if side is not self.host]
        target = chance.choice(everybody if chance.random() < 0.85 else anchors)
        what = chance.choices(
            ("say", "ban", "unban", "kick", "invite", "join", "leave", "topic", "name", "levels", "rules", "redact"),
            (30, 8, 6, 5, 7, 10, 4, 8, 4, 10, 4, 4),
        )[0]
        if what == "say":
            await self.say(client)
        elif what in ("ban", "unban", "kick", "invite"):
            await self._note(client, await client.post(self.path(what), {"user_id": target}))
        elif what == "join":
            if client not in [side.anchor for side in self.sides.all]:
                await self._note(client, await self._join(client, chance.choice(self.sides.all)))
        elif what == "leave":
            if client not in [side.anchor for side in self.sides.all]:
                await self._note(client, await client.post(self.path("leave")))
        elif what == "topic":
            await self._set(client, "m.room.topic", {"topic": f"Topic {next(self._numbers)}"})
        elif what == "name":
            await self._set(client, "m.room.name", {"name": f"Name {next(self._numbers)}"})
        elif what == "rules":
            await self._set(client, "m.room.join_rules", {"join_rule": chance.choice(JOIN_RULES)})
        elif what == "redact" and self.told.messages:
            event_id = chance.choice(list(self.told.messages.values()))
            path = self.path(f"redact/{escape(event_id)}/{next(self._numbers)}")
            await self._note(client, await client.put(path))
        elif what == "levels":
            await self._change_levels(client, target, chance)

    async def _change_levels(self, client: MatrixClient, target: str, chance: random.Random) -> None:
        answer = await client.get(self.path("state/m.room.power_levels"))
        if answer.status != 200:
            return
        content = answer.body
        if chance.random() < 0.7:
            content.setdefault("users", {})[target] = chance.choice((0, 10, 50, 60, 80, 90))
        else:
            content[chance.choice(("events_default", "ban", "kick", "state_default"))] = chance.choice((0, 10, 50))
        await self._set(client, "m.room.power_levels", content)

    def path(self, rest: str) -> str:
        return f"v3/rooms/{escape(self.room_id)}/{rest}"

    async def say(self, client: MatrixClient) -> bool:
        body = f"{self.seed}.{next(self._numbers)}"
        answer = await client.put(self.path(f"send/m.room.message/{body}"), {"msgtype": "m.text", "body": body})
        if answer.status == 200:
            self.told.messages[body] = answer.body["event_id"]
        else:
            await self._note(client, answer)
        return answer.status == 200

    async def _set(self, client: MatrixClient, event_type: str, content: dict[str, Any]) -> bool:
        answer = await client.put(self.path(f"state/{event_type}"), content)
        await self._note(client, answer)
        return answer.status == 200

    async def _join(self, client: MatrixClient, via: Side) -> Answer:
        target = f"v3/join/{escape(self.room_id)}?via={via.name}&server_name={via.name}"
        return await client.post(target)

    async def _note(self, client: MatrixClient, answer: Answer) -> None:
        if answer.status == 200:
            if "event_id" in answer.body:
                self.told.others.append(answer.body["event_id"])
            return
        self.told.refused += 1
        if answer.status >= 500 and answer.status not in UNREACHABLE and self.sides.of(client.user_id).is_ours:
            self.told.faults.append(f"{client.user_id} was answered {answer.status} {answer.body}")

    async def mend(self) -> None:
        """The host sees to it that the anchors are in the room and may speak. All links are up."""
        host = self.host.anchor
        deadline = time.monotonic() + PATIENCE_SECONDS
        settled = False
        tries = 0
        while not settled:
            tries += 1
            seen = [await self._seen(side) for side in self.sides.all]
            assert time.monotonic() < deadline, f"not everybody came back to {self.room_id}: {seen}"
            settled = True
            levels = (await host.get(self.path("state/m.room.power_levels"))).ok()
            guests = [side for side in self.sides.all if side is not self.host]
            wanted = levels | {"events_default": 0, "users": dict(levels.get("users", {}))}
            for side in guests:
                if wanted["users"].get(side.anchor.user_id, 0) < 50:
                    wanted["users"][side.anchor.user_id] = 90
            if wanted != levels:
                settled = False
                await self._set(host, "m.room.power_levels", wanted)
            rules = await host.get(self.path("state/m.room.join_rules"))
            # State resolution before 2.1 may leave a room without. Knocking is not known to old versions: nobody joins.
            if rules.status == 404 or (rules.ok()["join_rule"] == "knock" and self.version in NO_KNOCKING):
                await self._set(host, "m.room.join_rules", {"join_rule": "public"})
            here = await self._seen(self.host)
            for side in guests:
                membership = here.get(side.anchor.user_id)
                if membership == "ban":
                    await host.post(self.path("unban"), {"user_id": side.anchor.user_id})
                if membership not in ("join", "invite"):
                    await host.post(self.path("invite"), {"user_id": side.anchor.user_id})
                own = (await self._seen(side)).get(side.anchor.user_id)
                # A server that takes itself for out of the room is told nothing of it, nor one that others take for
                # that: only leaving and joining again ends it. (Synapse may take an invite for newer than its join.)
                if membership != "join" or own != "join":
                    if tries % PATIENT_TRIES == 0:
                        await side.anchor.post(self.path("leave"))
                    await self._join(side.anchor, self.host)
                    settled = False
            if not settled:
                for side in self.sides.all:  # what one has missed, or soft-failed, it takes from the next event
                    await self.say(side.anchor)
                await asyncio.sleep(0.3)

    async def _seen(self, side: Side) -> dict[str, str]:
        """Memberships, as the anchor of that side is told them. Empty if it is told nothing."""
        answer = await side.anchor.get(self.path("state"))
        if answer.status != 200:
            return {}
        members = (each for each in answer.body if each["type"] == "m.room.member")
        return {each["state_key"]: each["content"].get("membership") for each in members}

    async def last_words(self) -> None:
        """Every anchor says something: what each server has seen becomes known to all."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        for side in self.sides.all:
            while not await self.say(side.anchor):
                assert time.monotonic() < deadline, f"the anchor of {side.name} may not speak in {self.room_id}"
                await self.mend()  # what came late has changed who may

    async def agree(self) -> int:
        """Wait until all have the same state and every message; how many more rounds of last words that took.

        One round is not always enough. A server that joins again through another begins from what that one knew, so
        the ends of its own branch are known to the rest only; and Synapse drops an event if the server that sent it
        cannot tell what came before. Both end with the next event of a server that has everything.
        """
        for rounds in range(MAX_ROUNDS):
            if rounds:
                await self.mend()
                await self.last_words()
            deadline = time.monotonic() + SECONDS_OF_ROUND
            while found := [*await differences(self.sides, self.room_id), *await self.lost_messages()]:
                if time.monotonic() > deadline:
                    break
                await asyncio.sleep(0.2)
            else:
                return rounds
        raise AssertionError("\n".join([f"seed {self.seed}, version {self.version}", self.room_id, *found]))

    async def lost_messages(self) -> list[str]:
        """Messages that were answered with 200 and that a server neither shows nor has set aside.

        Synapse drops an event for good, instead of keeping it as soft-failed, if its sender's server is out of the room
        by then and cannot be asked what came before; what another server has soft-failed need not be there.
        """
        set_aside = {side.name: side.set_aside(self.room_id) for side in self.sides.all}
        found = []
        for side in self.sides.all:
            known = await self._shown(side) | set_aside[side.name].keys()
            if not side.is_ours:
                known |= {event_id for events in set_aside.values() for event_id in events}
            found += [
                f"{side.name} does not show {body} {event_id}"
                for body, event_id in self.told.messages.items()
                if event_id not in known
            ]
        return found

    async def _shown(self, side: Side) -> set[str]:
        """Every event that the anchor there can page back to. Empty while some are with servers in back-off (502)."""
        found: set[str] = set()
        start: dict[str, str] = {}
        while True:
            page = await side.anchor.get(self.path("messages"), dir="b", limit=100, **start)
            if page.status in UNREACHABLE:
                return set()
            found.update(event["event_id"] for event in page.ok()["chunk"])
            if "end" not in page.body:
                return found
            start = {"from": page.body["end"]}
