"""URL previews: what is read out of pages, and what is never connected to."""

from __future__ import annotations

import asyncio
import socket
import time
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest
import yarl
from aiohttp import web
from aiohttp.abc import AbstractResolver, ResolveResult
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.homeserver.media.media_support import fetch, picture
from tests.homeserver.running import ManualClock, RunningHomeserver, make_config, running_homeserver

from thingroom_common.config_file import ConfigError
from thingroom_homeserver.config import HomeserverConfig, check_config
from thingroom_homeserver.config_media import MediaConfig
from thingroom_homeserver.media.guarded_fetch import Fetched, GuardedFetch
from thingroom_homeserver.media.outcomes import Refused
from thingroom_homeserver.media.preview_page import read_page
from thingroom_homeserver.media.previews import Previews
from thingroom_homeserver.outgoing.guard import Guard

PAGE = """<!doctype html><html><head><meta charset="utf-8"><title>The
  title</title><meta name=description content="About &amp; more">
<meta property="og:image" content="/picture.png"><meta property="og:image:width" content="9999">
<meta property="og:site_name" content="Site"></head><body><meta property="og:title" content="no"></body></html>"""


class OneAddress(AbstractResolver):
    """A name server that says `addresses` for every name, one after the other."""

    def __init__(self, *addresses: str) -> None:
        self._addresses = list(addresses)
        self.asked = 0

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        address = self._addresses[min(self.asked, len(self._addresses) - 1)]
        self.asked += 1
        return [
            ResolveResult(
                hostname=host, host=address, port=port, family=socket.AF_INET, proto=0, flags=socket.AI_NUMERICHOST
            )
        ]

    async def close(self) -> None:
        pass


class Site:
    """A web server on 127.0.0.1 that counts its requests."""

    def __init__(self) -> None:
        self.requests: list[str] = []
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(request.path)
        if request.path == "/picture.png":
            return web.Response(body=picture(30, 20, "PNG"), content_type="image/png")
        if request.path == "/redirect":
            return web.Response(status=302, headers={"Location": request.query["to"]})
        if request.path == "/endless":
            response = web.StreamResponse(headers={"Content-Type": "text/html"})
            await response.prepare(request)
            for _ in range(2000):
                await response.write(bytes(65_536))
            return response
        if request.path == "/bomb":
            packed = zlib.compressobj(wbits=31)
            body = packed.compress(bytes(50_000_000)) + packed.flush()
            return web.Response(body=body, headers={"Content-Encoding": "gzip", "Content-Type": "text/html"})
        if request.path == "/data":
            return web.json_response({})
        return web.Response(text=PAGE, content_type="text/html")


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    site = Site()
    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", site.handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.2)
    await runner.setup()
    server = web.TCPSite(runner, "127.0.0.1", 0)
    await server.start()
    site.port = runner.addresses[0][1]
    yield site
    await runner.cleanup()


@asynccontextmanager
async def previewing(tmp_path: Path, *networks: str, port: int) -> AsyncIterator[RunningHomeserver]:
    media = MediaConfig(
        url_previews=True, preview_permitted_networks=networks, preview_ports=(80, 443, port), preview_max_bytes=200_000
    )
    config = make_config(tmp_path / "homeserver", media=media)
    check_config(config)
    async with running_homeserver(config) as homeserver:
        yield homeserver


async def test_a_preview_of_a_page_with_a_picture(tmp_path: Path, site: Site):
    async with previewing(tmp_path, "127.0.0.0/8", port=site.port) as homeserver:
        alice = await homeserver.register("alice")
        asked = [alice.get("v1/media/preview_url", url=f"{site.url}/page#part", ts=5) for _ in range(3)]
        bodies = [answer.ok() for answer in await asyncio.gather(*asked)]
        body = (await alice.get("_matrix/media/r0/preview_url", url=f"{site.url}/page")).ok()
        assert bodies == [body] * 3
        assert site.requests == ["/page", "/picture.png"]
        name = body.pop("og:image").removeprefix("mxc://")
        assert body == {
            "og:title": "The title",
            "og:description": "About & more",
            "og:site_name": "Site",
            "og:image:type": "image/png",
            "og:image:width": 30,
            "og:image:height": 20,
            "matrix:image:size": len(picture(30, 20, "PNG")),
        }
        assert (await fetch(alice, f"client/v1/media/download/{name}")).data == picture(30, 20, "PNG")
        direct = (await alice.get("v1/media/preview_url", url=f"{site.url}/picture.png")).ok()
        assert direct["og:image:width"] == 30
        assert (await alice.get("v1/media/preview_url", url=f"{site.url}/data")).ok() == {}
        for path in ("/endless", "/bomb"):
            (await alice.get("v1/media/preview_url", url=site.url + path)).is_error(502, "M_UNKNOWN")


