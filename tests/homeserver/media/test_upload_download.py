"""Uploading and downloading over HTTP: content, headers, ranges, limits, asynchronous uploads, old paths."""

from __future__ import annotations

import asyncio
import hashlib
import os
import stat
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import msgspec
import pytest
from tests.homeserver.media.media_support import fetch, upload, uploaded
from tests.homeserver.running import (
    ManualClock,
    MatrixClient,
    RunningHomeserver,
    make_config,
    running_homeserver,
)
from tests.patience import PATIENCE_SECONDS, tries

from thingroom_homeserver.config import HomeserverConfig
from thingroom_homeserver.config_media import MediaConfig
from thingroom_homeserver.storage.media import Usage, usage_of

TEXT = b"0123456789" * 100


def files_under(config: HomeserverConfig) -> list[Path]:
    return [path for path in (Path(config.data_directory) / "media").rglob("*") if path.is_file()]


async def test_what_is_uploaded_can_be_downloaded(
    homeserver: RunningHomeserver, alice: MatrixClient, bob: MatrixClient
):
    name = await uploaded(alice, TEXT, "text/plain", filename="Küche.txt")
    got = await fetch(bob, f"client/v1/media/download/{name}")
    assert (got.status, got.data) == (200, TEXT)
    assert got.headers["Content-Type"] == "text/plain"
    assert got.headers["Content-Disposition"] == "inline; filename*=utf-8''K%C3%BCche.txt"
    assert got.headers["ETag"] == f'"{hashlib.sha256(TEXT).hexdigest()}"'
    assert got.headers["Content-Security-Policy"].startswith("sandbox; default-src 'none'; script-src 'none';")
    assert got.headers["X-Content-Type-Options"] == "nosniff"
    assert got.headers["Cross-Origin-Resource-Policy"] == "cross-origin"
    assert got.headers["Access-Control-Allow-Origin"] == "*"
    assert got.headers["Cache-Control"].startswith("private")
    other = await fetch(bob, f"client/v1/media/download/{name}/other%22.txt")
    assert other.headers["Content-Disposition"] == 'inline; filename="other\\".txt"'
    (file,) = files_under(homeserver.config)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert file.read_bytes() == TEXT


async def test_types_that_browsers_run_are_attachments(alice: MatrixClient):
    name = await uploaded(alice, b"<script>", "text/html", filename="x.html")
    got = await fetch(alice, f"client/v1/media/download/{name}")
    assert got.headers["Content-Type"] == "text/html"
    assert got.headers["Content-Disposition"] == 'attachment; filename="x.html"'
    status, body = await upload(alice, b"x", None)
    assert status == 200
    got = await fetch(alice, f"client/v1/media/download/{body['content_uri'][6:]}")
    assert got.headers["Content-Type"] == "application/octet-stream"
    assert got.headers["Content-Disposition"] == "attachment"


async def test_an_empty_file_is_a_file(alice: MatrixClient):
    name = await uploaded(alice, b"", "text/plain")
    got = await fetch(alice, f"client/v1/media/download/{name}")
    assert (got.status, got.data) == (200, b"")


@pytest.mark.parametrize(
    ("wanted", "status", "data", "content_range"),
    [
        ("bytes=0-9", 206, b"0123456789", "bytes 0-9/1000"),
        ("bytes=995-", 206, b"56789", "bytes 995-999/1000"),
        ("bytes=-3", 206, b"789", "bytes 997-999/1000"),
        ("bytes=990-5000", 206, b"0123456789", "bytes 990-999/1000"),
        ("bytes=1000-", 416, None, "bytes */1000"),
        ("bytes=0-1,5-6", 200, TEXT, None),
        ("bytes=x", 200, TEXT, None),
    ],
)
async def test_ranges(alice: MatrixClient, wanted: str, status: int, data: bytes | None, content_range: str | None):
    name = await uploaded(alice, TEXT, "text/plain")
    got = await fetch(alice, f"client/v1/media/download/{name}", {"Range": wanted})
    assert got.status == status
    assert got.headers.get("Content-Range") == content_range
    assert data is None or got.data == data


async def test_validators(alice: MatrixClient):
    path = f"client/v1/media/download/{await uploaded(alice, TEXT, 'text/plain')}"
    etag = (await fetch(alice, path)).headers["ETag"]
    assert (await fetch(alice, path, {"If-None-Match": f'"x", W/{etag}'})).status == 304
    assert (await fetch(alice, path, {"If-None-Match": '"x"'})).status == 200
    assert (await fetch(alice, path, {"If-Range": etag, "Range": "bytes=0-0"})).status == 206
    assert (await fetch(alice, path, {"If-Range": '"x"', "Range": "bytes=0-0"})).status == 200


