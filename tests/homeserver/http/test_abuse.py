"""Hostile requests to every endpoint of a real process: the right refusal, never a 500, and no memory is kept.

The requests are made from the table of endpoints, so a new endpoint is tested as soon as it is in it.
"""

from __future__ import annotations

import asyncio
import json
import re
import socket
import subprocess
import sys
import zlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import psutil
import pytest
from tests.homeserver.running import PASSWORD, Answer, MatrixClient, escape
from tests.patience import PATIENCE_SECONDS, tries

from thingroom_homeserver.http.endpoint import Auth, Body, Endpoint
from thingroom_homeserver.server import ENDPOINTS

MAX_BODY = 65_536
MAY_GROW_BYTES = 12 * 1024 * 1024
HUGE_BYTES = 200 * 1024 * 1024
WITH_BODY = ("POST", "PUT", "DELETE")
ENDS_A_SESSION = ("/logout", "/logout/all")
DEEP = 3000
NOT_JSON = (b"{", b"\xff\xfe{}", b'{"a":"\\ud800"}', b'{"a":' * DEEP + b"1" + b"}" * DEEP, b"[" * DEEP + b"]" * DEEP)
OTHER_KINDS = (b"[]", b"null", b'"x"', b"1e5")
UNDECODABLE = ("%ff", "%ED%A0%80", "%C0%AF", "%F8%88%80%80%80")
ODD_NAMES = (
    "%00",
    "%E2%80%AE%E2%80%8B",
    escape("@" + "💥" * 70 + ":localhost"),
    escape("!" + "\u0301" * 150),
    "%2E%2E%2F",
)
ODD_TEXT = ("\0", "\u202e\ufeff", "💥" * 2000, "a\u0301" * 2000, "\uffff\U0010ffff", "' OR 1=1 --", "${x}{{x}}%s%n")
NAMES = re.findall(
    r"\S+",
    """
    user_id room_id identifier username password reason body displayname type auth id_server id_access_token medium
    address sid client_secret three_pid_creds kind data app_id pushkey lang erase signed third_party_signed
    """,
)


@dataclass
class Target:
    """The server's process, a client with a token and one without."""

    process: subprocess.Popen[bytes]
    port: int
    alice: MatrixClient
    anyone: MatrixClient

    def memory(self) -> int:
        return psutil.Process(self.process.pid).memory_info().rss


@pytest.fixture
async def target(tmp_path: Path) -> AsyncIterator[Target]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    (tmp_path / "data").mkdir()
    config = tmp_path / "thingroom.toml"
    config.write_text(
        f'[homeserver]\nlisteners = ["127.0.0.1:{port}"]\ndata_directory = "data"\nregistration = "open"\n'
        f"rate_limits = false\nmax_body_bytes = {MAX_BODY}\n"
        "[homeserver.password_cost]\nmemory_kib = 64\npasses = 1\n"
    )
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "thingroom_homeserver", "--config", str(config)], stderr=log, stdout=log
        )
    try:
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=PATIENCE_SECONDS)) as http:
            anyone = MatrixClient(http, f"http://127.0.0.1:{port}")
            alice = await _registered(anyone)
            yield Target(process, port, alice, anyone)
        assert process.poll() is None
    finally:
        process.terminate()
        process.wait(10)
    assert "Traceback" not in (tmp_path / "log").read_text()


async def _registered(anyone: MatrixClient) -> MatrixClient:
    body = {"username": "alice", "password": PASSWORD, "auth": {"type": "m.login.dummy"}}
    for _ in tries():
        try:
            session = (await anyone.post("v3/register", body)).ok()
        except aiohttp.ClientConnectionError:
            await asyncio.sleep(0.1)
        else:
            return MatrixClient(anyone.http, anyone.base_url, session["access_token"])
    raise AssertionError("the server did not start")


def filled(path: str, value: str = "x") -> str:
    return re.sub(r"\{\w+\}", lambda _: value, path)


