"""The homeserver's door under odd transactions: refused or passed over, counted, answered, and nothing grows."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.gateway.fake_homeserver import AS_TOKEN, HS_TOKEN
from tests.gateway.gateway_support import Thing, eventually, gateway
from tests.gateway.test_gateway_bot_trouble import fields, json_values
from yarl import URL

from thingroom_gateway.app import Gateway
from thingroom_gateway.appservice_http import MAX_BODY, MAX_BRACKETS, object_of
from thingroom_gateway.bot.inbox import MAX_EVENTS, pick
from thingroom_gateway.config import GatewayConfig
from thingroom_gateway.storage import bot as store

BOT = "@thingroom:home.test"
RIGHT = {"Authorization": f"Bearer {HS_TOKEN}"}


class Door:
    """The transactions endpoint of a gateway that runs."""

    def __init__(self, running: Gateway, config: GatewayConfig, session: aiohttp.ClientSession) -> None:
        self.running = running
        self.base = f"http://127.0.0.1:{config.appservice.port}"
        self.session = session
        self._number = 0

    async def put(self, body: bytes | Any, txn: str = "", headers: dict[str, str] | None = None) -> int:
        """The status of a transaction; a new one unless `txn` names it."""
        self._number += 1
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        url = f"{self.base}/_matrix/app/v1/transactions/{txn or self._number}"
        async with self.session.put(url, data=data, headers=RIGHT if headers is None else headers) as answer:
            assert isinstance(await answer.json(), dict)
            return answer.status

    def counted(self, name: str) -> int:
        return self.running.core.counters[f"appservice.{name}"]

    def waiting(self) -> int:
        """Rows in the bot's inbox."""
        return int(self.running.core.database.read(lambda c: c.execute("SELECT COUNT(*) FROM inbox").fetchone()[0]))


@pytest.fixture
async def door(config: GatewayConfig) -> AsyncIterator[Door]:
    async with gateway(config, Thing()) as running, aiohttp.ClientSession() as session:
        yield Door(running, config, session)