async def test_unknown_and_malformed_names_are_not_found(alice: MatrixClient, anyone: MatrixClient):
    for name in ("localhost/nothing", "elsewhere.example/abc", "localhost/%2e%2e", "a%2Fb/c", "localhost/..%2f..%2fx"):
        (await alice.get(f"v1/media/download/{name}")).is_error(404, "M_NOT_FOUND")
        (await alice.get(f"v1/media/thumbnail/{name}", width=1, height=1)).is_error(404, "M_NOT_FOUND")
    (await anyone.get("v1/media/download/localhost/x")).is_error(401, "M_MISSING_TOKEN")
    (await anyone.post("_matrix/media/v3/upload", b"x")).is_error(401, "M_MISSING_TOKEN")
    (await alice.post("_matrix/media/v3/upload", b"x", filename="x" * 2000)).is_error(400, "M_INVALID_PARAM")


async def many(size: int, piece: int = 65_536) -> AsyncIterator[bytes]:
    for start in range(0, size, piece):
        yield bytes(min(piece, size - start))


@pytest.mark.parametrize("streamed", [True, False])
async def test_files_that_are_too_large_are_refused(tmp_path: Path, streamed: bool):
    config = make_config(tmp_path / "homeserver", max_upload_bytes=100_000)
    async with running_homeserver(config) as homeserver:
        alice = await homeserver.register("alice")
        body = (await alice.get("v1/media/config")).ok()
        assert body == {"m.upload.size": 100_000}
        assert await uploaded(alice, bytes(100_000))
        for size in (100_001, 8_000_000):
            status, body = await upload(alice, many(size) if streamed else bytes(size))
            assert (status, body["errcode"]) == (413, "M_TOO_LARGE")
        await asyncio.sleep(0.05)
        assert len(files_under(config)) == 1


async def test_quotas(tmp_path: Path):
    media = MediaConfig(user_quota_bytes=1000, user_quota_files=3)
    async with running_homeserver(make_config(tmp_path / "homeserver", media=media)) as homeserver:
        alice, bob = await homeserver.register("alice"), await homeserver.register("bob")
        await uploaded(alice, bytes(600))
        for data in (bytes(401), many(401)):
            status, body = await upload(alice, data)
            assert (status, body["errcode"]) == (403, "M_FORBIDDEN")
        await uploaded(alice, bytes(400))
        for _ in range(3):
            await uploaded(bob, b"x")
        assert (await upload(bob, b"x"))[0] == 403
        (await bob.post("_matrix/media/v1/create")).is_error(403, "M_FORBIDDEN")


async def test_an_upload_that_breaks_off_leaves_nothing(homeserver: RunningHomeserver, alice: MatrixClient):
    async def breaking() -> AsyncIterator[bytes]:
        yield bytes(600_000)
        await asyncio.sleep(0.05)
        raise RuntimeError("gone")

    with pytest.raises((aiohttp.ClientError, RuntimeError)):
        await upload(alice, breaking())
    for _ in tries():
        if not files_under(homeserver.config):
            break
        await asyncio.sleep(0.02)
    assert files_under(homeserver.config) == []
    assert homeserver.services.media._arriving_bytes == {}


async def create(client: MatrixClient) -> str:
    body = (await client.post("_matrix/media/v1/create")).ok()
    assert body["unused_expires_at"] > 0
    return body["content_uri"].removeprefix("mxc://")


async def test_asynchronous_upload(alice: MatrixClient, bob: MatrixClient):
    name = await create(alice)
    path = f"client/v1/media/download/{name}"
    (await bob.get(f"v1/media/download/{name}", timeout_ms=0)).is_error(504, "M_NOT_YET_UPLOADED")
    (await bob.get(f"v1/media/download/{name}", timeout_ms=30)).is_error(504, "M_NOT_YET_UPLOADED")
    waiting = [asyncio.create_task(fetch(bob, path, timeout_ms=10_000)) for _ in range(5)]
    await asyncio.sleep(0.05)
    put = f"media/v3/upload/{name}"
    assert (await upload(bob, b"x", path=put, method="PUT"))[1]["errcode"] == "M_FORBIDDEN"
    assert await upload(alice, TEXT, "text/plain", path=put, method="PUT", filename="a") == (200, {})
    for got in await asyncio.gather(*waiting):
        assert (got.status, got.data) == (200, TEXT)
    status, body = await upload(alice, b"x", path=put, method="PUT")
    assert (status, body["errcode"]) == (409, "M_CANNOT_OVERWRITE_MEDIA")
    status, body = await upload(alice, b"x", path="media/v3/upload/localhost/unknown", method="PUT")
    assert (status, body["errcode"]) == (404, "M_NOT_FOUND")


async def test_of_many_uploads_to_one_name_one_succeeds(homeserver: RunningHomeserver, alice: MatrixClient):
    name = await create(alice)
    contents = [bytes([number]) * 400_000 for number in range(8)]
    answers = await asyncio.gather(
        *(upload(alice, data, path=f"media/v3/upload/{name}", method="PUT") for data in contents)
    )
    assert sorted(status for status, _ in answers) == [200] + [409] * 7
    winner = contents[next(number for number, (status, _) in enumerate(answers) if status == 200)]
    assert (await fetch(alice, f"client/v1/media/download/{name}")).data == winner
    assert len(files_under(homeserver.config)) == 1


