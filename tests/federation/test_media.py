"""Files of other servers between two of ours, and with a server that answers as a test tells it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from tests.federation.peers import Authority, Peer, running_peer, running_peers
from tests.federation.scripted import ScriptedServer, scripted_server
from tests.homeserver.media.media_support import fetch, opened, picture, upload, uploaded

from thingroom_homeserver.config_media import MediaConfig
from thingroom_homeserver.media.files import MediaFiles
from thingroom_homeserver.media.housekeeping import Housekeeping
from thingroom_homeserver.media.mxc import Mxc

BOUNDARY = "gc0p4Jq0M2Yt08jU534c0p"


def two_parts(data: bytes, *headers: str, boundary: str = BOUNDARY) -> web.Response:
    second = "".join(f"{header}\r\n" for header in headers)
    body = (
        f"--{boundary}\r\nContent-Type: application/json\r\n\r\n{{}}\r\n--{boundary}\r\n{second}\r\n".encode()
        + data
        + f"\r\n--{boundary}--".encode()
    )
    return web.Response(body=body, headers={"Content-Type": f'multipart/mixed; boundary="{boundary}"'})


@pytest.fixture
async def pair(tmp_path: Path) -> AsyncIterator[tuple[Peer, Peer]]:
    async with running_peers(tmp_path, 2) as (one, two):
        yield one, two


@pytest.fixture
async def scripted(authority: Authority) -> AsyncIterator[ScriptedServer]:
    async with scripted_server(authority) as server:
        yield server


@pytest.fixture
async def ours(tmp_path: Path, authority: Authority) -> AsyncIterator[Peer]:
    async with running_peer(tmp_path / "ours", authority) as peer:
        yield peer


def path_of(name: str) -> str:
    return f"client/v1/media/download/{name}"


async def test_files_and_thumbnails_go_both_ways(pair: tuple[Peer, Peer]):
    for here, there in (pair, pair[::-1]):
        alice, bob = await here.register(), await there.register()
        data = picture(400, 200, "PNG")
        name = await uploaded(alice, data, filename="gärten.png")
        got = await fetch(bob, path_of(name))
        assert (got.status, got.data, got.headers["Content-Type"]) == (200, data, "image/png")
        assert got.headers["Content-Disposition"] == "inline; filename*=utf-8''g%C3%A4rten.png"
        small = await fetch(bob, f"client/v1/media/thumbnail/{name}", width="32", height="32", method="crop")
        assert (small.status, opened(small.data).size) == (200, (32, 32))
        part = await fetch(bob, path_of(name), headers={"Range": "bytes=1-3"})
        assert (part.status, part.data) == (206, b"PNG")
        old = await fetch(bob, f"media/v3/download/{name}", allow_remote="false")
        assert old.status == 404


async def test_a_large_file_passes_unchanged(pair: tuple[Peer, Peer]):
    here, there = pair
    alice, bob = await here.register(), await there.register()
    data = (b"\r\n--" * 300_000) + b"\r\n"
    name = await uploaded(alice, data, "application/octet-stream")
    assert (await fetch(bob, path_of(name))).data == data


async def test_what_was_fetched_outlives_its_server(pair: tuple[Peer, Peer]):
    here, there = pair
    alice, bob = await here.register(), await there.register()
    name = await uploaded(alice, b"kept", "text/plain")
    assert (await fetch(bob, path_of(name))).data == b"kept"
    await here.stop()
    await there.stop()
    await there.start()
    assert (await fetch(there.again(bob), path_of(name))).data == b"kept"


async def test_what_is_not_there(pair: tuple[Peer, Peer]):
    here, there = pair
    bob = await there.register()
    assert (await fetch(bob, path_of(f"{here.server_name}/nothing"))).status == 404
    assert (await fetch(bob, path_of("localhost:1/nothing"))).status == 502


async def test_a_file_that_is_announced_is_waited_for(pair: tuple[Peer, Peer]):
    here, there = pair
    alice, bob = await here.register(), await there.register()
    made = (await alice.post("/_matrix/media/v1/create")).ok()
    name = made["content_uri"].removeprefix("mxc://")
    assert (await fetch(bob, path_of(name), timeout_ms="50")).status == 504
    waiting = asyncio.create_task(fetch(bob, path_of(name), timeout_ms="10000"))
    await asyncio.sleep(0.2)
    await upload(alice, b"late", "text/plain", path=f"media/v3/upload/{name}", method="PUT")
    got = await waiting
    assert (got.status, got.data) == (200, b"late")


async def test_files_are_fetched_once_for_all_who_ask(ours: Peer, scripted: ScriptedServer):
    asked = 0

    async def answer(request: web.Request, body: Any) -> web.Response:
        nonlocal asked
        asked += 1
        await asyncio.sleep(0.2)
        return two_parts(b"data", "Content-Type: text/plain", 'Content-Disposition: attachment; filename="a;b.txt"')

    scripted.on("GET", "/_matrix/federation/v1/media/download/file", answer)
    alice = await ours.register()
    name = f"{scripted.server_name}/file"
    found = await asyncio.gather(*(fetch(alice, path_of(name)) for _ in range(5)))
    assert asked == 1
    assert {(got.status, got.data) for got in found} == {(200, b"data")}
    assert found[0].headers["Content-Disposition"] == 'inline; filename="a;b.txt"'
    assert (await fetch(alice, path_of(name))).status == 200
    assert asked == 1


async def test_a_file_that_is_elsewhere(ours: Peer, scripted: ScriptedServer):
    where = f"https://{scripted.server_name}/cdn"
    scripted.on("GET", "/_matrix/federation/v1/media/download/.*", lambda *_: two_parts(b"", f"Location: {where}/1"))
    scripted.on(
        "GET", "/cdn/1", lambda *_: web.Response(status=302, headers={"Location": "/cdn/2"}, text="this is not it")
    )
    scripted.on("GET", "/cdn/2", lambda *_: web.Response(body=b"from afar", content_type="text/csv"))
    alice = await ours.register()
    got = await fetch(alice, path_of(f"{scripted.server_name}/file"))
    assert (got.status, got.data, got.headers["Content-Type"]) == (200, b"from afar", "text/csv")
    assert len(scripted.authorizations) == 1, "who asks is told to the server only, not to where it sends us"
    for bad in ("http://localhost:1/x", "file:///etc/passwd", "https://user:word@localhost/", f"{where}/loop", "//"):
        answer = two_parts(b"", f"Location: {bad}")
        scripted.on("GET", "/_matrix/federation/v1/media/download/.*", lambda *_, answer=answer: answer)
        scripted.on("GET", "/cdn/loop", lambda *_: web.Response(status=307, headers={"Location": "/cdn/loop"}))
        assert (await fetch(alice, path_of(f"{scripted.server_name}/other"))).status == 502, bad


async def test_a_server_is_not_sent_into_its_own_network(tmp_path: Path, authority: Authority):
    async with (
        running_peer(tmp_path / "ours", authority, outgoing_permitted_ranges=()) as ours,
        scripted_server(authority) as scripted,
    ):
        alice = await ours.register()
        assert (await fetch(alice, path_of(f"{scripted.server_name}/file"))).status == 502
        assert scripted.requests == []


async def test_servers_of_before_signed_downloads(ours: Peer, scripted: ScriptedServer):
    unknown = {"errcode": "M_UNRECOGNIZED", "error": "What?"}
    scripted.on("GET", "/_matrix/federation/v1/media/download/.*", lambda *_: web.json_response(unknown, status=404))
    old = f"/_matrix/media/v3/download/{scripted.server_name}/file"
    scripted.on("GET", old, lambda *_: web.Response(body=b"old", content_type="text/plain"))
    alice = await ours.register()
    got = await fetch(alice, path_of(f"{scripted.server_name}/file"))
    assert (got.status, got.data) == (200, b"old")
    [asked] = [path for _, path, _ in scripted.requests if path.startswith("/_matrix/media/")]
    assert "allow_remote=false" in asked


async def test_a_server_that_has_no_such_file_is_not_asked_elsewhere(ours: Peer, scripted: ScriptedServer):
    missing = {"errcode": "M_NOT_FOUND", "error": "No"}
    scripted.on("GET", "/_matrix/federation/v1/media/download/.*", lambda *_: web.json_response(missing, status=404))
    alice = await ours.register()
    for _ in range(3):
        assert (await fetch(alice, path_of(f"{scripted.server_name}/file"))).status == 404
    assert len([path for _, path, _ in scripted.requests if "/media/" in path]) == 1


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"--x\r\n\r\n{}\r\n--x--\r\n",
        b"--x\r\n\r\n{}\r\n--x\r\n\r\nhalf",
        b"--x\r\n\r\n{}\r\n--x\r\n" + b"A: " + b"a" * 20_000 + b"\r\n\r\nfile\r\n--x--",
        b"--x\r\n\r\n" + b" " * 70_000 + b"\r\n--x\r\n\r\nfile\r\n--x--",
        b"no delimiter at all " * 5000,
        b"--x nonsense\r\n\r\n{}\r\n--x\r\n\r\nfile\r\n--x--",
    ],
)
async def test_answers_that_are_no_files(ours: Peer, scripted: ScriptedServer, body: bytes):
    headers = {"Content-Type": "multipart/mixed; boundary=x"}
    scripted.on("GET", ".*/media/download/file", lambda *_: web.Response(body=body, headers=headers))
    alice = await ours.register()
    assert (await fetch(alice, path_of(f"{scripted.server_name}/file"))).status == 502
    assert list((Path(ours.config.data_directory) / "media" / "arriving").iterdir()) == []


async def test_limits(tmp_path: Path, authority: Authority, scripted: ScriptedServer):
    media = MediaConfig(remote_max_bytes=65_536, remote_cache_bytes=100_000)
    scripted.on("GET", ".*/media/download/large", lambda *_: two_parts(b"x" * 65_537))
    scripted.on("GET", ".*/media/download/fits.*", lambda *_: two_parts(b"x" * 65_536))
    async with running_peer(tmp_path / "limited", authority, media=media) as ours:
        alice = await ours.register()
        assert (await fetch(alice, path_of(f"{scripted.server_name}/large"))).status == 413
        for number in range(3):
            assert (await fetch(alice, path_of(f"{scripted.server_name}/fits{number}"))).status == 200
        remote = ours.services.media._remote
        assert await remote.tidy() == 2
        kept = [path for path in (Path(ours.config.data_directory) / "media" / "remote").rglob("*") if path.is_file()]
        assert len(kept) == 1
        before = len(scripted.requests)
        assert (await fetch(alice, path_of(f"{scripted.server_name}/fits2"))).status == 200
        assert len(scripted.requests) == before, "the newest was kept"
        assert (await fetch(alice, path_of(f"{scripted.server_name}/fits0"))).status == 200


async def test_quarantine_of_other_servers_files(ours: Peer, scripted: ScriptedServer):
    scripted.on("GET", ".*/media/download/(seen|new)", lambda *_: two_parts(b"bad", "Content-Type: text/plain"))
    alice = await ours.register()
    root = Path(ours.config.data_directory) / "media"
    housekeeping = Housekeeping(ours.services.database, MediaFiles(root), ours.server_name)
    assert (await fetch(alice, path_of(f"{scripted.server_name}/seen"))).status == 200
    before = len(scripted.requests)
    for name in ("seen", "new"):
        assert await housekeeping.quarantine(str(Mxc(scripted.server_name, name)), 1)
        assert (await fetch(alice, path_of(f"{scripted.server_name}/{name}"))).status == 404
    assert len(scripted.requests) == before, "a file that is not shown is not fetched either"
    assert (await housekeeping.delete_remote_unused(2**60)).files == 1
    assert (await fetch(alice, path_of(f"{scripted.server_name}/seen"))).status == 404
    for name in ("seen", "new"):
        assert await housekeeping.quarantine(str(Mxc(scripted.server_name, name)), None)
        assert (await fetch(alice, path_of(f"{scripted.server_name}/{name}"))).status == 200
    assert not await housekeeping.quarantine(str(Mxc(scripted.server_name, "never")), None)


async def test_other_servers_are_given_files_of_this_one_only(ours: Peer, scripted: ScriptedServer):
    alice = await ours.register()
    name = await uploaded(alice, b"mine", "text/plain")
    media_id = name.partition("/")[2]

    async def ask(path: str) -> int:
        answer = await scripted.ask(ours.base_url, ours.server_name, "GET", f"/_matrix/federation/v1/media/{path}")
        return answer.status

    assert await ask("download/nothing") == 404
    assert await ask("download/..%2F..%2Fhomeserver.db") == 404
    assert await ask("download/x?timeout_ms=-1") == 400
    assert await ask(f"thumbnail/{media_id}?width=1&height=1") == 400
    assert await ask(f"thumbnail/{media_id}?width=1") == 400
    assert await ask(f"thumbnail/{media_id}?width=1&height=1&method=squeeze") == 400
    assert (await alice.get(f"/_matrix/federation/v1/media/download/{media_id}")).status == 401
