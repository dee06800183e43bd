"""Steps 1 to 3 of the receipt: the format, the signatures that each room version wants, and the content hash."""

from __future__ import annotations

import asyncio
import copy
import os
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.federation.peers import Authority, Peer, running_peer
from tests.federation.scripted import ScriptedServer, scripted_server
from tests.homeserver.running import ManualClock

from thingroom_homeserver.core.event import Event
from thingroom_homeserver.core.room_rules import ROOM_RULES
from thingroom_homeserver.core.signing import SigningKey, encode_base64, sign_event
from thingroom_homeserver.federation.server_keys import ServerKeys, WantedKey
from thingroom_homeserver.federation.verify_event import Bad, verify_events

NOW = 1_760_000_000_000
DAY = 24 * 3600 * 1000
VERSIONS = tuple(ROOM_RULES)


class KnownKeys(ServerKeys):
    """Keys that nobody has to be asked for."""

    def __init__(self, keys: dict[str, SigningKey]) -> None:
        self.keys = keys
        self.wanted: list[WantedKey] = []

    async def prefetch(self, wanted: Any) -> None:
        self.wanted += wanted

    def known_key(self, wanted: WantedKey) -> bytes | None:
        key = self.keys.get(wanted.server_name)
        return key.public_key if key is not None and key.key_id == wanted.key_id else None


def new_key(name: str = "k") -> SigningKey:
    return SigningKey.from_seed(f"ed25519:{name}", os.urandom(32))


def pdu_of(version: str, sender: str = "@u:a.test", **changes: Any) -> dict[str, Any]:
    """An unsigned event of the right format."""
    rules = ROOM_RULES[version]
    reference: Any = "$" + "b" * 43
    if rules.references_carry_hashes:
        reference = ["$b:a.test", {"sha256": "b" * 43}]
    pdu = {
        "room_id": "!" + "r" * 43 if rules.room_id_is_create_event_id else "!r:a.test",
        "type": "m.room.message",
        "sender": sender,
        "content": {"body": "21.4 °C", "msgtype": "m.text"},
        "origin_server_ts": NOW,
        "depth": 5,
        "auth_events": [reference],
        "prev_events": [reference],
        **changes,
    }
    if not rules.event_ids_are_hashes:
        pdu = {"event_id": "$e:a.test", **pdu}
    return pdu


async def verify_one(keys: ServerKeys, pdu: Any, version: str) -> Event | Bad:
    [result] = await verify_events(keys, [pdu], version)
    return result


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_good_event_passes_and_a_changed_one_is_redacted_or_refused(version: str) -> None:
    key, rules = new_key(), ROOM_RULES[version]
    keys = KnownKeys({"a.test": key})
    signed = sign_event(pdu_of(version), "a.test", key, rules)
    good = await verify_one(keys, {**signed, "unsigned": {"age": 5}}, version)
    assert isinstance(good, Event)
    assert good.content["body"] == "21.4 °C" and good.pdu == signed and good.unsigned == {}

    # What redaction takes away may be missing or wrong: the rest is kept, under the same id.
    for content in ({}, {"body": "99 °C", "msgtype": "m.text"}):
        redacted = await verify_one(keys, {**signed, "content": content, "forged": 1}, version)
        assert isinstance(redacted, Event)
        assert redacted.content == {} and redacted.event_id == good.event_id
        assert "forged" not in redacted.pdu

    # What redaction leaves is covered by the signature.
    for change in ({"sender": "@v:a.test"}, {"depth": 6}, {"origin_server_ts": 1}, {"type": "m.other"}):
        assert isinstance(await verify_one(keys, {**signed, **change}, version), Bad)
    hashes = {"hashes": {"sha256": "A" * 43}}
    assert isinstance(await verify_one(keys, {**signed, **hashes}, version), Bad)


