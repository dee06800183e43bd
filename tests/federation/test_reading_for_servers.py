"""What other servers are told of a room: events, state, auth chains, history; and what they are not."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.federation.federated_house import FederatedHouse, federated_house
from tests.federation.lying_peer import V1, escaped, lying_peer
from tests.federation.peers import Authority
from tests.homeserver.running import escape

NOWHERE = "$" + "A" * 43
HIDDEN = {"type": "m.room.history_visibility", "content": {"history_visibility": "joined"}}


@pytest.fixture
async def house(tmp_path: Path, authority: Authority) -> AsyncIterator[FederatedHouse]:
    async with federated_house(tmp_path, authority) as house:
        yield house


def about(house: FederatedHouse, endpoint: str, *more: str, room_id: str | None = None) -> str:
    return "/".join((V1, endpoint, escaped(room_id or house.room_id), *map(escaped, more)))


def ids_of(house: FederatedHouse, pdus: list[dict[str, Any]]) -> list[str]:
    return [house.other.learn(pdu).event_id for pdu in pdus]


async def test_one_event(house: FederatedHouse) -> None:
    event_id = await house.send("hello")
    answer = (await house.other.ask("GET", f"{V1}/event/{escaped(event_id)}")).ok()
    assert answer["origin"] == house.peer.server_name
    assert ids_of(house, answer["pdus"]) == [event_id]
    assert answer["pdus"][0]["content"]["body"] == "hello"
    (await house.other.ask("GET", f"{V1}/event/{escaped(NOWHERE)}")).is_error(404, "M_NOT_FOUND")


async def test_the_state_before_an_event(house: FederatedHouse) -> None:
    before = await house.set_state("m.room.topic", {"topic": "one"})
    event_id = await house.set_state("m.room.topic", {"topic": "two"})
    ids = (await house.other.ask("GET", about(house, "state_ids"), event_id=event_id)).ok()
    assert before in ids["pdu_ids"]
    assert event_id not in ids["pdu_ids"]
    state = (await house.other.ask("GET", about(house, "state"), event_id=event_id)).ok()
    assert sorted(ids_of(house, state["pdus"])) == sorted(ids["pdu_ids"])
    assert sorted(ids_of(house, state["auth_chain"])) == sorted(ids["auth_chain_ids"])
    cited = {each for pdu in state["pdus"] for each in house.other.learn(pdu).auth_event_ids}
    assert cited <= set(ids["auth_chain_ids"])
    (await house.other.ask("GET", about(house, "state"))).is_error(400, "M_MISSING_PARAM")
    (await house.other.ask("GET", about(house, "state_ids"), event_id=NOWHERE)).is_error(404, "M_NOT_FOUND")


async def test_what_authorises_an_event(house: FederatedHouse) -> None:
    event_id = await house.send("hello")
    chain = (await house.other.ask("GET", about(house, "event_auth", event_id))).ok()["auth_chain"]
    types = {house.other.learn(pdu).type for pdu in chain}
    assert types >= {"m.room.member", "m.room.power_levels"}
    (await house.other.ask("GET", about(house, "event_auth", NOWHERE))).is_error(404, "M_NOT_FOUND")


async def test_backfill_gives_the_events_and_what_precedes_them(house: FederatedHouse) -> None:
    sent = [await house.send(f"m{number}") for number in range(10)]
    answer = (await house.other.ask("GET", about(house, "backfill"), v=sent[-1], limit=4)).ok()
    assert ids_of(house, answer["pdus"]) == sent[:-5:-1]
    everything = (await house.other.ask("GET", about(house, "backfill"), v=sent[-1], limit=1_000_000)).ok()["pdus"]
    assert house.other.learn(everything[-1]).type == "m.room.create"
    assert (await house.other.ask("GET", about(house, "backfill"), v=NOWHERE, limit=4)).ok()["pdus"] == []
    (await house.other.ask("GET", about(house, "backfill"), v=sent[-1])).is_error(400, "M_MISSING_PARAM")
    (await house.other.ask("GET", about(house, "backfill"), limit=3)).is_error(400, "M_MISSING_PARAM")
    (await house.other.ask("GET", about(house, "backfill"), v=sent[-1], limit="x")).is_error(400, "M_INVALID_PARAM")


async def test_missing_events(house: FederatedHouse) -> None:
    sent = [await house.send(f"m{number}") for number in range(30)]
    uri = about(house, "get_missing_events")

    async def missing(**changes: Any) -> list[str]:
        body = {"earliest_events": [sent[0]], "latest_events": [sent[-1]], "limit": 100, **changes}
        return ids_of(house, (await house.other.ask("POST", uri, body)).ok()["events"])

    assert await missing() == sent[1:-1]
    assert await missing(limit=5) == sent[-6:-1]
    assert len(await missing(limit=None)) == 10
    depth = house.other.events[sent[20]].depth if sent[20] in house.other.events else None
    await house.other_knows(sent[-1])
    depth = house.other.events[sent[20]].depth
    assert await missing(min_depth=depth) == sent[20:-1]
    assert await missing(latest_events=[NOWHERE]) == []
    assert await missing(limit=0) == []
    for body in ({}, {"earliest_events": [], "latest_events": "x"}, {"earliest_events": [1], "latest_events": []}):
        assert (await house.other.ask("POST", uri, body)).status == 400


async def test_the_event_nearest_to_a_time(house: FederatedHouse) -> None:
    event_id = await house.send("hello")
    await house.other_knows(event_id)
    when = house.other.events[event_id].origin_server_ts
    uri = about(house, "timestamp_to_event")
    assert (await house.other.ask("GET", uri, ts=when, dir="b")).ok() == {
        "event_id": event_id,
        "origin_server_ts": when,
    }
    (await house.other.ask("GET", uri, ts=when + 10_000_000, dir="f")).is_error(404, "M_NOT_FOUND")
    (await house.other.ask("GET", uri, ts="soon", dir="f")).is_error(400, "M_INVALID_PARAM")
    (await house.other.ask("GET", uri, ts=when)).is_error(400, "M_INVALID_PARAM")


def all_questions(house: FederatedHouse, event_id: str, room_id: str) -> list[tuple[str, str, Any, dict[str, Any]]]:
    """Every question about a room: method, path, body, query."""
    latest = {"earliest_events": [], "latest_events": [event_id]}
    return [
        ("GET", f"{V1}/event/{escaped(event_id)}", None, {}),
        ("GET", about(house, "state", room_id=room_id), None, {"event_id": event_id}),
        ("GET", about(house, "state_ids", room_id=room_id), None, {"event_id": event_id}),
        ("GET", about(house, "event_auth", event_id, room_id=room_id), None, {}),
        ("GET", about(house, "backfill", room_id=room_id), None, {"v": event_id, "limit": 5}),
        ("POST", about(house, "get_missing_events", room_id=room_id), latest, {}),
        ("GET", about(house, "timestamp_to_event", room_id=room_id), None, {"ts": 0, "dir": "f"}),
    ]


async def test_servers_outside_are_told_nothing(house: FederatedHouse) -> None:
    private = (await house.owner.post("v3/createRoom", {"preset": "private_chat"})).ok()["room_id"]
    sent = await house.owner.put(
        f"v3/rooms/{escape(private)}/send/m.room.message/1", {"msgtype": "m.text", "body": "x"}
    )
    event_id = sent.ok()["event_id"]
    for method, uri, body, query in all_questions(house, event_id, private):
        (await house.other.ask(method, uri, body, **query)).is_error(403, "M_FORBIDDEN")
    # An event of another room than the one named.
    for uri in (about(house, "state_ids"), about(house, "state")):
        (await house.other.ask("GET", uri, event_id=event_id)).is_error(404, "M_NOT_FOUND")
    assert (await house.other.ask("GET", about(house, "backfill"), v=event_id, limit=5)).ok()["pdus"] == []


async def test_denied_servers_are_told_nothing(house: FederatedHouse) -> None:
    event_id = await house.send("hello")
    await house.set_state("m.room.server_acl", {"allow": ["*"], "deny": ["127.0.0.1"]})
    for method, uri, body, query in all_questions(house, event_id, house.room_id):
        (await house.other.ask(method, uri, body, **query)).is_error(403, "M_FORBIDDEN")


async def test_rooms_that_this_server_is_not_in(house: FederatedHouse) -> None:
    for method, uri, body, query in all_questions(house, NOWHERE, "!nowhere:localhost"):
        (await house.other.ask(method, uri, body, **query)).is_error(404, "M_NOT_FOUND")
    for method, uri, body, query in all_questions(house, "x", "not a room"):
        assert (await house.other.ask(method, uri, body, **query)).status in (400, 404)


async def test_history_that_a_server_may_not_see_is_redacted(tmp_path: Path, authority: Authority) -> None:
    async with federated_house(tmp_path, authority, room={"initial_state": [HIDDEN]}) as house:
        seen = await house.send("seen by both")
        async with lying_peer(authority, house.peer, house.room_id, "late") as late:
            after = await house.send("seen by all")
            answers = {}
            for name, asker in (("early", house.other), ("late", late)):
                one = (await asker.ask("GET", f"{V1}/event/{escaped(seen)}")).ok()["pdus"]
                page = (await asker.ask("GET", about(house, "backfill"), v=after, limit=5)).ok()["pdus"]
                body = {"earliest_events": [], "latest_events": [after], "limit": 5}
                missing = (await asker.ask("POST", about(house, "get_missing_events"), body)).ok()["events"]
                answers[name] = [
                    {pdu["content"].get("body") for pdu in pdus if pdu["type"] == "m.room.message"}
                    for pdus in (one, page, missing)
                ]
                assert seen in ids_of(house, [*one, *page, *missing])
            both = {"seen by both", "seen by all"}
            assert answers["early"] == [{"seen by both"}, both, {"seen by both"}]
            assert answers["late"] == [{None}, {None, "seen by all"}, {None}]


async def test_invited_servers_see_from_the_invite_on(tmp_path: Path, authority: Authority) -> None:
    visibility = {"type": "m.room.history_visibility", "content": {"history_visibility": "invited"}}
    async with (
        federated_house(tmp_path, authority, room={"initial_state": [visibility]}) as house,
        lying_peer(authority, house.peer, None, "guest") as guest,
    ):
        guest.server.on("PUT", r"/_matrix/federation/v[12]/invite/.+", lambda _, body: {"event": signed(guest, body)})
        before = await house.send("before the invite")
        (await house.owner.post(f"v3/rooms/{escape(house.room_id)}/invite", {"user_id": guest.user_id})).ok()
        between = await house.send("after the invite")
        await guest.join(house.room_id)
        found = {}
        for event_id in (before, between):
            pdu = (await guest.ask("GET", f"{V1}/event/{escaped(event_id)}")).ok()["pdus"][0]
            found[event_id] = pdu["content"].get("body")
        assert found == {before: None, between: "after the invite"}


def signed(guest: Any, body: dict[str, Any]) -> dict[str, Any]:
    """The invite with the signature of the invited server."""
    guest.version = body["room_version"]
    mine = guest.signed_again(body["event"])
    return {**body["event"], "signatures": {**body["event"]["signatures"], **mine["signatures"]}}


async def test_soft_failed_events_are_given_only_to_those_who_build_on_them(house: FederatedHouse) -> None:
    first = house.other.message("first")
    await house.other.sent(first)
    (await house.owner.post(f"v3/rooms/{escape(house.room_id)}/ban", {"user_id": f"@x:{house.other.name}"})).ok()
    levels = (await house.owner.get(f"v3/rooms/{escape(house.room_id)}/state/m.room.power_levels/")).ok()
    await house.set_state("m.room.power_levels", {**levels, "events_default": 50})
    soft = house.other.message("soft", prev=[first.event_id], on_top=False)
    assert await house.other.sent(soft) == {soft.event_id: None}
    assert (await house.other.ask("GET", f"{V1}/event/{escaped(soft.event_id)}")).status == 200
    after = await house.send("after")
    page = (await house.other.ask("GET", about(house, "backfill"), v=after, limit=50)).ok()["pdus"]
    assert soft.event_id not in ids_of(house, page)
    page = (await house.other.ask("GET", about(house, "backfill"), v=soft.event_id, limit=50)).ok()["pdus"]
    assert soft.event_id in ids_of(house, page)
    uri = f"v3/rooms/{escape(house.room_id)}/event/{escape(soft.event_id)}"
    (await house.owner.get(uri)).is_error(404, "M_NOT_FOUND")


async def test_odd_questions_do_no_harm(house: FederatedHouse) -> None:
    odd = ["", "x", "%00", "é", "!", "$", "a" * 3000, "$" + "😀" * 80, "..", "[]"]
    for text in odd:
        for method, uri, body, query in all_questions(house, text or "$", text or "!"):
            answer = await house.other.ask(method, uri, body, **query)
            assert answer.status in (200, 400, 403, 404, 405, 414), (method, uri, answer.status, answer.body)
    uri = about(house, "get_missing_events")
    for value in (None, 5, "x", [None], {}, [[]], -1, 2**70, 1.5):
        for name in ("limit", "min_depth", "earliest_events", "latest_events"):
            body = {"earliest_events": [], "latest_events": [], name: value}
            assert (await house.other.ask("POST", uri, body)).status in (200, 400)
    for number in (-1, 2**63, 2**200):
        for name, path in (("limit", "backfill"), ("ts", "timestamp_to_event")):
            query = {"v": NOWHERE, "dir": "f", name: number}
            assert (await house.other.ask("GET", about(house, path), **query)).status in (200, 400, 404)


async def test_a_server_with_many_users_sees_what_one_of_them_sees(tmp_path: Path, authority: Authority) -> None:
    async with federated_house(tmp_path, authority, room={"initial_state": [HIDDEN]}) as house:
        before = await house.send("before they came")
        await house.other_knows(before)
        async with lying_peer(authority, house.peer, house.room_id, "first") as late:
            users = [f"@user{number}:{late.name}" for number in range(30)]
            joins = [late.make("m.room.member", {"membership": "join"}, user, sender=user) for user in users]
            assert set((await late.sent(*joins)).values()) == {None}
            after = await house.send("after they came")
            found = {}
            for event_id in (before, after):
                pdu = (await late.ask("GET", f"{V1}/event/{escaped(event_id)}")).ok()["pdus"][0]
                found[event_id] = pdu["content"].get("body")
            assert found == {before: None, after: "after they came"}
