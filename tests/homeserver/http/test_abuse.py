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
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import psutil
import pytest
from tests.homeserver.running import PASSWORD, Answer, MatrixClient, escape

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
NAMES = ("user_id", "room_id", "identifier", "username", "password", "reason", "body", "displayname", "type", "auth")


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
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=30)) as http:
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
    for _ in range(200):
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
        for value in (text, {text: text}, [text] * 50):
            body = json.dumps(dict.fromkeys(NAMES, value))[: MAX_BODY // 2].encode()
            check(await target.alice.request(endpoint.method, path, body), endpoint.method, path, value)


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


async def ask_everything(target: Target) -> None:
    for endpoint in ENDPOINTS:
        await ask_without_the_right_token(target, endpoint)
        if not endpoint.paths[0].endswith(ENDS_A_SESSION):
            await ask_with_bad_bodies(target, endpoint)
            await ask_with_odd_names(target, endpoint)


async def test_hostile_requests_are_refused_and_leave_nothing_behind(target: Target) -> None:
    await ask_everything(target)
    before = target.memory()
    for _ in range(2):
        await ask_everything(target)
    assert target.memory() - before < MAY_GROW_BYTES
    (await target.alice.get("v3/account/whoami")).ok()


async def test_a_body_without_end_is_cut_off(target: Target) -> None:
    """Chunk after chunk, from somebody who never reads the answer."""
    before = target.memory()
    reader, writer = await asyncio.open_connection("127.0.0.1", target.port)
    writer.write(b"POST /_matrix/client/v3/login HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
    sent, highest, chunk = 0, before, b"10000\r\n" + b"x" * 65_536 + b"\r\n"
    try:
        while sent < HUGE_BYTES:
            writer.write(chunk)
            await asyncio.wait_for(writer.drain(), 10)
            sent += len(chunk)
            highest = max(highest, target.memory())
    except (ConnectionError, TimeoutError):
        pass
    finally:
        writer.close()
    assert b" 413 " in await reader.readline() or sent < HUGE_BYTES
    assert highest - before < MAY_GROW_BYTES
    (await target.alice.get("v3/account/whoami")).ok()