async def test_what_is_not_permitted_is_not_asked(tmp_path: Path, site: Site):
    async with previewing(tmp_path, port=site.port) as homeserver:
        alice = await homeserver.register("alice")
        for host in ("127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "2130706433", "0x7f.1", "0", "127.1"):
            answer = await alice.get("v1/media/preview_url", url=f"http://{host}:{site.port}/")
            assert (answer.status, answer.errcode) in ((502, "M_UNKNOWN"), (400, "M_INVALID_PARAM")), host
        for url in (
            "file:///etc/passwd",
            "ftp://example.org/",
            "http://",
            "x",
            "http://user@example.org/",
            "http://example.org:22/",
            "http://[::1",
            "http://a:99999/",
            "http://" + "a" * 5000,
            "//example.org/",
        ):
            (await alice.get("v1/media/preview_url", url=url)).is_error(400, "M_INVALID_PARAM")
        (await alice.get("v1/media/preview_url")).is_error(400, "M_MISSING_PARAM")
        assert site.requests == []


async def test_previews_are_off_by_default(tmp_path: Path):
    async with running_homeserver(make_config(tmp_path / "homeserver")) as homeserver:
        alice = await homeserver.register("alice")
        (await alice.get("v1/media/preview_url", url="http://example.org/")).is_error(404, "M_UNRECOGNIZED")


@asynccontextmanager
async def fetching(site: Site, *networks: str, resolver: AbstractResolver | None = None) -> AsyncIterator[GuardedFetch]:
    guarded = GuardedFetch(Guard(networks), [site.port, 80], resolver=resolver)
    try:
        yield guarded
    finally:
        await guarded.close()


async def test_each_redirect_is_looked_at(site: Site):
    async with fetching(site, "127.0.0.1/32") as guarded:

        async def redirected(to: str) -> object:
            url = str(yarl.URL(f"{site.url}/redirect").with_query(to=to))
            return await guarded.get(url, 100_000, "*/*")

        found = await redirected("/page")
        assert isinstance(found, Fetched)
        assert found.url == f"{site.url}/page"
        before = len(site.requests)
        for to in (
            f"http://127.0.0.2:{site.port}/secret",
            "http://127.0.0.1:1/",
            "file:///etc/passwd",
            "http://169.254.169.254/",
        ):
            assert not isinstance(await redirected(to), Fetched)
        assert site.requests[before:] == ["/redirect"] * 4
        loop = f"{site.url}/redirect?to=%2Fredirect%3Fto%3D%252Fredirect"
        assert not isinstance(await guarded.get(loop, 100_000, "*/*"), Fetched)


async def test_a_name_that_leads_inside_is_refused_each_time_it_is_asked(site: Site):
    resolver = OneAddress("127.0.0.1", "10.0.0.1")
    async with fetching(site, "127.0.0.1/32", resolver=resolver) as guarded:
        url = f"http://rebinding.example:{site.port}/page"
        assert isinstance(await guarded.get(url, 100_000, "*/*"), Fetched)
        assert not isinstance(await guarded.get(url, 100_000, "*/*"), Fetched)
    assert resolver.asked == 2
    async with fetching(site, resolver=OneAddress("127.0.0.1")) as guarded:
        assert not isinstance(await guarded.get(url, 100_000, "*/*"), Fetched)
    assert site.requests == ["/page"]


def test_pages():
    assert read_page(b"") == {}
    assert read_page("<title>Gr\u00fc\u00df</title>".encode("latin-1"), "latin-1") == {"og:title": "Grüß"}
    assert read_page(b'<meta charset="iso-8859-1"><title>\xfc</title>') == {"og:title": "ü"}
    assert read_page(b"<title>x</title>", "hex") == {"og:title": "x"}
    assert len(read_page(b"<title>" + b"x" * 100_000)["og:title"]) == 1000
    many = b"".join(b'<meta property="og:a%d" content="x">' % number for number in range(1000))
    assert len(read_page(many)) == 40


def test_pages_that_are_made_to_take_long():
    for piece in (b"<!--", b"<a ", b"<!", b"<", b"&", b"<a b='", b"</", b"<script>", b"<title>&#"):
        start = time.process_time()
        read_page(piece * (600_000 // len(piece)))
        assert time.process_time() - start < 10


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.sampled_from([b"<meta ", b"property=", b"og:title", b'"', b"content='", b">", b"<title>", b"<!--", b"\xff"])
        | st.binary(max_size=8),
        max_size=30,
    ),
    st.none() | st.text(max_size=10),
)
def test_any_bytes_are_a_page(pieces: list[bytes], charset: str | None):
    for name, value in read_page(b"".join(pieces), charset).items():
        assert name.startswith("og:")
        assert 0 < len(value) <= 1000


def test_a_network_that_is_none_is_refused():
    odd = msgspec.structs.replace(HomeserverConfig(), media=MediaConfig(preview_permitted_networks=("home",)))
    with pytest.raises(ConfigError, match="preview_permitted_networks"):
        check_config(odd)


class NoNames(AbstractResolver):
    """A name server that knows nothing."""

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        raise OSError("no such name")

    async def close(self) -> None:
        pass


@settings(max_examples=150, deadline=None)
@given(
    st.text(max_size=40)
    | st.tuples(
        st.sampled_from(["http://", "https://", "HTTP:", "//", "http:/"]),
        st.text(st.sampled_from("aA0.:/@[]%#?\\ü\0 -_xn１。"), max_size=20),
    ).map("".join)
)
def test_any_text_is_an_address_to_preview(text: str):
    async def look() -> None:
        guarded = GuardedFetch(Guard(), [80, 443], resolver=NoNames())
        previews = Previews(None, guarded, ManualClock(), 1000)
        try:
            assert isinstance(await previews.get(text), Refused)
        finally:
            await previews.close()

    asyncio.run(look())