@pytest.mark.parametrize("version", ["1", "6", "12"])
async def test_signatures_that_do_not_count(version: str) -> None:
    key, other, rules = new_key(), new_key(), ROOM_RULES[version]
    keys = KnownKeys({"a.test": key, "b.test": other})
    signed = sign_event(pdu_of(version), "a.test", key, rules)
    signature = signed["signatures"]["a.test"]["ed25519:k"]
    for signatures in (
        {},
        {"a.test": {}},
        {"b.test": {"ed25519:k": signature}},
        {"a.test": {"ed25519:unknown": signature}},
        {"a.test": {"rsa:k": signature}},
        {"a.test": {"ed25519:k": "AAAA"}},
        {"a.test": {"ed25519:k": "no base64!"}},
        sign_event(pdu_of(version), "a.test", other, rules)["signatures"],
    ):
        bad = await verify_one(keys, {**signed, "signatures": signatures}, version)
        assert isinstance(bad, Bad) and "a.test" in bad.reason, signatures
    more = {"a.test": {"ed25519:old": "AAAA", "rsa:x": "x", "ed25519:k": signature}, "c.test": {"ed25519:z": "x"}}
    assert isinstance(await verify_one(keys, {**signed, "signatures": more}, version), Event)


async def test_versions_1_and_2_want_the_server_of_the_event_id_too() -> None:
    a, b = new_key(), new_key()
    keys = KnownKeys({"a.test": a, "b.test": b})
    for version in ("1", "2"):
        rules = ROOM_RULES[version]
        pdu = pdu_of(version, event_id="$e:b.test")
        by_a = sign_event(pdu, "a.test", a, rules)
        assert await verify_one(keys, by_a, version) == Bad("$e:b.test", "no valid signature of b.test")
        by_both = sign_event(by_a, "b.test", b, rules)
        assert isinstance(await verify_one(keys, by_both, version), Event)


async def test_joins_with_a_voucher_want_its_server_and_third_party_invites_want_nobody() -> None:
    a, b = new_key(), new_key()
    keys = KnownKeys({"a.test": a, "b.test": b})
    member = {"type": "m.room.member", "state_key": "@u:a.test"}
    join = {"membership": "join", "join_authorised_via_users_server": "@v:b.test"}
    for version, wants_both in (("7", False), ("8", True), ("12", True)):
        rules = ROOM_RULES[version]
        by_a = sign_event(pdu_of(version, content=join, **member), "a.test", a, rules)
        assert isinstance(await verify_one(keys, by_a, version), Bad if wants_both else Event)
        assert isinstance(await verify_one(keys, sign_event(by_a, "b.test", b, rules), version), Event)
    invite = {"membership": "invite", "third_party_invite": {"signed": {}}}
    for version in ("3", "11"):
        pdu = pdu_of(version, sender="@x:c.test", content=invite, type="m.room.member", state_key="@u:a.test")
        signed = sign_event(pdu, "c.test", new_key(), ROOM_RULES[version])
        assert isinstance(await verify_one(keys, {**signed, "signatures": {}}, version), Event)


@pytest.mark.parametrize(
    "odd", [None, 5, "x", [], {}, {"type": "m.x"}, {"event_id": "$x:y"}, {**pdu_of("11"), "content": "x" * 70_000}]
)
async def test_what_is_not_an_event_is_bad(odd: Any) -> None:
    for version in ("1", "11", "no version"):
        assert isinstance(await verify_one(KnownKeys({}), odd, version), Bad)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
FIELDS = st.sampled_from(sorted({*pdu_of("1"), "signatures", "hashes", "unsigned", "state_key", "redacts"}))


@given(st.sampled_from(VERSIONS), st.dictionaries(FIELDS, JSON, min_size=1, max_size=3))
def test_anything_is_an_event_or_bad(version: str, changes: dict[str, Any]) -> None:
    key = SigningKey.from_seed("ed25519:k", bytes(32))
    signed = sign_event(pdu_of(version), "a.test", key, ROOM_RULES[version])
    result = asyncio.run(verify_one(KnownKeys({"a.test": key}), {**signed, **changes}, version))
    assert isinstance(result, Event | Bad)
    if isinstance(result, Event):
        assert not changes.keys() & {"sender", "depth", "auth_events"} or {**signed, **changes} == signed