def check(answer: Answer, *about: object) -> None:
    """No failure of ours, and a refusal in Matrix's words (a challenge to authenticate has none)."""
    assert answer.status < 500, (answer.status, answer.body, about)
    if isinstance(answer.body, bytes) and answer.body.startswith(b"<!DOCTYPE html>"):
        return  # a page for a person's browser says it in words
    assert answer.status < 400 or isinstance(answer.body, dict), (answer.status, answer.body, about)
    if answer.status >= 400 and not (answer.status == 401 and "flows" in answer.body):
        assert re.fullmatch(r"[A-Z]+[A-Z_.]+", answer.errcode or ""), (answer.status, answer.body, about)


async def ask_without_the_right_token(target: Target, endpoint: Endpoint) -> None:
    for path in endpoint.paths:
        missing = await target.anyone.request(endpoint.method, filled(path), b"nonsense")
        wrong = MatrixClient(target.anyone.http, target.anyone.base_url, "💥wrong" * 100)
        unknown = await wrong.request(endpoint.method, filled(path), b"nonsense")
        check(missing, endpoint.method, path)
        check(unknown, endpoint.method, path)
        if endpoint.auth in (Auth.USER, Auth.APPSERVICE_ONLY):
            missing.is_error(401, "M_MISSING_TOKEN")
            unknown.is_error(401, "M_UNKNOWN_TOKEN")
        if endpoint.auth is Auth.APPSERVICE_ONLY:
            (await target.alice.request(endpoint.method, filled(path), b"{}")).is_error(403, "M_FORBIDDEN")


async def ask_with_bad_bodies(target: Target, endpoint: Endpoint) -> None:
    if endpoint.method not in WITH_BODY or endpoint.auth is Auth.APPSERVICE_ONLY:
        return
    path = filled(endpoint.paths[0])
    if "/room_keys/keys" in path:
        path += "?version=1"  # asked for before the body is
    if endpoint.body is Body.JSON:
        large = await target.alice.request(endpoint.method, path, b'{"a":"' + b"x" * (MAX_BODY + 1000) + b'"}')
        large.is_error(413, "M_TOO_LARGE")
    empty = await target.alice.request(endpoint.method, path, b"{}")
    reads_its_body = empty.errcode in ("M_MISSING_PARAM", "M_BAD_JSON")
    for bodies, errcode in ((NOT_JSON, "M_NOT_JSON"), (OTHER_KINDS, "M_BAD_JSON")):
        for body in bodies:
            answer = await target.alice.request(endpoint.method, path, body)
            check(answer, endpoint.method, path, body[:50])
            if reads_its_body and body.lstrip(b"[").strip(b"]"):
                answer.is_error(400, errcode)
    for text in ODD_TEXT:
        short = text[:150]
        for value in (short, {short: short}, [short[:10]] * 50):
            body = json.dumps(dict.fromkeys(NAMES, value), ensure_ascii=False).encode()
            assert len(body) <= MAX_BODY
            check(await target.alice.request(endpoint.method, path, body), endpoint.method, path, value)
        long = json.dumps(dict.fromkeys(NAMES[:2], text)).encode()
        check(await target.alice.request(endpoint.method, path, long), endpoint.method, path, text[:20])


async def ask_with_odd_names(target: Target, endpoint: Endpoint) -> None:
    body = b"{}" if endpoint.method in WITH_BODY else None
    for path in endpoint.paths:
        if "{" in path:
            for name in UNDECODABLE:
                refused = await target.alice.request(endpoint.method, filled(path, name), body)
                if endpoint.auth is Auth.APPSERVICE_ONLY:
                    check(refused, endpoint.method, path, name)
                else:
                    refused.is_error(400, "M_INVALID_PARAM")
    for name in ODD_NAMES:
        plain = filled(endpoint.paths[0], name)
        for path in (plain, f"{plain}?from={name}&limit={name}&since={name}&filter={name}&ts={name}&user_id={name}"):
            check(await target.alice.request(endpoint.method, path, body), endpoint.method, path)
    many = "&".join(f"a{number}=1" for number in range(400))
    check(await target.alice.request(endpoint.method, f"{filled(endpoint.paths[0])}?{many}", body), endpoint)


