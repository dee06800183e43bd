"""The sender by itself: a real database and rooms, and in the place of the network a client that answers as told."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from tests.federation.federated_house import eventually
from tests.federation.remote_member import remote_member
from tests.homeserver.room_support import House, open_house
from tests.homeserver.running import ManualClock

from thingroom_common.database import Transaction
from thingroom_homeserver.clock import SystemClock
from thingroom_homeserver.federation.outcomes import Failed
from thingroom_homeserver.federation.sender.book import DestinationBook
from thingroom_homeserver.federation.sender.kit import Kit
from thingroom_homeserver.federation.sender.sender import Sender
from thingroom_homeserver.storage.accounts import insert_device
from thingroom_homeserver.storage.destinations import queue_to_device
from thingroom_homeserver.storage.device_keys import set_device_keys
from thingroom_homeserver.storage.device_list_outbox import queue_changes
from thingroom_homeserver.storage.memberships import membership_of
from thingroom_homeserver.storage.positions import next_position
from thingroom_homeserver.storage.receipts import set_receipt
from thingroom_homeserver.storage.room_servers import (
    is_server_in_room,
    server_shares_with,
    servers_at,
    servers_in_room,
)

OK: dict[str, Any] = {"pdus": {}}
DOWN = Failed("unreachable", text="nobody is there")
Answers = Callable[[str, dict[str, Any]], Any]


@dataclass
class ScriptedClient:
    """Keeps what is sent: (server, transaction id, body); answers with `answers(server, body)`, awaited if need be."""

    answers: Answers = lambda server, body: OK
    sent: list[tuple[str, str, dict[str, Any]]] = field(default_factory=list)
    book: DestinationBook | None = None

    async def request(
        self,
        destination: str,
        method: str,
        path: str,
        *,
        body: dict[str, Any] | None = None,
        ignore_backoff: bool = False,
    ) -> dict[str, Any] | Failed:
        assert method == "PUT" and body is not None and ignore_backoff
        self.sent.append((destination, path.rpartition("/")[2], body))
        answer = self.answers(destination, body)
        if isinstance(answer, Awaitable):
            answer = await answer
        assert self.book is not None
        if isinstance(answer, Failed) and (answer.status is None or answer.status >= 500):
            self.book.failed(destination)
        else:
            self.book.succeeded(destination)
        return answer

    def bodies_to(self, server: str) -> list[str]:
        """The texts that were sent to a server, in order, each time they were."""
        return [
            pdu["content"].get("body")
            for destination, _, body in self.sent
            if destination == server
            for pdu in body["pdus"]
        ]

    def edus_to(self, server: str, kind: str) -> list[dict[str, Any]]:
        return [
            edu["content"]
            for destination, _, body in self.sent
            if destination == server
            for edu in body.get("edus", ())
            if edu["edu_type"] == kind
        ]


class Presences:
    def __init__(self) -> None:
        self.there: dict[str, str] = {}

    def of(self, user_id: str) -> dict[str, Any]:
        return {"presence": self.there.get(user_id, "offline"), "last_active_ago": 1}

    def is_there(self, user_id: str) -> bool:
        return user_id in self.there


@dataclass
class Office:
    """A running sender."""

    house: House
    client: ScriptedClient
    sender: Sender
    book: DestinationBook
    presence: Presences


@contextlib.asynccontextmanager
async def office(path: Path, client: ScriptedClient, clock: Any = None, **kit: Any) -> AsyncIterator[Office]:
    clock = clock or SystemClock()
    async with open_house(path / "db") as house:
        database = house.rooms.database
        book = DestinationBook(database, clock, initial_seconds=0.05, max_seconds=0.4)
        client.book = book
        presence = Presences()
        options = {"presence_interval_seconds": 0.05, "refused_initial_seconds": 0.01} | kit
        sender = Sender(Kit(house.rooms, database, clock, client, book, presence, **options))
        async with sender.running():
            yield Office(house, client, sender, book, presence)


async def member(house: House, room_id: str, user_id: str, membership: str = "join") -> None:
    await remote_member(house.rooms, room_id, user_id, membership)


async def room_with(house: House, *users: str) -> str:
    room_id = await house.create("alice", preset="public_chat")
    for user_id in users:
        await member(house, room_id, user_id)
    return room_id


async def test_events_go_to_the_servers_that_are_in_the_room_at_that_event(tmp_path: Path):
    client = ScriptedClient()
    async with office(tmp_path, client) as at:
        room_id = await room_with(at.house, "@bob:two.test")
        await at.house.say("alice", room_id, "for two")
        await member(at.house, room_id, "@carol:three.test")
        await at.house.say("alice", room_id, "for both")
        await member(at.house, room_id, "@bob:two.test", "leave")
        await at.house.say("alice", room_id, "for three")
        await eventually(lambda: "for three" in client.bodies_to("three.test"))
        assert client.bodies_to("three.test") == ["for both", "for three"]
        assert client.bodies_to("two.test") == ["for two", "for both"]
        assert {server for server, _, _ in client.sent} == {"two.test", "three.test"}
        for _, _, body in client.sent:
            assert body["origin"] == "localhost"
            assert all("unsigned" not in pdu and "signatures" in pdu for pdu in body["pdus"])


async def test_two_users_of_a_server_count_as_one_server_until_both_have_left(tmp_path: Path):
    async with office(tmp_path, ScriptedClient()) as at:
        database = at.house.rooms.database
        room_id = await room_with(at.house, "@bob:two.test", "@bert:two.test")
        await member(at.house, room_id, "@bob:two.test", "leave")
        assert database.read(lambda c: is_server_in_room(c, room_id, "two.test"))
        assert database.read(lambda c: server_shares_with(c, "@alice:localhost", "two.test"))
        await member(at.house, room_id, "@bert:two.test", "ban")
        assert database.read(lambda c: servers_in_room(c, room_id)) == ["localhost"]
        # The event that ended it is the last one for that server.
        position = database.read(lambda c: membership_of(c, room_id, "@bert:two.test")).position
        assert database.read(lambda c: servers_at(c, room_id, position)) == ["two.test"]
        assert database.read(lambda c: servers_at(c, room_id, position + 1)) == []


async def test_who_was_only_invited_hears_of_the_end_of_that_and_of_nothing_else(tmp_path: Path):
    async with office(tmp_path, ScriptedClient()) as at:
        room_id = await room_with(at.house)
        database = at.house.rooms.database
        await member(at.house, room_id, "@bob:two.test", "invite")
        await member(at.house, room_id, "@bob:two.test", "leave")
        position = database.read(lambda c: membership_of(c, room_id, "@bob:two.test")).position
        assert [database.read(lambda c, p=p: servers_at(c, room_id, p)) for p in range(position - 1, position + 2)] == [
            [],
            ["two.test"],
            [],
        ]


async def test_what_comes_during_a_transaction_goes_into_the_next_one(tmp_path: Path):
    released = asyncio.Event()

    async def slowly() -> dict[str, Any]:
        await released.wait()
        return OK

    client = ScriptedClient(lambda server, body: slowly())
    async with office(tmp_path, client) as at:
        room_id = await room_with(at.house, "@bob:two.test")
        await at.house.say("alice", room_id, "first")
        await eventually(lambda: len(client.sent) == 1)
        for number in range(120):
            await at.house.say("alice", room_id, str(number))
        released.set()
        await eventually(lambda: len(client.bodies_to("two.test")) == 121)
        assert [len(body["pdus"]) for _, _, body in client.sent] == [1, 50, 50, 20]
        assert client.bodies_to("two.test") == ["first", *map(str, range(120))]
        assert len({transaction for _, transaction, _ in client.sent}) == 4


async def test_a_pending_transaction_is_the_same_after_a_restart(tmp_path: Path):
    client = ScriptedClient(lambda server, body: DOWN)
    async with office(tmp_path, client) as at:
        room_id = await room_with(at.house, "@bob:two.test")
        await at.house.say("alice", room_id, "one")
        await eventually(lambda: len(client.sent) >= 2)
        await at.house.say("alice", room_id, "two")
        assert at.book.is_failing("two.test")
    first = client.sent[0]
    again = ScriptedClient()
    async with office(tmp_path, again) as at:
        assert at.book.is_failing("two.test")
        await eventually(lambda: again.bodies_to("two.test") == ["one", "two"])
        assert again.sent[0] == first
        assert again.sent[1][1] != first[1]
        assert all(sent == first for sent in client.sent)
    quiet = ScriptedClient()
    async with office(tmp_path, quiet) as at:
        assert not at.book.is_failing("two.test")
        await asyncio.sleep(0.1)
        assert quiet.sent == []


async def test_after_a_long_outage_only_the_newest_of_each_room_is_sent(tmp_path: Path):
    down = True
    client = ScriptedClient(lambda server, body: DOWN if down else OK)
    async with office(tmp_path, client, gets_all_upto=8) as at:
        rooms = [await room_with(at.house, "@bob:two.test") for _ in range(3)]
        await at.house.say("alice", rooms[0], "pending")
        await eventually(lambda: len(client.sent) >= 1)
        for number in range(10):
            for index, room_id in enumerate(rooms):
                await at.house.say("alice", room_id, f"{index}: {number}")
        client.sent.clear()
        down = False
        await eventually(lambda: len(client.bodies_to("two.test")) >= 4)
        assert client.bodies_to("two.test")[-4:] == ["pending", "0: 9", "1: 9", "2: 9"]
        await at.house.say("alice", rooms[1], "live")
        await eventually(lambda: client.bodies_to("two.test")[-1] == "live")
        assert len(client.bodies_to("two.test")) == 5


async def test_memory_is_bounded_while_a_server_is_away(tmp_path: Path):
    down = True
    client = ScriptedClient(lambda server, body: DOWN if down else OK)
    async with office(tmp_path, client, max_waiting_events=20) as at:
        room_id = await room_with(at.house, "@bob:two.test")
        for number in range(100):
            await at.house.say("alice", room_id, str(number))
        assert at.sender.waiting <= 20
        client.sent.clear()
        down = False
        await eventually(lambda: len(client.bodies_to("two.test")) >= 100)
        assert client.bodies_to("two.test")[-100:] == list(map(str, range(100)))


async def test_a_dead_server_does_not_delay_the_others(tmp_path: Path):
    never = asyncio.Event()

    async def hang() -> dict[str, Any]:
        await never.wait()
        return OK

    client = ScriptedClient(lambda server, body: hang() if server == "slow.test" else OK)
    async with office(tmp_path, client) as at:
        room_id = await room_with(at.house, "@bob:two.test", "@snail:slow.test")
        for number in range(60):
            await at.house.say("alice", room_id, str(number))
        await eventually(lambda: len(client.bodies_to("two.test")) == 60)
        assert len([1 for server, _, _ in client.sent if server == "slow.test"]) == 1


async def test_a_server_denied_by_the_room_gets_nothing(tmp_path: Path):
    client = ScriptedClient()
    async with office(tmp_path, client) as at:
        room_id = await room_with(at.house, "@bob:two.test", "@eve:evil.test")
        await at.house.say("alice", room_id, "before")
        await eventually(lambda: "before" in client.bodies_to("evil.test"))
        await at.house.set_state("alice", room_id, "m.room.server_acl", {"allow": ["*"], "deny": ["evil.test"]})
        await at.house.say("alice", room_id, "after")
        at.sender.send_to_room(room_id, {"edu_type": "m.typing", "content": {}})
        await eventually(lambda: "after" in client.bodies_to("two.test") and client.edus_to("two.test", "m.typing"))
        assert client.bodies_to("evil.test") == ["before"]
        assert client.edus_to("evil.test", "m.typing") == []


@pytest.mark.parametrize("answer", [Failed("refused", 400), Failed("refused", 413), ValueError("not JSON")])
async def test_a_transaction_that_is_never_taken_is_halved_until_the_culprit_is_found(tmp_path: Path, answer: Any):
    taken: list[str] = []

    def take(server: str, body: dict[str, Any]) -> Any:
        bodies = [pdu["content"].get("body") for pdu in body["pdus"]]
        if "bad" in bodies:
            if isinstance(answer, ValueError):
                raise answer
            return answer
        taken.extend(bodies)
        return OK

    client = ScriptedClient(lambda server, body: DOWN)
    async with office(tmp_path, client) as at:
        room_id = await room_with(at.house, "@bob:two.test")
        await at.house.say("alice", room_id, "0")
        await eventually(lambda: len(client.sent) >= 1)
        for body in ("1", "2", "bad", "3", "4"):
            await at.house.say("alice", room_id, body)
        client.answers = take
        await eventually(lambda: taken == ["0", "1", "2", "3", "4"])


async def test_a_refusal_is_asked_again_with_the_same_transaction(tmp_path: Path):
    refusals = [Failed("refused", status) for status in (401, 403, 404, 429)] + [Failed("bad_answer", 200)]
    client = ScriptedClient(lambda server, body: refusals.pop(0) if refusals else OK)
    async with office(tmp_path, client) as at:
        room_id = await room_with(at.house, "@bob:two.test")
        await at.house.say("alice", room_id, "hello")
        await eventually(lambda: len(client.sent) == 6)
        assert len({(transaction, str(body)) for _, transaction, body in client.sent}) == 1


async def test_being_heard_from_ends_a_long_wait(tmp_path: Path):
    down = True
    client = ScriptedClient(lambda server, body: DOWN if down else OK)
    async with open_house(tmp_path / "db") as house:
        book = DestinationBook(house.rooms.database, SystemClock(), initial_seconds=0.5, max_seconds=3600)
        client.book = book
        sender = Sender(Kit(house.rooms, house.rooms.database, SystemClock(), client, book, Presences()))
        async with sender.running():
            room_id = await room_with(house, "@bob:two.test")
            await house.say("alice", room_id, "hello")
            await eventually(lambda: len(client.sent) >= 3 and book.wait_ms("two.test") > 0)
            assert book.wait_ms("two.test") > 500
            down = False
            sender.heard_from("two.test")
            assert book.wait_ms("two.test") <= 500
            await eventually(lambda: not book.is_failing("two.test"))


async def test_typing_and_presence_are_not_kept_for_a_server_that_is_away(tmp_path: Path):
    down = True
    client = ScriptedClient(lambda server, body: DOWN if down else OK)
    async with office(tmp_path, client) as at:
        room_id = await room_with(at.house, "@bob:two.test")
        await at.house.say("alice", room_id, "hello")
        await eventually(lambda: at.book.is_failing("two.test"))
        at.sender.send_to_room(room_id, {"edu_type": "m.typing", "content": {}}, "key")
        down = False
        await eventually(lambda: not at.book.is_failing("two.test"))
        assert client.edus_to("two.test", "m.typing") == []
        at.sender.send_to_room(room_id, {"edu_type": "m.typing", "content": {"typing": True}}, "key")
        at.sender.send_to_room(room_id, {"edu_type": "m.typing", "content": {"typing": False}}, "key")
        await eventually(lambda: len(client.edus_to("two.test", "m.typing")) == 1)
        assert client.edus_to("two.test", "m.typing") == [{"typing": False}]


async def test_presence_goes_to_whom_it_concerns_and_not_too_often(tmp_path: Path):
    client = ScriptedClient()
    async with office(tmp_path, client, presence_interval_seconds=1.5) as at:
        await room_with(at.house, "@bob:two.test")
        at.presence.there["@alice:localhost"] = "online"
        for _ in range(20):
            at.sender.presence_changed("@alice:localhost")
            at.sender.presence_changed("@stranger:localhost")
            await asyncio.sleep(0.005)
        await eventually(lambda: len(client.edus_to("two.test", "m.presence")) >= 2)
        await asyncio.sleep(0.1)
        pushed = client.edus_to("two.test", "m.presence")
        assert len(pushed) == 2
        assert pushed[0]["push"] == [{"user_id": "@alice:localhost", "presence": "online", "last_active_ago": 1}]
        # A server that comes into a room hears who is there.
        room_id = await room_with(at.house, "@bob:two.test")
        await member(at.house, room_id, "@carol:three.test")
        await eventually(lambda: client.edus_to("three.test", "m.presence"))


async def receipt(house: House, room_id: str, event_id: str, *, kind: str = "m.read", thread_id: str = "") -> None:
    def write(transaction: Transaction) -> int:
        position = next_position(transaction)
        set_receipt(
            transaction,
            room_id=room_id,
            user_id="@alice:localhost",
            kind=kind,
            thread_id=thread_id,
            event_id=event_id,
            ts=5,
            position=position,
        )
        return position

    position = await house.rooms.database.write(write)
    house.rooms.notifier.publish_room(room_id, position)


async def test_public_receipts_are_sent_also_after_an_outage_and_private_ones_never(tmp_path: Path):
    down = False
    client = ScriptedClient(lambda server, body: DOWN if down else OK)
    async with office(tmp_path, client) as at:
        room_id = await room_with(at.house, "@bob:two.test")
        event_id = await at.house.say("alice", room_id, "hello")
        await receipt(at.house, room_id, event_id)
        expected = {room_id: {"m.read": {"@alice:localhost": {"event_ids": [event_id], "data": {"ts": 5}}}}}
        await eventually(lambda: client.edus_to("two.test", "m.receipt") == [expected])
        down = True
        client.sent.clear()
        later = await at.house.say("alice", room_id, "later")
        await eventually(lambda: at.book.is_failing("two.test"))
        await receipt(at.house, room_id, later)
        await receipt(at.house, room_id, later, thread_id="main")
        await receipt(at.house, room_id, later, kind="m.read.private")
        down = False
        await eventually(lambda: len(client.edus_to("two.test", "m.receipt")) == 2)
        received = [content[room_id]["m.read"] for content in client.edus_to("two.test", "m.receipt")]
        assert [each["@alice:localhost"]["data"] for each in received] == [{"ts": 5}, {"ts": 5, "thread_id": "main"}]
        await asyncio.sleep(0.05)
        assert all("m.read.private" not in str(body) for _, _, body in client.sent)


async def test_messages_to_devices_wait_on_disk_in_order(tmp_path: Path):
    async with office(tmp_path, ScriptedClient(lambda server, body: DOWN)) as at:
        await room_with(at.house, "@bob:two.test")

        def write(transaction: Transaction) -> None:
            for number in range(120):
                queue_to_device(transaction, "two.test", f'{{"n": {number}}}', int(time.time() * 1000))

        await at.house.rooms.database.write(write)
        at.sender.wake("two.test")
        await eventually(lambda: at.book.is_failing("two.test"))
    client = ScriptedClient()
    async with office(tmp_path, client):
        await eventually(lambda: len(client.edus_to("two.test", "m.direct_to_device")) == 120)
        assert [edu["n"] for edu in client.edus_to("two.test", "m.direct_to_device")] == list(range(120))
    quiet = ScriptedClient()
    async with office(tmp_path, quiet):
        await asyncio.sleep(0.1)
        assert quiet.sent == []


async def test_updates_of_device_lists_refer_to_the_one_before(tmp_path: Path):
    down = False
    client = ScriptedClient(lambda server, body: DOWN if down else OK)
    async with office(tmp_path, client) as at:
        await room_with(at.house, "@bob:two.test")
        user_id = "@alice:localhost"

        async def change(*device_ids: str) -> None:
            database = at.house.rooms.database
            await database.write(lambda t: queue_changes(t, user_id, device_ids, ["two.test"]))
            at.sender.wake("two.test")

        def updates() -> list[dict[str, Any]]:
            return client.edus_to("two.test", "m.device_list_update")

        await change("ONE")
        await eventually(lambda: len(updates()) == 1)
        assert updates()[0]["prev_id"] == []
        await change("TWO", "THREE")
        await eventually(lambda: len(updates()) == 3)
        down = True
        await change("ONE")
        await eventually(lambda: at.book.is_failing("two.test"))
        await change("TWO")
        await change("TWO")
        await change("")
        down = False
        await eventually(lambda: client.edus_to("two.test", "m.signing_key_update"))
        sent = {update["stream_id"]: update for update in updates()}
        ids = sorted(sent)
        # Of the two changes of TWO during the outage the newer one is told; every update follows the one before it.
        assert [sent[number]["device_id"] for number in ids] == ["ONE", "TWO", "THREE", "ONE", "TWO"]
        assert [sent[number]["prev_id"] for number in ids[1:]] == [[number] for number in ids[:-1]]
        assert client.edus_to("two.test", "m.signing_key_update") == [{"user_id": user_id}]


async def test_a_server_that_a_user_meets_is_told_of_the_users_devices(tmp_path: Path):
    client = ScriptedClient()
    async with office(tmp_path, client) as at:
        alice, keys = "@alice:localhost", '{"keys": {}}'
        first = await room_with(at.house, "@bob:two.test")

        def publish(transaction: Transaction) -> None:
            insert_device(transaction, alice, "PHONE", "Phone", 1)
            set_device_keys(transaction, alice, "PHONE", keys)

        await at.house.rooms.database.write(publish)
        # Two rooms of others: one with a server that is met there first, one with a server that knows her already.
        rooms = [await at.house.create("carol", preset="public_chat") for _ in range(2)]
        await member(at.house, rooms[0], "@dave:three.test")
        await member(at.house, rooms[1], "@bob:two.test")
        for room_id in rooms:
            await at.house.must_change("alice", room_id, "alice", "join")
        await eventually(lambda: client.edus_to("three.test", "m.device_list_update"))
        (told,) = client.edus_to("three.test", "m.device_list_update")
        assert told["device_display_name"] == "Phone" and told["keys"] == {"keys": {}}
        assert client.edus_to("two.test", "m.device_list_update") == []
        assert at.house.rooms.database.read(lambda c: is_server_in_room(c, first, "two.test"))


async def test_the_back_off_doubles_up_to_its_limit_and_is_kept(tmp_path: Path):
    clock = ManualClock()
    async with open_house(tmp_path / "db") as house:
        await room_with(house, "@bob:two.test")
        database = house.rooms.database
        book = DestinationBook(database, clock, initial_seconds=1, max_seconds=60)
        waits = []
        for _ in range(9):
            book.failed("two.test")
            book.failed("two.test")  # of the same moment: counts once
            waits.append(book.wait_ms("two.test") / 1000)
            assert not book.may_try("two.test")
            clock.ms += book.wait_ms("two.test")
            assert book.may_try("two.test")
        for wait, expected in zip(waits, [1, 2, 4, 8, 16, 32, 60, 60, 60], strict=True):
            assert expected * 0.8 <= wait <= expected * 1.2
        book.failed("two.test")
        await book.saved()
        later = DestinationBook(database, clock, initial_seconds=1, max_seconds=60)
        assert later.wait_ms("two.test") == book.wait_ms("two.test") > 0
        # A clock that was set back makes nobody wait for years.
        clock.advance(-(10**7))
        assert later.wait_ms("two.test") <= 72_000
        later.succeeded("two.test")
        await later.saved()
        assert DestinationBook(database, clock, initial_seconds=1, max_seconds=60).may_try("two.test")