@pytest.fixture
async def clocked(tmp_path: Path, authority: Authority) -> AsyncIterator[tuple[Peer, ScriptedServer, ManualClock]]:
    clock = ManualClock(NOW)
    async with running_peer(tmp_path / "one", authority, clock=clock) as one, scripted_server(authority) as other:
        other.valid_until_ts = NOW + DAY
        yield one, other, clock


def event_by(other: ScriptedServer, version: str, at: int, key: SigningKey | None = None) -> dict[str, Any]:
    name = other.server_name
    changes: dict[str, Any] = {"origin_server_ts": at}
    if not ROOM_RULES[version].event_ids_are_hashes:
        changes["event_id"] = f"$e:{name}"
    return sign_event(pdu_of(version, f"@u:{name}", **changes), name, key or other.key, ROOM_RULES[version])


async def test_the_time_of_a_key_counts_from_version_5_on(
    clocked: tuple[Peer, ScriptedServer, ManualClock],
) -> None:
    one, other, _ = clocked
    keys = one.services.federation.keys
    old = new_key("old")
    other.old_keys = {old.key_id: {"key": encode_base64(old.public_key), "expired_ts": NOW - DAY}}
    for version in VERSIONS:
        looks = int(version) >= 5
        for at, key, good in (
            (NOW, other.key, True),
            (NOW + DAY, other.key, True),
            (NOW + DAY + 1, other.key, not looks),
            (NOW - DAY, old, True),
            (NOW - DAY + 1, old, not looks),
        ):
            result = await verify_one(keys, event_by(other, version, at, key), version)
            assert isinstance(result, Event) == good, (version, at - NOW)


async def test_a_batch_asks_each_server_once_and_keeps_the_order(
    clocked: tuple[Peer, ScriptedServer, ManualClock], authority: Authority
) -> None:
    one, other, _ = clocked
    async with scripted_server(authority) as second:
        second.valid_until_ts = NOW + DAY
        pdus: list[Any] = []
        for number in range(60):
            pdus.append(event_by((other, second)[number % 2], "11", NOW + number))
        forged = copy.deepcopy(pdus[7])
        forged["depth"] = 99
        pdus[7] = forged
        pdus[20] = {"no": "event"}
        results = await verify_events(one.services.federation.keys, pdus, "11")
        for number, result in enumerate(results):
            if number in (7, 20):
                assert isinstance(result, Bad)
            else:
                assert isinstance(result, Event) and result.origin_server_ts == NOW + number
        assert len(other.requests) == len(second.requests) == 1


async def test_ten_thousand_members_are_verified_while_the_loop_goes_on() -> None:
    servers = {f"s{number}.test": new_key() for number in range(20)}
    rules, pdus = ROOM_RULES["11"], []
    for number in range(10_000):
        server = f"s{number % 20}.test"
        user = f"@u{number}:{server}"
        content = {"membership": "join", "displayname": f"User {number}"}
        pdu = pdu_of("11", user, type="m.room.member", state_key=user, content=content)
        pdus.append(sign_event(pdu, server, servers[server], rules))
    pdus[5000] = {**pdus[5000], "depth": 1}
    turns = 0

    async def beat() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0.001)
            turns += 1

    beating = asyncio.create_task(beat())
    started = time.process_time()
    results = await verify_events(KnownKeys(servers), pdus, "11")
    seconds = time.process_time() - started
    beating.cancel()
    assert [number for number, result in enumerate(results) if isinstance(result, Bad)] == [5000]
    assert seconds < 10 and turns >= 50, (seconds, turns)