async def ask_with_nested_values(target: Target, endpoint: Endpoint) -> None:
    """JSON that is just about acceptable: deep, wide, with numbers and names that few expect."""
    if endpoint.method not in WITH_BODY or endpoint.auth is Auth.APPSERVICE_ONLY:
        return
    deep = b'{"a":' * 90 + b"1" + b"}" * 90
    lists = b"[" * 90 + b"]" * 90
    wide = json.dumps({f"k{number}": number for number in range(3000)}).encode()
    odd = (deep, lists, wide, b"-0", b"1e999", b"9007199254740993", b"-99999999999999999999", b'"\\u0000"', b"[[],{}]")
    for value in odd:
        body = b"{%s}" % b",".join(b'"%s":%s' % (name.encode(), value) for name in NAMES)
        for sent in (body[:MAX_BODY], b'{"content":%s,"auth":{"type":%s}}' % (value, value), b'{"a":1,"a":%s}' % value):
            check(await target.alice.request(endpoint.method, filled(endpoint.paths[0]), sent), endpoint, sent[:60])


async def ask_everything(target: Target) -> None:
    for endpoint in ENDPOINTS:
        await ask_without_the_right_token(target, endpoint)
        if not endpoint.paths[0].endswith(ENDS_A_SESSION):
            await ask_with_bad_bodies(target, endpoint)
            await ask_with_odd_names(target, endpoint)
            await ask_with_nested_values(target, endpoint)


async def test_hostile_requests_are_refused_and_leave_nothing_behind(target: Target) -> None:
    await ask_everything(target)
    before = target.memory()
    for _ in range(2):
        await ask_everything(target)
    assert target.memory() - before < MAY_GROW_BYTES
    (await target.alice.get("v3/account/whoami")).ok()


