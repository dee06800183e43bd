"""What every endpoint has in common: routing, CORS, bodies, errors, limits."""

from __future__ import annotations

import asyncio
import gzip
import logging

import pytest
from tests.homeserver.running import MatrixClient, RunningHomeserver, escape, make_config, running_homeserver
from tests.patience import PATIENCE_SECONDS

from thingroom_homeserver.http.endpoint import Auth, Endpoint, Request, client_path
from thingroom_homeserver.server import ENDPOINTS, NotTheirFault

CORS = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Allow-Methods": "GET, POST, PUT, DELETE, OPTIONS",
    "Access-Control-Allow-Headers": "X-Requested-With, Content-Type, Authorization",
}


async def test_every_answer_carries_cors_headers(alice: MatrixClient, anyone: MatrixClient) -> None:
    for answer in (
        await alice.get("v3/account/whoami"),
        await anyone.get("v3/account/whoami"),
        await anyone.get("v3/nothing"),
        await anyone.request("PATCH", "v3/account/whoami"),
    ):
        assert {name: answer.headers.get(name) for name in CORS} == CORS
        assert answer.headers["Content-Type"] == "application/json"


@pytest.mark.parametrize("path", ["v3/account/whoami", "v3/sync", "v3/nothing", ".well-known/matrix/client"])
async def test_options_answers_without_doing_anything(anyone: MatrixClient, path: str) -> None:
    answer = await anyone.request("OPTIONS", path)
    assert answer.status == 204
    assert {name: answer.headers.get(name) for name in CORS} == CORS


async def test_unknown_paths_and_methods(anyone: MatrixClient) -> None:
    for path in ("v3/nothing", "v9/sync", "v3/account/whoami/more", "_matrix/nonsense", "_elsewhere"):
        (await anyone.get(path)).is_error(404, "M_UNRECOGNIZED")
    answer = await anyone.delete("v3/account/whoami")
    answer.is_error(405, "M_UNRECOGNIZED")
    assert answer.headers["Allow"] == "GET"


async def test_bodies_that_are_not_json_objects(alice: MatrixClient) -> None:
    path = f"v3/user/{escape(alice.user_id)}/filter"
    for body in (b"", b"{", b"nonsense", b'{"a": NaN}', b"\xff\xfe", b'{"a":"\\ud800"}'):
        (await alice.request("POST", path, body)).is_error(400, "M_NOT_JSON")
    for body in (b"[]", b"1", b"null", b'"text"', b'{"a": 18446744073709551616}'):
        (await alice.request("POST", path, body)).is_error(400, "M_BAD_JSON")


async def test_bodies_that_are_too_deep_or_too_large(alice: MatrixClient) -> None:
    path = f"v3/user/{escape(alice.user_id)}/account_data/deep"
    for depth in (1000, 100_000):
        deep = b'{"a":' * depth + b"1" + b"}" * depth
        (await alice.request("PUT", path, deep)).is_error(400, "M_NOT_JSON")
    large = b'{"a":"' + b"x" * 1_100_000 + b'"}'
    (await alice.request("PUT", path, large)).is_error(413, "M_TOO_LARGE")


async def test_a_segment_may_hold_encoded_slashes_and_any_text(alice: MatrixClient) -> None:
    for name in ("a/b", "ü ?#%", "日本", "a%2Fb"):
        path = f"v3/user/{escape(alice.user_id)}/account_data/{escape(name)}"
        (await alice.put(path, {"name": name})).ok()
        assert (await alice.get(path)).ok() == {"name": name}


async def test_segments_that_are_not_utf8_are_refused(alice: MatrixClient) -> None:
    (await alice.get(f"v3/user/{escape(alice.user_id)}/account_data/%ff")).is_error(400, "M_INVALID_PARAM")
    (await alice.get("v3/register/available?username=%ff")).is_error(400, "M_INVALID_PARAM")


async def test_the_old_version_of_a_path_works_too(alice: MatrixClient) -> None:
    (await alice.get("r0/account/whoami")).ok()


async def test_a_bug_is_a_500_with_a_log_and_no_details(tmp_path, caplog) -> None:
    async def fail(request: Request, services: object) -> dict[str, object]:
        raise RuntimeError("a secret detail")

    broken = Endpoint("GET", client_path("broken"), fail, auth=Auth.NONE)
    async with running_homeserver(make_config(tmp_path), endpoints=(*ENDPOINTS, broken)) as server:
        with caplog.at_level(logging.ERROR):
            answer = await server.client().get("v3/broken")
        answer.is_error(500, "M_UNKNOWN")
        assert "secret" not in str(answer.body)
        assert "a secret detail" in caplog.text