async def test_a_failed_upload_can_be_tried_again(tmp_path: Path):
    async with running_homeserver(make_config(tmp_path / "homeserver", max_upload_bytes=70_000)) as homeserver:
        alice = await homeserver.register("alice")
        put = f"media/v3/upload/{await create(alice)}"
        assert (await upload(alice, many(80_000), path=put, method="PUT"))[0] == 413
        assert (await upload(alice, b"x", path=put, method="PUT"))[0] == 200


async def test_names_expire_and_are_limited(tmp_path: Path):
    clock = ManualClock()
    media = MediaConfig(max_pending_uploads=2, pending_upload_hours=1)
    async with running_homeserver(make_config(tmp_path / "homeserver", media=media), clock=clock) as homeserver:
        alice = await homeserver.register("alice")
        first = await create(alice)
        await create(alice)
        answer = await alice.post("_matrix/media/v1/create")
        answer.is_error(429, "M_LIMIT_EXCEEDED")
        assert answer.body["retry_after_ms"] > 0
        clock.advance(3601)
        status, body = await upload(alice, b"x", path=f"media/v3/upload/{first}", method="PUT")
        assert (status, body["errcode"]) == (404, "M_NOT_FOUND")
        (await alice.get(f"v1/media/download/{first}", timeout_ms=0)).is_error(404, "M_NOT_FOUND")
        await create(alice)


async def test_whoever_waits_is_released_when_the_server_stops(tmp_path: Path):
    async with running_homeserver(make_config(tmp_path / "homeserver")) as homeserver:
        alice = await homeserver.register("alice")
        waiting = asyncio.create_task(alice.get(f"v1/media/download/{await create(alice)}", timeout_ms=30_000))
        await asyncio.sleep(0.05)
        homeserver.services.media.close()
        (await asyncio.wait_for(waiting, PATIENCE_SECONDS)).is_error(504, "M_NOT_YET_UPLOADED")


async def test_old_paths(tmp_path: Path):
    config = make_config(tmp_path / "homeserver")
    async with running_homeserver(config) as homeserver:
        alice, anyone = await homeserver.register("alice"), homeserver.client()
        for version in ("r0", "v1", "v3"):
            name = await uploaded(alice, TEXT, "text/plain", path=f"media/{version}/upload")
            got = await fetch(anyone, f"media/{version}/download/{name}", allow_redirect="true", allow_remote="false")
            assert (got.status, got.data) == (200, TEXT)
            assert (await fetch(anyone, f"media/{version}/download/{name}/a.txt")).status == 200
            assert (await fetch(alice, f"media/{version}/config")).status == 200
    off = msgspec.structs.replace(config, media=MediaConfig(legacy_downloads="off"))
    async with running_homeserver(off) as homeserver:
        anyone = homeserver.client()
        (await anyone.get(f"_matrix/media/v3/download/{name}")).is_error(404, "M_NOT_FOUND")
        (await anyone.get(f"_matrix/media/v3/thumbnail/{name}", width=1, height=1)).is_error(404, "M_NOT_FOUND")


async def test_files_outlive_the_server(tmp_path: Path):
    config = make_config(tmp_path / "homeserver")
    async with running_homeserver(config) as homeserver:
        alice = await homeserver.register("alice")
        name = await uploaded(alice, TEXT, "text/plain")
    (recorded,) = files_under(config)
    arriving = Path(config.data_directory) / "media" / "arriving"
    recorded.rename(arriving / recorded.name)  # as if killed between record and move
    (arriving / "never-recorded").write_bytes(b"x")
    async with running_homeserver(config) as homeserver:
        got = await fetch(homeserver.client(alice.token), f"client/v1/media/download/{name}")
    assert got.data == TEXT
    assert [path.name for path in files_under(config)] == [recorded.name]


async def test_a_file_that_cannot_be_moved_is_not_lost(tmp_path: Path):
    config = make_config(tmp_path / "homeserver")
    local = Path(config.data_directory) / "media" / "local"
    local.parent.mkdir()
    local.write_bytes(b"in the way")
    async with running_homeserver(config) as homeserver:
        alice = await homeserver.register("alice")
        put = f"media/v3/upload/{(name := await create(alice))}"
        assert (await upload(alice, TEXT, path=put, method="PUT"))[0] == 500
        assert (await fetch(alice, f"client/v1/media/download/{name}")).data == TEXT
    local.unlink()
    async with running_homeserver(config) as homeserver:
        assert (await fetch(homeserver.client(alice.token), f"client/v1/media/download/{name}")).data == TEXT
    assert local.is_dir()


async def test_many_uploads_and_downloads_at_once(homeserver: RunningHomeserver, alice: MatrixClient):
    contents = [os.urandom(300_000) for _ in range(30)]
    names = await asyncio.gather(*(uploaded(alice, data) for data in contents))
    assert len(set(names)) == 30
    answers = await asyncio.gather(*(fetch(alice, f"client/v1/media/download/{name}") for name in names))
    assert [got.data for got in answers] == contents
    assert homeserver.services.media._arriving_bytes == {}
    usage = homeserver.services.database.read(lambda connection: usage_of(connection, alice.user_id))
    assert usage == Usage(30, 9_000_000)