RAW: tuple[tuple[bytes, tuple[int, ...]], ...] = (
    (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" * 10, (400,)),  # TLS to a plain port
    (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", (400,)),
    (b"GET\r\n\r\n", (400,)),
    (b"G\x00T / HTTP/1.1\r\nHost: x\r\n\r\n", (400,)),
    (b"GET / HTTP/9.9\r\nHost: x\r\n\r\n", (400, 404)),
    (b"GET /_matrix/client/versions HTTP/1.1\r\nHost x\r\n\r\n", (400,)),
    (b"GET /_matrix/client/versions HTTP/1.1\r\nHost: x\r\nX: a\x00b\r\n\r\n", (400,)),
    (b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", (400, 414)),
    (b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 70_000 + b"\r\n\r\n", (400, 431)),
    (b"GET /_matrix/client/v3/sync?filter=" + b"{" * 20_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", (401,)),
    (b"GET //evil.example//_matrix HTTP/1.1\r\nHost: x\r\n\r\n", (404,)),
    (b"GET http://evil.example/_matrix/client/versions HTTP/1.1\r\nHost: x\r\n\r\n", (200, 404)),
    (b"FOO /_matrix/client/versions HTTP/1.1\r\nHost: x\r\n\r\n", (400, 405)),
    (b"TRACE /_matrix/client/versions HTTP/1.1\r\nHost: x\r\n\r\n", (405,)),
    (b"CONNECT evil.example:443 HTTP/1.1\r\nHost: x\r\n\r\n", (400, 404)),
    (b"GET /_matrix/client/versions HTTP/1.1\r\nHost: x\r\nExpect: miracles\r\n\r\n", (417,)),
    (b"POST /_matrix/client/v3/login HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n", (400,)),
    (b"POST /_matrix/client/v3/login HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n{}", (400,)),
    (
        b"POST /_matrix/client/v3/login HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        (400,),
    ),
    (b"POST /_matrix/client/v3/login HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", (400,)),
    (b"POST /_matrix/client/v3/login HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999\r\n\r\n{", (413,)),
    (
        b"POST /_matrix/client/v3/login HTTP/1.1\r\nHost: x\r\nContent-Encoding: gzip\r\n"
        b"Content-Length: 5\r\n\r\nhello",
        (400,),
    ),
    (
        b"GET /_matrix/client/v3/sync HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer \xff\xfe\x80\r\n\r\n",
        (401,),
    ),
)
"""Bytes to the socket, and what may be the status of the answer."""


async def ask_in_bytes(target: Target, sent: bytes) -> tuple[int, bytes]:
    """The status and body of what comes back."""
    reader, writer = await asyncio.open_connection("127.0.0.1", target.port)
    try:
        writer.write(sent)
        await writer.drain()
        async with asyncio.timeout(PATIENCE_SECONDS):
            head = await reader.readuntil(b"\r\n\r\n")
            length = re.search(rb"(?i)content-length: (\d+)", head)
            return int(head.split()[1]), await reader.readexactly(int(length[1]) if length else 0)
    finally:
        writer.close()


async def test_what_is_no_http_is_refused_in_matrix_words(target: Target) -> None:
    for sent, statuses in RAW:
        status, body = await ask_in_bytes(target, sent)
        assert status in statuses, (sent[:80], status, body)
        if status >= 400:
            error = json.loads(body)
            assert error["errcode"].startswith("M_") and isinstance(error["error"], str), (sent[:80], body)
    before = target.memory()
    for _ in range(20):
        for sent, _ in RAW:
            await ask_in_bytes(target, sent)
    assert target.memory() - before < MAY_GROW_BYTES
    (await target.alice.get("v3/account/whoami")).ok()


async def test_a_packed_body_is_measured_unpacked(target: Target) -> None:
    """200 MB of zeros in 200 kB."""
    before = highest = target.memory()
    for encoding in ("gzip", "deflate"):
        packer = zlib.compressobj(wbits=31 if encoding == "gzip" else 15)
        packed = b"".join(
            (*(packer.compress(bytes(1_000_000)) for _ in range(HUGE_BYTES // 1_000_000)), packer.flush())
        )
        for path in ("/_matrix/client/v3/login", "/_matrix/client/v3/user_directory/search"):
            headers = {"Content-Encoding": encoding, "Authorization": f"Bearer {target.alice.token}"}
            url = f"http://127.0.0.1:{target.port}{path}"
            for _ in range(3):
                try:
                    async with target.anyone.http.post(url, data=packed, headers=headers) as answer:
                        assert answer.status in (400, 413), await answer.text()
                        assert (await answer.json())["errcode"].startswith("M_")
                except aiohttp.ClientConnectionError:
                    pass  # it was answered and closed before all was sent
                highest = max(highest, target.memory())
    assert highest - before < MAY_GROW_BYTES
    (await target.alice.get("v3/account/whoami")).ok()


async def test_half_requests_hold_nothing(target: Target) -> None:
    """Many connections that begin and go away."""
    beginnings = (
        b"POST /_matrix/client/v3/login HTTP/1.1\r\nHost: x\r\nContent-Length: 60000\r\n\r\n{" + b" " * 30_000,
        b"GET /_matrix/client/v3/sync?timeout=30000 HTTP/1.1\r\nHost: x\r\nAuthor",
        b"GET /_matrix/client/v3/sync?timeout=30000&since=s9_9 HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer "
        + str(target.alice.token).encode()
        + b"\r\n\r\n",
    )

    async def some() -> None:
        for number in range(300):
            _, writer = await asyncio.open_connection("127.0.0.1", target.port)
            writer.write(beginnings[number % len(beginnings)])
            await writer.drain()
            writer.transport.abort()

    async def rounds(count: int) -> int:
        for _ in range(count):
            await some()
            await asyncio.sleep(0.3)
            (await target.alice.get("v3/account/whoami")).ok()
        return target.memory()

    before = await rounds(3)
    # Half a round is held at once on a slow machine; the bodies of eight rounds alone would be 24 MB.
    assert await rounds(8) - before < 1.5 * MAY_GROW_BYTES


async def test_a_body_without_end_is_cut_off(target: Target) -> None:
    """Chunk after chunk, from somebody who never reads the answer."""
    before = target.memory()
    reader, writer = await asyncio.open_connection("127.0.0.1", target.port)
    writer.write(b"POST /_matrix/client/v3/login HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
    sent, highest, chunk = 0, before, b"10000\r\n" + b"x" * 65_536 + b"\r\n"
    try:
        while sent < HUGE_BYTES:
            writer.write(chunk)
            await asyncio.wait_for(writer.drain(), PATIENCE_SECONDS)
            sent += len(chunk)
            highest = max(highest, target.memory())
    except (ConnectionError, TimeoutError):
        pass
    finally:
        writer.close()
    assert b" 413 " in await reader.readline() or sent < HUGE_BYTES
    assert highest - before < MAY_GROW_BYTES
    (await target.alice.get("v3/account/whoami")).ok()
