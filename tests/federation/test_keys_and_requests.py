"""Our servers and scripted ones: keys are fetched, kept, rotated and vouched for; requests are signed and checked."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from tests.federation.peers import ALL_ENDPOINTS, Authority, Peer, running_peer, running_peers
from tests.federation.scripted import DAY_MS, ScriptedServer, scripted_server
from tests.homeserver.running import ManualClock

from thingroom_homeserver.cli import homeserver_commands
from thingroom_homeserver.core.signing import SigningKey, encode_base64, sign_json, verify_json
from thingroom_homeserver.federation.client import path
from thingroom_homeserver.federation.key_document import BELIEVED_MS, parse_key_document
from thingroom_homeserver.federation.outcomes import Failed
from thingroom_homeserver.federation.server_keys import WantedKey
from thingroom_homeserver.http.endpoint import Auth, Endpoint, Request
from thingroom_homeserver.server import StartError

VERSION = path("v1", "version")
ECHO = path("v1", "test_echo")
SERVER_KEYS = "/_matrix/key/v2/server"
NOW = 1_760_000_000_000


async def echo(request: Request, services: Any) -> dict[str, Any]:
    return {"origin": request.origin, "body": request.body if request.raw_body else None}


WITH_ECHO = (*ALL_ENDPOINTS, *(Endpoint(method, (ECHO,), echo, auth=Auth.SERVER) for method in ("GET", "PUT")))


def peer(tmp_path: Path, authority: Authority, **options: Any) -> Any:
    return running_peer(tmp_path / "peer", authority, endpoints=WITH_ECHO, **options)


async def test_two_servers_know_each_other(tmp_path: Path) -> None:
    async with running_peers(tmp_path, 2, endpoints=WITH_ECHO) as (one, two):
        ask = one.services.federation.client.request
        answer = await ask(two.server_name, "GET", VERSION)
        assert isinstance(answer, dict) and answer["server"]["name"] == "Thingroom"
        body = {"numbers": [1.5, 2**60, 2**70], "text": "ü"}
        answer = await ask(two.server_name, "PUT", ECHO, query=[("a", "ü&")], body=body)
        assert answer == {"origin": one.server_name, "body": body}
        answer = await ask(two.server_name, "GET", ECHO)
        assert answer == {"origin": one.server_name, "body": None}
        metrics = one.services.metrics.text().decode()
        assert 'thingroom_federation_requests_total{name="answered"}' in metrics
        key = two.services.signing_key
        found = await one.services.federation.keys.request_key(two.server_name, key.key_id)
        assert found == key.public_key


async def test_the_key_document(tmp_path: Path, authority: Authority) -> None:
    async with peer(tmp_path, authority) as one:
        key, client = one.services.signing_key, one.client()
        for place in (SERVER_KEYS, f"{SERVER_KEYS}/{key.key_id}"):
            document = (await client.get(place)).ok()
            assert document["server_name"] == one.server_name
            assert document["verify_keys"] == {key.key_id: {"key": encode_base64(key.public_key)}}
            assert document["old_verify_keys"] == {}
            assert verify_json(document, one.server_name, key.key_id, key.public_key)
            left = document["valid_until_ts"] - one.services.clock.now_ms()
            assert 3_600_000 < left <= BELIEVED_MS


async def test_what_is_not_signed_as_it_should_be_is_refused(tmp_path: Path, authority: Authority) -> None:
    async with peer(tmp_path, authority) as one, scripted_server(authority) as other:
        body = {"a": 1}
        good = other.authorization("PUT", ECHO, one.server_name, body)

        async def ask(authorization: str = good, *, method: str = "PUT", uri: str = ECHO, sent: Any = body) -> Any:
            return await other.ask(one.base_url, one.server_name, method, uri, sent, authorization=authorization)

        def changed(**changes: str) -> str:
            return other.authorization("PUT", ECHO, one.server_name, body, **changes)

        assert (await ask()).ok() == {"origin": other.server_name, "body": body}
        assert (await ask()).ok()  # the same again is for the endpoints to recognise, by their transaction ids
        without = good.replace(f'destination="{one.server_name}",', "")
        assert (await ask(without)).ok()
        for header in (
            "",
            "Bearer abc",
            "X-Matrix",
            changed(sig="AAAA"),
            changed(sig="not base64!"),
            changed(sig=""),
            changed(key="ed25519:unknown"),
            changed(key="rsa:scripted"),
            changed(origin="localhost:1"),
            changed(origin=one.server_name),
            changed(origin="no server"),
            changed(destination="elsewhere.test"),
            changed(destination=""),
            other.authorization("PUT", ECHO, "elsewhere.test", body),
            other.authorization("PUT", ECHO, "elsewhere.test", body, destination=one.server_name),
            other.authorization("GET", ECHO, one.server_name, body),
            other.authorization("PUT", ECHO + "?x=1", one.server_name, body),
            other.authorization("PUT", ECHO, one.server_name, {"a": 2}),
            other.authorization("PUT", ECHO, one.server_name, None),
        ):
            (await ask(header or " ")).is_error(401, "M_UNAUTHORIZED")
        (await ask(uri=ECHO + "?x=1")).is_error(401, "M_UNAUTHORIZED")
        (await ask(sent={"a": 1, "b": 2})).is_error(401, "M_UNAUTHORIZED")
        (await ask(sent=None)).is_error(401, "M_UNAUTHORIZED")
        (await ask(method="GET", sent=None)).is_error(401, "M_UNAUTHORIZED")


async def test_one_of_several_headers_is_enough_if_all_are_of_one_server(tmp_path: Path, authority: Authority) -> None:
    async with peer(tmp_path, authority) as one, scripted_server(authority) as other:
        good = other.authorization("GET", ECHO, one.server_name, None)
        unknown = other.authorization("GET", ECHO, one.server_name, None, key="ed25519:unknown")
        stranger = other.authorization("GET", ECHO, one.server_name, None, origin="localhost:1")

        async def status(*headers: str) -> int:
            pairs = [("Authorization", header) for header in headers]
            async with one.http.get(one.base_url + ECHO, headers=pairs) as response:
                return response.status

        assert await status(unknown, good) == 200
        assert await status(stranger, good) == 401


async def test_bytes_that_are_no_text_are_refused(tmp_path: Path, authority: Authority) -> None:
    trusting = {"trusted_key_servers": ("localhost:1",)}
    async with peer(tmp_path, authority, federation=trusting) as one, scripted_server(authority) as other:
        port = int(one.base_url.rpartition(":")[2])
        good = other.authorization("GET", ECHO, one.server_name, None).encode()
        assert (await other.ask(one.base_url, one.server_name, "GET", ECHO)).status == 200
        for line, header in (
            (ECHO.encode() + b"?x=\xff", good),
            (ECHO.encode(), good.replace(b"ed25519:", b"ed25519:\xff")),
            (ECHO.encode(), good.replace(b'sig="', b'sig="\xff')),
            (ECHO.encode(), good.replace(b'origin="', b'origin="\xff')),
            (ECHO.encode(), b"X-Matrix \xff\xff"),
        ):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"GET " + line + b" HTTP/1.1\r\nHost: x\r\nAuthorization: " + header + b"\r\n\r\n")
            status = (await reader.readline()).split()[1]
            assert status in (b"400", b"401"), (line, header, status)
            writer.close()


async def test_bodies_have_limits(tmp_path: Path, authority: Authority) -> None:
    async with peer(tmp_path, authority) as one, scripted_server(authority) as other:

        async def put(data: Any) -> tuple[int, Any]:
            headers = {"Authorization": other.authorization("PUT", ECHO, one.server_name, {})}
            async with one.http.put(one.base_url + ECHO, data=data, headers=headers) as response:
                return response.status, (await response.json())["errcode"]

        assert await put(b"{") == (400, "M_NOT_JSON")
        assert await put(b"[]") == (400, "M_BAD_JSON")
        assert await put(b'{"a":' * 500 + b"1" + b"}" * 500) == (400, "M_NOT_JSON")
        assert await put(b'{"a":"\\ud800"}') in ((400, "M_NOT_JSON"), (400, "M_BAD_JSON"))
        assert await put(b"{" + b" " * 13_000_000) == (413, "M_TOO_LARGE")

        async def endless() -> Any:
            for _ in range(400):
                yield b" " * 65536

        assert await put(endless()) == (413, "M_TOO_LARGE")
        large = {"text": "x" * 5_000_000}
        answer = await other.ask(one.base_url, one.server_name, "PUT", ECHO, large)
        assert answer.ok()["body"] == large


async def test_keys_are_asked_for_once_and_kept(tmp_path: Path, authority: Authority) -> None:
    async with scripted_server(authority) as other, peer(tmp_path, authority) as one:
        answers = await asyncio.gather(*(other.ask(one.base_url, one.server_name, "GET", ECHO) for _ in range(20)))
        assert all(answer.status == 200 for answer in answers)
        assert [place for _, place, _ in other.requests] == [SERVER_KEYS]
        await one.stop()
        await one.start()
        assert (await other.ask(one.base_url, one.server_name, "GET", ECHO)).status == 200
        assert len(other.requests) == 1


async def test_unknown_keys_do_not_make_the_server_ask_without_end(tmp_path: Path, authority: Authority) -> None:
    async with peer(tmp_path, authority) as one, scripted_server(authority) as other:
        for number in range(30):
            header = other.authorization("GET", ECHO, one.server_name, None, key=f"ed25519:k{number}")
            answer = await other.ask(one.base_url, one.server_name, "GET", ECHO, authorization=header)
            answer.is_error(401, "M_UNAUTHORIZED")
        assert len(other.requests) <= 6


async def test_an_address_that_names_many_unknown_servers_waits(tmp_path: Path, authority: Authority) -> None:
    clock = ManualClock()
    async with peer(tmp_path, authority, rate_limits=True, clock=clock) as one, scripted_server(authority) as other:
        names = [f"10.0.0.{number}" for number in range(250)]
        headers = [other.authorization("GET", ECHO, one.server_name, None, origin=name) for name in names]
        answers = await asyncio.gather(
            *(other.ask(one.base_url, one.server_name, "GET", ECHO, authorization=header) for header in headers)
        )
        statuses = [answer.status for answer in answers]
        assert (statuses.count(401), statuses.count(429)) == (200, 50)
        assert (await other.ask(one.base_url, one.server_name, "GET", ECHO)).status == 429
        clock.advance(1)
        assert (await other.ask(one.base_url, one.server_name, "GET", ECHO)).status == 200


async def test_a_key_ends_with_its_document_and_never_lives_longer_than_a_week(
    tmp_path: Path, authority: Authority
) -> None:
    clock = ManualClock(NOW)
    async with peer(tmp_path, authority, clock=clock) as one, scripted_server(authority) as other:
        keys = one.services.federation.keys
        name, key_id, public_key = other.server_name, other.key.key_id, other.key.public_key
        other.valid_until_ts = NOW + 365 * DAY_MS
        assert await keys.public_key(name, key_id, NOW) == public_key
        assert await keys.public_key(name, key_id, NOW + 7 * DAY_MS) == public_key
        asked = len(other.requests)
        assert await keys.public_key(name, key_id, NOW + 7 * DAY_MS + 1) is None
        assert len(other.requests) == asked + 1
        assert await keys.public_key(name, key_id, None) == public_key  # room versions that do not look at it

        # It is asked for again when it ends; if nobody answers, requests are no longer believed, old events are.
        other.valid_until_ts = NOW + 8 * DAY_MS
        clock.advance(7 * 24 * 3600 + 1)
        assert await keys.request_key(name, key_id) == public_key
        other.on("GET", SERVER_KEYS, lambda request, body: web.Response(status=503))
        clock.advance(2 * 24 * 3600)
        assert await keys.request_key(name, key_id) is None
        assert (await other.ask(one.base_url, one.server_name, "GET", ECHO)).status == 401
        assert await keys.public_key(name, key_id, NOW + 8 * DAY_MS) == public_key
        assert await keys.public_key(name, key_id, NOW + 8 * DAY_MS + 1) is None


async def test_old_keys_check_what_they_have_signed(tmp_path: Path, authority: Authority) -> None:
    clock = ManualClock(NOW)
    async with peer(tmp_path, authority, clock=clock) as one, scripted_server(authority) as other:
        keys, name = one.services.federation.keys, other.server_name
        old = SigningKey.from_seed("ed25519:old", os.urandom(32))
        expired = {"key": encode_base64(old.public_key), "expired_ts": NOW - 5000}
        other.old_keys = {"ed25519:old": expired, "rsa:old": expired, "ed25519:odd": {"key": "AAAA", "expired_ts": 1}}
        other.valid_until_ts = NOW + DAY_MS
        assert await keys.public_key(name, "ed25519:old", NOW - 5000) == old.public_key
        assert await keys.public_key(name, "ed25519:old", NOW - 4999) is None
        assert await keys.public_key(name, "ed25519:old", None) == old.public_key
        assert await keys.request_key(name, "ed25519:old") is None
        assert await keys.public_key(name, "ed25519:odd", 1) is None
        by_old = ScriptedServer(name, other.port, old, other.client)
        answer = await by_old.ask(one.base_url, one.server_name, "GET", ECHO)
        answer.is_error(401, "M_UNAUTHORIZED")

        # A key that is called old now was current before: from then on it counts up to its end only.
        first = SigningKey.from_seed("ed25519:first", os.urandom(32))
        other.key, other.old_keys = first, {}
        clock.advance(60)
        assert await keys.public_key(name, "ed25519:first", NOW + 60_000) == first.public_key
        other.old_keys = {"ed25519:first": {"key": encode_base64(first.public_key), "expired_ts": NOW + 61_000}}
        other.key = SigningKey.from_seed("ed25519:second", os.urandom(32))
        clock.advance(60)
        assert (await other.ask(one.base_url, one.server_name, "GET", ECHO)).ok()
        assert await keys.public_key(name, "ed25519:first", NOW + 61_000) == first.public_key
        assert await keys.public_key(name, "ed25519:first", NOW + 61_001) is None
        # What the newest document no longer names at all stays good for its time.
        assert await keys.public_key(name, "ed25519:old", NOW - 5000) == old.public_key


@pytest.mark.parametrize("case", ["unsigned", "other name", "forged", "no keys", "a list", "late", "html", "huge"])
async def test_documents_that_do_not_hold_are_not_believed(tmp_path: Path, authority: Authority, case: str) -> None:
    async with peer(tmp_path, authority) as one, scripted_server(authority) as other:
        document = other.key_document()
        said: Any = {
            "unsigned": {name: value for name, value in document.items() if name != "signatures"},
            "other name": sign_json({**document, "server_name": "localhost:1"}, other.server_name, other.key),
            "forged": {**document, "valid_until_ts": document["valid_until_ts"] + 1},
            "no keys": sign_json({**document, "verify_keys": {}}, other.server_name, other.key),
            "a list": [document],
            "late": sign_json({**document, "valid_until_ts": "soon"}, other.server_name, other.key),
            "html": None,
            "huge": {**document, "padding": "x" * 300_000},
        }[case]
        response = (
            (lambda r, b: web.Response(text="<html>")) if said is None else (lambda r, b: web.json_response(said))
        )
        other.on("GET", SERVER_KEYS, response)
        (await other.ask(one.base_url, one.server_name, "GET", ECHO)).is_error(401, "M_UNAUTHORIZED")
        assert one.services.federation.keys.known_request_key(other.server_name, other.key.key_id) is None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "server_name": st.just("a.test") | JSON,
            "valid_until_ts": st.integers() | JSON,
            "verify_keys": st.dictionaries(st.sampled_from(["ed25519:a", "x", ""]), JSON, max_size=3) | JSON,
            "old_verify_keys": JSON,
            "signatures": st.dictionaries(st.just("a.test"), JSON, max_size=1) | JSON,
        },
    )
)
def test_any_document_is_read_or_refused(document: dict[str, Any]) -> None:
    assert parse_key_document(document, "a.test", NOW) is None


async def notary_answer(one: Peer, name: str, **query: Any) -> list[dict[str, Any]]:
    return (await one.client().get(f"/_matrix/key/v2/query/{name}", **query)).ok()["server_keys"]


async def test_a_notary_signs_what_it_has_seen(tmp_path: Path, authority: Authority) -> None:
    clock = ManualClock(NOW)
    async with peer(tmp_path, authority, clock=clock) as one, scripted_server(authority) as other:
        name, key = other.server_name, other.key
        other.valid_until_ts = NOW + DAY_MS

        async def post(criteria: Any) -> Any:
            return await one.client().post("/_matrix/key/v2/query", {"server_keys": criteria})

        [document] = await notary_answer(one, name)
        assert verify_json(document, name, key.key_id, key.public_key)
        own = one.services.signing_key
        assert verify_json(document, one.server_name, own.key_id, own.public_key)
        assert len(other.requests) == 1
        assert await notary_answer(one, name, minimum_valid_until_ts=NOW + DAY_MS) == [document]
        assert (await post({name: {key.key_id: {"minimum_valid_until_ts": NOW}}})).ok() == {"server_keys": [document]}
        assert (await post({name: {}})).ok() == {"server_keys": [document]}
        assert (await post({})).ok() == {"server_keys": []}
        assert len(other.requests) == 1

        # A key that must be good for longer, or that is not known, is looked for; what is there is given in any case.
        assert await notary_answer(one, name, minimum_valid_until_ts=NOW + DAY_MS + 1) == [document]
        assert len(other.requests) == 2
        assert (await post({name: {"ed25519:unknown": {}}})).ok() == {"server_keys": []}
        assert len(other.requests) == 3

        # After half of its lifetime it is asked for again; of a server that is gone the last answer is kept.
        clock.advance(13 * 3600)
        other.valid_until_ts = NOW + 2 * DAY_MS
        [newer] = await notary_answer(one, name)
        assert newer["valid_until_ts"] == NOW + 2 * DAY_MS
        other.on("GET", SERVER_KEYS, lambda request, body: web.Response(status=500))
        clock.advance(30 * 24 * 3600)
        assert await notary_answer(one, name) == [newer]

        # Its own keys, servers that nobody reaches, and what is no question.
        [mine] = await notary_answer(one, one.server_name)
        assert verify_json(mine, one.server_name, own.key_id, own.public_key)
        assert await notary_answer(one, "localhost:1") == []
        (await one.client().get("/_matrix/key/v2/query/no%20server")).is_error(400, "M_INVALID_PARAM")
        (await one.client().get(f"/_matrix/key/v2/query/{name}", minimum_valid_until_ts="x")).is_error(
            400, "M_INVALID_PARAM"
        )
        assert (await post({"no server": {}})).ok() == {"server_keys": []}
        for odd in ([], 5, {name: []}, {name: {"ed25519:a": 5}}, {name: {"a": {"minimum_valid_until_ts": "x"}}}):
            (await post(odd)).is_error(400, "M_BAD_JSON")
        (await post({f"s{number}.test": {} for number in range(51)})).is_error(400, "M_TOO_LARGE")


async def test_a_trusted_server_vouches_for_one_that_cannot_be_asked(tmp_path: Path, authority: Authority) -> None:
    async with scripted_server(authority) as other, running_peer(tmp_path / "notary", authority) as notary:
        assert await notary_answer(notary, other.server_name)
        trusting = {"trusted_key_servers": ("localhost:1", notary.server_name)}
        async with peer(tmp_path, authority, federation=trusting) as one:
            other.on("GET", SERVER_KEYS, lambda request, body: web.Response(status=500))
            assert (await other.ask(one.base_url, one.server_name, "GET", ECHO)).ok()["origin"] == other.server_name


async def test_a_key_server_that_lies_is_not_believed(tmp_path: Path, authority: Authority) -> None:
    async with scripted_server(authority) as other, scripted_server(authority) as notary:
        forger = SigningKey.from_seed(other.key.key_id, os.urandom(32))
        by_other = ScriptedServer(other.server_name, 0, forger, notary.client).key_document()
        asked: list[Any] = []

        def answer(request: web.Request, body: Any) -> Any:
            asked.append(body)
            unsigned = other.key_document()
            by_somebody = sign_json(by_other, "localhost:1", forger)
            wrong_name = sign_json(notary.key_document(), notary.server_name, notary.key)
            broken = {**sign_json(other.key_document(), notary.server_name, notary.key), "verify_keys": {}}
            return {"server_keys": [5, unsigned, by_somebody, wrong_name, broken]}

        notary.on("POST", "/_matrix/key/v2/query", answer)
        other.on("GET", SERVER_KEYS, lambda request, body: web.Response(status=500))
        async with peer(tmp_path, authority, federation={"trusted_key_servers": (notary.server_name,)}) as one:
            (await other.ask(one.base_url, one.server_name, "GET", ECHO)).is_error(401, "M_UNAUTHORIZED")
            criteria = asked[0]["server_keys"][other.server_name][other.key.key_id]
            assert abs(criteria["minimum_valid_until_ts"] - one.services.clock.now_ms()) < 60_000


async def test_for_many_servers_a_trusted_one_is_asked_first_and_in_few_questions(
    tmp_path: Path, authority: Authority
) -> None:
    async with scripted_server(authority) as alive, scripted_server(authority) as notary:
        gone = [
            ScriptedServer(f"localhost:{n}", n, SigningKey.from_seed("ed25519:g", os.urandom(32)), notary.client)
            for n in range(1, 121)
        ]
        questions: list[set[str]] = []

        def answer(request: web.Request, body: Any) -> Any:
            questions.append(set(body["server_keys"]))
            known = [server for server in gone if server.server_name in body["server_keys"]]
            return {"server_keys": [sign_json(s.key_document(), notary.server_name, notary.key) for s in known]}

        notary.on("POST", "/_matrix/key/v2/query", answer)
        async with peer(tmp_path, authority, federation={"trusted_key_servers": (notary.server_name,)}) as one:
            keys = one.services.federation.keys
            wanted = [WantedKey(each.server_name, each.key.key_id, None) for each in (*gone, alive)]
            await keys.prefetch(wanted)
            assert [keys.known_key(each) for each in wanted] == [each.key.public_key for each in (*gone, alive)]
            assert len(questions) == 3 and len(alive.requests) == 1
            await keys.prefetch(wanted)
            assert len(questions) == 3


async def test_an_authority_that_cannot_be_read_ends_in_a_sentence(tmp_path: Path, authority: Authority) -> None:
    nonsense = tmp_path / "nonsense.pem"
    nonsense.write_text("nonsense")
    for file in (nonsense, tmp_path / "missing.pem"):
        with pytest.raises(StartError, match=r"outgoing_ca_file .* cannot be used"):
            async with peer(tmp_path, authority, outgoing_ca_file=str(file)):
                pass


def rotate(folder: Path, data: Path) -> Any:
    config = folder / "thingroom.toml"
    config.write_text(f'[homeserver]\ndata_directory = "{data}"\n')
    return CliRunner().invoke(homeserver_commands, ["admin", "rotate-signing-key", "--config", str(config)])


async def test_a_key_is_rotated_and_the_old_one_published(tmp_path: Path, authority: Authority) -> None:
    data = tmp_path / "peer"
    async with running_peer(tmp_path / "two", authority, endpoints=WITH_ECHO) as two, peer(tmp_path, authority) as one:
        ask = {"destination": two.server_name, "method": "GET", "path": ECHO}
        assert isinstance(await one.services.federation.client.request(**ask), dict)
        refused = await asyncio.to_thread(rotate, tmp_path, data)
        assert refused.exit_code == 2 and "Another homeserver is running" in refused.output
        old = one.services.signing_key
        await one.stop()
        for _ in range(2):
            assert rotate(tmp_path, data).exit_code == 0
        for name in ("signing.key", "old_signing_keys"):
            assert (data / name).stat().st_mode & 0o777 == 0o600
        assert encode_base64(old.seed) not in (data / "old_signing_keys").read_text()
        await one.start()
        new = one.services.signing_key
        assert new.key_id != old.key_id
        document = (await one.client().get(SERVER_KEYS)).ok()
        assert list(document["verify_keys"]) == [new.key_id]
        assert len(document["old_verify_keys"]) == 2
        published = document["old_verify_keys"][old.key_id]
        assert published["key"] == encode_base64(old.public_key)
        assert abs(published["expired_ts"] - one.services.clock.now_ms()) < 60_000
        assert isinstance(await one.services.federation.client.request(**ask), dict)
        keys = two.services.federation.keys
        assert await keys.request_key(one.server_name, old.key_id) is None
        assert await keys.public_key(one.server_name, old.key_id, published["expired_ts"]) == old.public_key
        assert await keys.public_key(one.server_name, old.key_id, published["expired_ts"] + 1) is None
        own = one.services.federation.keys
        assert await own.public_key(one.server_name, old.key_id, published["expired_ts"]) == old.public_key
        assert await own.public_key(one.server_name, old.key_id, published["expired_ts"] + 1) is None


def test_key_files_that_do_not_hold_keys_end_in_a_sentence(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    assert rotate(tmp_path, data).exit_code == 0
    before = (data / "signing.key").read_text()
    for text in ("ed25519 a_b AAAA 5\n", "ed25519 a_b\n", "x" * 100, f"ed25519 a {'A' * 43} soon\n"):
        (data / "old_signing_keys").write_text(text)
        refused = rotate(tmp_path, data)
        assert refused.exit_code == 2 and "does not hold old signing keys" in refused.output
        assert (data / "signing.key").read_text() == before


async def test_a_server_that_serves_no_other_asks_no_other(tmp_path: Path, authority: Authority) -> None:
    async with peer(tmp_path, authority, listeners=("127.0.0.1:0",)) as one:
        answer = await one.services.federation.client.request("localhost:1", "GET", VERSION)
        assert isinstance(answer, Failed) and "does not federate" in answer.text
        assert not one.services.federation.enabled