async def test_requests_run_out_and_come_back(tmp_path) -> None:
    async with running_homeserver(make_config(tmp_path, rate_limits=True)) as server:
        alice = await server.register("alice")
        path = f"v3/profile/{escape(alice.user_id)}/displayname"
        answers = [await alice.put(path, {"displayname": f"a{number}"}) for number in range(25)]
        assert all(answer.status == 200 for answer in answers[:20])
        answers[-1].is_error(429, "M_LIMIT_EXCEEDED")
        assert 0 < answers[-1].body["retry_after_ms"] <= 1000
        assert answers[-1].headers["Retry-After"] == "1"
        (await alice.get(path)).ok()


async def test_the_address_behind_a_proxy_counts_only_if_it_is_trusted(tmp_path) -> None:
    async def seen_as(trust: bool, folder: str) -> str:
        config = make_config(tmp_path / folder, trust_forwarded_for=trust)
        async with running_homeserver(config) as server:
            alice = await server.register("alice")
            headers = {"Authorization": f"Bearer {alice.token}", "X-Forwarded-For": "9.9.9.9, 10.0.0.7"}
            url = f"{server.base_url}/_matrix/client/v3/devices/{alice.device_id}"
            async with server.http.get(url, headers=headers) as response:
                return (await response.json())["last_seen_ip"]

    assert await seen_as(False, "a") == "127.0.0.1"
    assert await seen_as(True, "b") == "10.0.0.7"


def test_endpoints_are_listed_once() -> None:
    seen = set()
    for endpoint in ENDPOINTS:
        for path in endpoint.paths:
            assert (endpoint.method, path) not in seen
            seen.add((endpoint.method, path))
            known = ("/_matrix/", "/.well-known/", "/_synapse/admin/v1/register", "/_thingroom/", "/health")
            assert path.startswith(known)


async def raw(server: RunningHomeserver, request: bytes) -> bytes:
    """The first line of the answer to these bytes; b"" when the connection is closed without one."""
    reader, writer = await asyncio.open_connection("127.0.0.1", int(server.base_url.rpartition(":")[2]))
    writer.write(request)
    try:
        return (await asyncio.wait_for(reader.readline(), PATIENCE_SECONDS)).rstrip()
    finally:
        writer.close()


POST = b"POST /_matrix/client/v3/login HTTP/1.1\r\nHost: x\r\n"


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (POST + b"Content-Encoding: gzip\r\nContent-Length: 4\r\n\r\nabcd", b"400"),
        (POST + b"Transfer-Encoding: chunked\r\n\r\nZZ\r\nnope\r\n", b"400"),
        (b"GET /_matrix/client/v3/account/whoami HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer \xff\r\n\r\n", b"401"),
        (b"GET http://elsewhere/_matrix/client/versions HTTP/1.1\r\nHost: x\r\n\r\n", b"404"),
        (b"nonsense\r\n\r\n", b"400"),
    ],
)
async def test_broken_requests(homeserver: RunningHomeserver, caplog, request_bytes: bytes, status: bytes) -> None:
    logging.getLogger("aiohttp.server").addFilter(quiet := NotTheirFault())
    try:
        assert (await raw(homeserver, request_bytes)).split()[1] == status
        (await homeserver.client().get("versions")).ok()
    finally:
        logging.getLogger("aiohttp.server").removeFilter(quiet)
    assert caplog.records == []


async def test_a_client_that_hangs_up_in_the_middle(homeserver: RunningHomeserver, caplog) -> None:
    _, writer = await asyncio.open_connection("127.0.0.1", int(homeserver.base_url.rpartition(":")[2]))
    writer.write(POST + b'Content-Length: 100\r\n\r\n{"a"')
    await writer.drain()
    writer.close()
    await asyncio.sleep(0.1)
    assert caplog.records == []


async def test_a_small_compressed_body_may_not_grow_large(homeserver: RunningHomeserver) -> None:
    bomb = gzip.compress(b'{"a":"' + b" " * 30_000_000 + b'"}')
    headers = {"Content-Encoding": "gzip", "Content-Type": "application/json"}
    async with homeserver.http.post(
        f"{homeserver.base_url}/_matrix/client/v3/login", data=bomb, headers=headers
    ) as response:
        assert response.status == 413
        assert (await response.json())["errcode"] == "M_TOO_LARGE"


@pytest.mark.parametrize("sliding", [False, True])
async def test_a_long_poll_ends_with_its_connection(
    homeserver: RunningHomeserver, alice: MatrixClient, sliding: bool
) -> None:
    path = "v4/sync" if sliding else "v3/sync"
    notifier = homeserver.services.notifier
    if sliding:
        since = {"pos": (await alice.post(path, {})).ok()["pos"]}
        poll = asyncio.create_task(alice.post(path, {}, timeout=30_000, **since))
    else:
        since = {"since": (await alice.get(path)).ok()["next_batch"]}
        poll = asyncio.create_task(alice.get(path, timeout=30_000, **since))
    async with asyncio.timeout(PATIENCE_SECONDS):
        while notifier.waiting == 0:
            await asyncio.sleep(0.01)
        poll.cancel()
        while notifier.waiting > 0:
            await asyncio.sleep(0.01)
    (await alice.get("v3/account/whoami")).ok()
