"""Paths that clients in use speak besides the specification's, and what a week does to transaction ids."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.homeserver.running import (
    ManualClock,
    MatrixClient,
    RunningHomeserver,
    escape,
    make_config,
    running_homeserver,
)

from thingroom_homeserver.rooms.tidying import KEEP_MS, forget_transactions


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "unstable/room_keys/version"),
        ("POST", "unstable/keys/signatures/upload"),
        ("POST", "unstable/keys/device_signing/upload"),
        ("POST", "r0/keys/upload/{device}"),
        ("POST", "v1/refresh"),
        ("POST", "unstable/org.matrix.msc2918/refresh"),
        ("GET", "unstable/rooms/!r/relations/$e/m.replace"),
        ("GET", "unstable/org.matrix.msc2946/rooms/!r/hierarchy"),
        ("GET", "unstable/im.nheko.summary/rooms/!r/summary"),
        ("GET", "unstable/uk.half-shot.msc2666/user/mutual_rooms"),
        ("GET", "r0/pushrules"),
        ("GET", "v3/pushrules"),
        ("GET", "r0/sync"),
        ("GET", "r0/voip/turnServer"),
        ("GET", "/_matrix/media/r0/config"),
        ("GET", "/_matrix/media/v1/config"),
        ("GET", "r0/rooms/!r/state/m.room.topic/"),
    ],
)
async def test_the_path_is_known(alice: MatrixClient, method: str, path: str) -> None:
    answer = await alice.request(method, path.format(device=alice.device_id), {} if method == "POST" else None)
    assert answer.errcode != "M_UNRECOGNIZED" and answer.status != 405, (answer.status, answer.body)


async def test_keys_of_another_device_are_not_uploaded(alice: MatrixClient) -> None:
    (await alice.post("r0/keys/upload/OTHER", {})).is_error(400, "M_INVALID_PARAM")


async def test_keys_of_a_thousand_users_are_answered(homeserver: RunningHomeserver, alice: MatrixClient) -> None:
    wanted = {f"@u{number}:localhost": [] for number in range(999)} | {alice.user_id: []}
    answer = (await alice.post("v3/keys/query", {"device_keys": wanted})).ok()
    assert answer["device_keys"] == {alice.user_id: {}}
    assert {"master_keys", "self_signing_keys", "failures"} <= answer.keys()
    claims = {user_id: {"X": "signed_curve25519"} for user_id in wanted}
    assert (await alice.post("v3/keys/claim", {"one_time_keys": claims})).ok()["one_time_keys"] == {}
    assert (await alice.post("v3/keys/query", {"device_keys": {}})).ok()["device_keys"] == {}


async def test_a_transaction_id_is_good_for_a_week(tmp_path: Path) -> None:
    clock = ManualClock()
    async with running_homeserver(make_config(tmp_path / "homeserver"), clock=clock) as homeserver:
        alice = await homeserver.register("alice")
        room_id = (await alice.post("v3/createRoom", {})).ok()["room_id"]

        async def say(number: int) -> str:
            path = f"v3/rooms/{escape(room_id)}/send/m.room.message/{number}"
            return (await alice.put(path, {"msgtype": "m.text", "body": "x"})).ok()["event_id"]

        first = [await say(number) for number in range(5)]
        clock.advance(KEEP_MS / 1000)
        fresh = await say(99)
        await forget_transactions(homeserver.services.rooms, at_once=2)
        assert [await say(number) for number in range(5)] == first
        clock.advance(1)
        await forget_transactions(homeserver.services.rooms, at_once=2)
        assert await say(99) == fresh
        again = [await say(number) for number in range(5)]
        assert not set(again) & set(first)
