"""Odd paths, queries and bodies from another server, well signed, make no endpoint of the federation API answer 500."""

from __future__ import annotations

import copy
import random
import re
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from tests.federation.lying_peer import LyingPeer, lying_peer
from tests.federation.peers import Authority, running_peer
from tests.homeserver.http.test_nothing_fails import ODD

from thingroom_homeserver.core.event import Event
from thingroom_homeserver.http.endpoint import Auth, Endpoint
from thingroom_homeserver.server import FEDERATION_ENDPOINTS

TRIES = 14
FIELDS = re.findall(
    r"\S+",
    """
    pdus edus origin origin_server_ts event room_version invite_room_state knock_room_state latest_events
    earliest_events min_depth limit device_keys one_time_keys server_keys third_party_invite filter since
    generic_search_term room_types edu_type content keys type sender state_key membership mxid invites token
    signed medium address auth_events prev_events depth room_id event_id hashes signatures unsigned redacts
    """,
)
QUERIES = re.findall(
    r"\S+",
    """
    ver event_id user_id field room_alias limit v ts dir suggested_only from since include_all_networks omit_members
    minimum_valid_until_ts third_party_instance_id access_token width height method timeout_ms
    """,
)


def odd(chance: random.Random, member: LyingPeer, depth: int = 0) -> Any:
    """Something for a field: odd, or right in another place."""
    if depth < 3 and chance.random() < 0.35:
        return {chance.choice(FIELDS): odd(chance, member, depth + 1) for _ in range(chance.randrange(5))}
    if chance.random() < 0.3:
        return [odd(chance, member, depth + 1) for _ in range(chance.randrange(3))]
    if chance.random() < 0.4:
        return pdu_like(chance, member)
    return chance.choice((*ODD, member.room_id, member.user_id, *list(member.events)[:3], member.name))


def pdu_like(chance: random.Random, member: LyingPeer) -> Any:
    """A good event with a few fields made odd, signed again or not."""
    event: Event = chance.choice(list(member.events.values()))
    pdu = copy.deepcopy(event.pdu)
    for _ in range(chance.randrange(3)):
        where = pdu if chance.random() < 0.7 else pdu["content"]
        if isinstance(where, dict):
            where[chance.choice(FIELDS)] = chance.choice(ODD)
            pdu.setdefault("content", {})
    if chance.random() < 0.7:
        try:
            return member.signed_again(pdu)
        except (ValueError, TypeError, KeyError, AttributeError):
            return pdu
    return pdu


def odd_uri(chance: random.Random, path: str, member: LyingPeer) -> str:
    def fill(match: re.Match[str]) -> str:
        name = match[1]
        if chance.random() < 0.75:
            if name == "roomId":
                return quote(member.room_id, safe="")
            if name == "userId":
                return quote(member.user_id, safe="")
            if name == "eventId":
                return quote(chance.choice(list(member.events)), safe="")
        return chance.choice(
            ("x", "%00", "%ff", "..", "%2F", "", quote("ü" * 200), quote("@a:b"), "9" * 30, "-1", "%24")
        )

    uri = re.sub(r"\{(\w+)\}", fill, path)
    if chance.random() < 0.6:
        known = (member.room_id, member.user_id, *list(member.events)[:2], member.name)
        values = ("", "-1", "9" * 20, "5", "true", "x", "\0", "ü", "b", "f", "12", "é\udcff", *known)
        pairs = [
            f"{chance.choice(QUERIES)}={quote(chance.choice(values), safe='', errors='surrogateescape')}"
            for _ in range(4)
        ]
        uri += "?" + "&".join(pairs)
    return uri


def asked(endpoint: Endpoint) -> bool:
    return endpoint.auth is Auth.SERVER or endpoint.paths[0].startswith(("/_matrix/federation/", "/_matrix/key/"))


@pytest.mark.parametrize(("version", "seed"), [("1", 1), ("10", 2), ("12", 3)])
async def test_no_endpoint_of_the_federation_fails(
    tmp_path: Path, authority: Authority, version: str, seed: int
) -> None:
    chance = random.Random(seed)
    async with (
        running_peer(tmp_path / "one", authority, federation={"request_timeout_seconds": 1.0}) as one,
        lying_peer(authority, one) as member,
    ):
        alice = await one.register("alice")
        body = {"room_version": version, "preset": "public_chat"}
        room_id = (await alice.post("v3/createRoom", body)).ok()["room_id"]
        await member.join(room_id)
        for number in range(3):
            member.message(f"number {number}")
        failed, good = [], 0
        for endpoint in filter(asked, FEDERATION_ENDPOINTS):
            for _ in range(TRIES):
                uri = odd_uri(chance, chance.choice(endpoint.paths), member)
                sent = None
                if endpoint.method in ("POST", "PUT"):
                    value = pdu_like(chance, member) if chance.random() < 0.4 else odd(chance, member)
                    sent = value if isinstance(value, dict) else {chance.choice(FIELDS): value}
                answer = await member.ask(endpoint.method, uri, sent)
                if answer.status >= 500:
                    failed.append((endpoint.method, uri, sent, answer.body))
                else:
                    assert answer.status == 200 or answer.errcode, (endpoint.method, uri, answer.body)
                    good += answer.status == 200
        assert failed == []
        assert good > 10
        (await alice.get("v3/account/whoami")).ok()