def message(number: int, sender: str = "@owner:home.test", **more: Any) -> dict[str, Any]:
    event = {"event_id": f"${number}", "room_id": "!nowhere", "sender": sender, "type": "m.room.message"}
    content = {"msgtype": "m.text", "body": "!status"}
    return {**event, "content": content, "origin_server_ts": time.time_ns() // 1_000_000, **more}


WRONG_TOKENS = ("", "Bearer", f"Bearer {AS_TOKEN}", f"Bearer {HS_TOKEN}x", f"bearer {HS_TOKEN}",
                "Bearer ünïcode-\udcff", "Bearer " + "x" * 7000)  # fmt: skip
NO_TRANSACTIONS = (
    b"", b"{", b"null", b"[]", b"3", b'"x"', b"\xff\xfe", b'"\xed\xa0\x80"', b"{}", b'{"events":null}',
    b'{"events":{}}', b'{"events":[null,1,"x",[],{}]}', b'{"events":[{"content":' + b"[" * 30_000,
    b'{"events":' + b"[" * 30_000 + b"]" * 30_000 + b"}",
    b'{"events":[' + b'{"a":' * 5000 + b"1" + b"}" * 5000 + b"]}",
    b'{"events":[' + b"{}," * MAX_BRACKETS + b"{}]}",
    b'{"events":[{"a":1e999},{"b":"\\ud800"}]}', b"\0" * 1000,
)  # fmt: skip


async def test_a_wrong_token_is_refused_and_counted(door: Door) -> None:
    assert await door.put({"events": [message(1)]}, headers={}) == 403
    for token in WRONG_TOKENS:
        assert await door.put({"events": [message(1)]}, headers={"Authorization": token}) == 403, token
    assert door.counted("wrong_token") == len(WRONG_TOKENS) + 1
    assert door.waiting() == 0


async def test_what_is_no_transaction_is_passed_over(door: Door) -> None:
    for body in NO_TRANSACTIONS:
        assert await door.put(body) == 200, body[:60]
    assert door.waiting() == 0
    assert door.counted("not_json") >= 8 and door.counted("events_odd") >= 7


async def test_a_body_beyond_all_measure_is_refused(door: Door) -> None:
    before = door.counted("too_large")
    assert await door.put(b'{"events":[' + b" " * MAX_BODY + b"]}") == 413
    assert door.counted("too_large") == before + 1


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(events=st.lists(fields | json_values, max_size=6))
async def test_odd_events_are_answered(door: Door, events: list[Any]) -> None:
    assert await door.put({"events": events}) == 200


async def test_half_a_surrogate_in_one_event_costs_no_other(door: Door) -> None:
    before = door.waiting()
    odd = [message(1, room_id="!\ud800"), message(2, content={"msgtype": "m.text", "body": "!x\ud800"}),
           message(3, content={"m.relates_to": {"rel_type": "m.annotation", "event_id": "$a", "key": "\udfff"}},
                   type="m.reaction"), message(4)]  # fmt: skip
    body = json.dumps({"events": odd}).encode()
    picked = pick(object_of(body), BOT, "@thing_")
    assert [heard.event_id for heard in picked.heard] == ["$2", "$3", "$4"] and picked.odd == 1
    assert await door.put(body) == 200
    await eventually(lambda: door.waiting() == before, seconds=30)


async def test_ten_thousand_events_and_the_same_once_more(door: Door) -> None:
    running = door.running
    await eventually(lambda: door.waiting() == 0, seconds=30)
    people = [f"@person{number}:home.test" for number in range(300)]
    many = [message(1000 + number, people[number % 300]) for number in range(10_000)]
    crowded, repeated = door.counted("events_crowded"), door.counted("repeated")
    assert await door.put({"events": many}, "many") == 200
    assert door.counted("events_crowded") - crowded >= 10_000 - store.WAITING
    assert await door.put({"events": many}, "many") == 200
    assert door.counted("repeated") == repeated + 1
    # The same events in another transaction: those that were taken are not taken again.
    heard = running.core.database.read(lambda c: c.execute("SELECT COUNT(*) FROM heard").fetchone()[0])
    assert heard < store.WAITING + 200
    # The bot is not in these rooms: it forgets what was said there, and is ready for others.
    await eventually(lambda: door.waiting() == 0, seconds=60)
    beyond = door.counted("events_beyond")
    assert await door.put({"events": [1] * (MAX_EVENTS + 7)}) == 200
    assert door.counted("events_beyond") == beyond + 7


async def test_many_at_once(door: Door) -> None:
    statuses = await asyncio.gather(
        *(door.put({"events": [message(50_000 + n)]}, f"at once {n % 20}") for n in range(60))
    )
    assert set(statuses) == {200}


ODD_PATHS = (
    ("GET", "/_matrix/app/v1/users/@thing_%FF%00:home.test", 404),
    ("GET", "/_matrix/app/v1/users/" + "x" * 3000, 404),
    ("GET", "/_matrix/app/v1/rooms/%23a:b", 404),
    ("POST", "/_matrix/app/v1/transactions/1", 405),
    ("PUT", "/_matrix/app/v1/transactions/%2e%2e%2f%00%FF", 200),
    ("PUT", "/transactions/" + "y" * 3000, 200),
    ("GET", "/", 404),
    ("GET", "/_matrix/app/v1/thirdparty/protocol/x", 404),
    ("POST", "/_matrix/app/v1/ping", 200),
)


async def test_odd_paths(door: Door) -> None:
    for method, path, status in ODD_PATHS:
        url = URL(door.base + path, encoded=True)
        async with door.session.request(method, url, headers=RIGHT, data=b"{}") as answer:
            assert answer.status == status, path
            assert isinstance(await answer.json(), dict)
