"""Requests over real sockets: which address, certificate and Host header each step of the discovery leads to, what of
an answer is read, and how peers that are slow, lie or point at the inside of the network are dealt with."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import os
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import dns.asyncresolver
import dns.message
import dns.rrset
import pytest
from aiohttp import web
from tests.federation.peers import Authority
from tests.federation.scripted import ScriptedServer, scripted_server
from tests.federation.table_names import TableNames
from tests.homeserver.running import ManualClock
from tests.patience import PATIENCE_SECONDS

from thingroom_homeserver.clock import Clock, SystemClock
from thingroom_homeserver.core.signing import SigningKey, verify_json
from thingroom_homeserver.federation.client import FederationClient, path
from thingroom_homeserver.federation.connections import open_session
from thingroom_homeserver.federation.discovery import Discovery, Names, Service
from thingroom_homeserver.federation.dns_names import DnsNames
from thingroom_homeserver.federation.outcomes import Failed
from thingroom_homeserver.federation.own_keys import OwnKeys
from thingroom_homeserver.federation.reachability import AlwaysTry, Reachability
from thingroom_homeserver.federation.well_known import MAX_BYTES, WellKnown
from thingroom_homeserver.federation.x_matrix import parse_authorization
from thingroom_homeserver.outgoing.guard import Guard
from thingroom_homeserver.outgoing.tls import outgoing_tls

ANSWER = {"ok": 1}
PLACE = "/_matrix/federation/v1/thing"


@dataclass
class Outside:
    """A client of the server "us.test", and what it goes through."""

    client: FederationClient
    http: aiohttp.ClientSession
    well_known: WellKnown
    key: SigningKey

    async def ask(self, server_name: str, **options: Any) -> Any:
        return await self.client.request(server_name, "GET", PLACE, **options)


@contextlib.asynccontextmanager
async def outside(
    authority: Authority,
    names: Names,
    *,
    permitted: tuple[str, ...] = ("127.0.0.1",),
    seconds: float = PATIENCE_SECONDS,
    clock: Clock | None = None,
    reachability: Reachability | None = None,
    enabled: bool = True,
) -> AsyncIterator[Outside]:
    clock = clock or SystemClock()
    key = SigningKey.from_seed("ed25519:us", os.urandom(32))
    session = open_session(names, Guard(permitted), outgoing_tls(str(authority.ca_file)))
    async with session as http:
        well_known = WellKnown(http, clock)
        client = FederationClient(
            http,
            Discovery(names, well_known),
            OwnKeys("us.test", key, (), clock),
            reachability or AlwaysTry(),
            timeout_seconds=seconds,
            enabled=enabled,
        )
        try:
            yield Outside(client, http, well_known, key)
        finally:
            await well_known.close()


@contextlib.asynccontextmanager
async def server_at(authority: Authority, *certificate_names: str) -> AsyncIterator[ScriptedServer]:
    """A server whose certificate is for these names. It answers at PLACE."""
    tls = authority.server_context(*certificate_names)
    async with scripted_server(authority, tls=tls, strict=False) as server:
        server.hosts = []  # type: ignore[attr-defined]

        def answer(request: web.Request, body: Any) -> Any:
            server.hosts.append(request.headers["Host"])  # type: ignore[attr-defined]
            return ANSWER

        server.on("GET", PLACE, answer)
        yield server


def delegating(to: str, **headers: str) -> Any:
    def answer(request: web.Request, body: Any) -> web.Response:
        return web.json_response({"m.server": to}, headers=headers)

    return answer


@pytest.mark.parametrize(
    ("name", "delegate", "service", "certificate", "host"),
    [
        ("127.0.0.1:{port}", None, None, "127.0.0.1", "127.0.0.1:{port}"),
        ("a.test:4711", None, None, "a.test", "a.test:4711"),
        ("a.test", "127.0.0.1:{port}", None, "127.0.0.1", "127.0.0.1:{port}"),
        ("a.test", "b.test:4711", None, "b.test", "b.test:4711"),
        ("a.test", "b.test", "_matrix-fed._tcp.b.test", "b.test", "b.test"),
        ("a.test", "b.test", "_matrix._tcp.b.test", "b.test", "b.test"),
        ("a.test", "b.test", None, "b.test", "b.test"),
        ("a.test", None, "_matrix-fed._tcp.a.test", "a.test", "a.test"),
        ("a.test", None, "_matrix._tcp.a.test", "a.test", "a.test"),
        ("a.test", None, None, "a.test", "a.test"),
    ],
)
async def test_each_step_leads_to_the_right_host_and_certificate(
    authority: Authority, name: str, delegate: str | None, service: str | None, certificate: str, host: str
) -> None:
    async with (
        server_at(authority, certificate) as right,
        server_at(authority, "wrong.test", "c.test") as wrong,
        server_at(authority, "a.test") as web_server,
    ):
        for server in (right, wrong):
            here = ("127.0.0.1", server.port)
            names = TableNames({(known, port): here for known in ("a.test", "b.test") for port in (8448, 4711)})
            names.where |= {("a.test", 443): ("127.0.0.1", web_server.port), ("c.test", 5): here}
            if service:
                names.records[service] = [Service(1, 1, "c.test.", 5)]
            if delegate:
                web_server.on("GET", "/.well-known/matrix/server", delegating(delegate.format(port=server.port)))
            async with outside(authority, names) as us:
                answer = await us.ask(name.format(port=server.port))
            if server is right:
                assert answer == ANSWER
                assert server.hosts == [host.format(port=server.port)]  # type: ignore[attr-defined]
            else:
                assert isinstance(answer, Failed) and answer.why == "unreachable", answer
                assert not server.requests


async def test_a_certificate_of_nobody_is_not_trusted(authority: Authority, tmp_path: Path) -> None:
    stranger = Authority(tmp_path / "stranger")
    async with server_at(stranger, "localhost") as server, outside(authority, TableNames()) as us:
        answer = await us.ask(server.server_name)
        assert isinstance(answer, Failed) and answer.why == "unreachable"
        assert "its certificate does not hold" in answer.text
        assert not server.requests


async def test_what_is_sent_is_signed(authority: Authority) -> None:
    async with scripted_server(authority) as server, outside(authority, TableNames()) as us:
        server.on("PUT", ".*", ANSWER)
        body = {"ü": [1.5, 2**70, None], "b": {"c": "d"}}
        place = path("v1", "send", "!a/b:x", "€ %")
        assert place == "/_matrix/federation/v1/send/%21a%2Fb%3Ax/%E2%82%AC%20%25"
        query = [("a b", "c&d"), ("e", "ü"), ("e", "+/")]
        assert await us.client.request(server.server_name, "PUT", place, query=query, body=body) == ANSWER
        [(method, uri, sent)] = server.requests
        assert (method, uri) == ("PUT", place + "?a%20b=c%26d&e=%C3%BC&e=%2B%2F")
        assert sent == body
        credentials = parse_authorization(server.authorizations[0])
        assert credentials is not None
        assert (credentials.origin, credentials.destination) == ("us.test", server.server_name)
        signed = {
            "method": "PUT",
            "uri": uri,
            "origin": "us.test",
            "destination": server.server_name,
            "content": body,
            "signatures": {"us.test": {us.key.key_id: credentials.signature}},
        }
        assert verify_json(signed, "us.test", us.key.key_id, us.key.public_key)


async def test_connections_are_kept_by_name_and_not_shared_between_names(authority: Authority) -> None:
    async with server_at(authority, "a.test", "b.test") as server:
        ports = set()
        server.on("GET", PLACE, lambda request, body: ports.add(request.transport.get_extra_info("peername")[1]) or {})
        where = {(name, 1): ("127.0.0.1", server.port) for name in ("a.test", "b.test")}
        async with outside(authority, TableNames(where)) as us:
            for _ in range(5):
                assert await us.ask("a.test:1") == {}
            assert len(ports) == 1
            assert await us.ask("b.test:1") == {}
            assert len(ports) == 2


@pytest.mark.parametrize(
    ("response", "why", "status", "errcode"),
    [
        (lambda: web.json_response([200, ANSWER]), None, None, None),
        (lambda: web.json_response([404, ANSWER]), "bad_answer", 200, None),
        (lambda: web.json_response([ANSWER]), "bad_answer", 200, None),
        (lambda: web.Response(text="no JSON"), "bad_answer", 200, None),
        (lambda: web.Response(text=""), "bad_answer", 200, None),
        (lambda: web.Response(text='{"a":' * 200 + "1" + "}" * 200), "bad_answer", 200, None),
        (lambda: web.Response(body=b'{"a":"' + b"x" * 200_000 + b'"}'), "bad_answer", 200, None),
        (
            lambda: web.Response(body=gzip.compress(b"{}"), headers={"Content-Encoding": "gzip"}),
            "bad_answer",
            200,
            None,
        ),
        (
            lambda: web.json_response({"errcode": "M_FORBIDDEN", "error": "no"}, status=403),
            "refused",
            403,
            "M_FORBIDDEN",
        ),
        (lambda: web.json_response({"errcode": 5, "error": []}, status=400), "refused", 400, None),
        (lambda: web.Response(status=502, text="<html>"), "refused", 502, None),
        (lambda: web.Response(status=302, headers={"Location": "https://127.0.0.1/"}), "refused", 302, None),
        (lambda: web.Response(status=500, body=b"x" * 200_000), "refused", 500, None),
        (lambda: web.Response(status=201, text="{}"), "refused", 201, None),
    ],
)
async def test_what_is_made_of_answers(
    authority: Authority, response: Any, why: str | None, status: int | None, errcode: str | None
) -> None:
    async with scripted_server(authority) as server, outside(authority, TableNames()) as us:
        server.on("GET", PLACE, lambda request, body: response())
        answer = await us.ask(server.server_name, max_bytes=100_000)
        if why is None:
            assert answer == ANSWER
        else:
            assert isinstance(answer, Failed)
            assert (answer.why, answer.status, answer.errcode) == (why, status, errcode)
            assert answer.text


@pytest.mark.parametrize(
    ("body", "headers", "expected"),
    [
        ({"errcode": "M_LIMIT_EXCEEDED", "error": "x", "retry_after_ms": 1500}, {"Retry-After": "9"}, 1500),
        ({"errcode": "M_LIMIT_EXCEEDED", "error": "x"}, {"Retry-After": "9"}, 9000),
        ({"retry_after_ms": -1}, {}, None),
        ({"retry_after_ms": True}, {"Retry-After": "Thu, 09 Oct 2025 10:53:20 GMT"}, None),
        ({"retry_after_ms": 10**30}, {"Retry-After": "9" * 30}, None),
    ],
)
async def test_a_peer_may_ask_for_patience(
    authority: Authority, body: Any, headers: dict[str, str], expected: int | None
) -> None:
    async with scripted_server(authority) as server, outside(authority, TableNames()) as us:
        server.on("GET", PLACE, lambda r, b: web.json_response(body, status=429, headers=headers))
        answer = await us.ask(server.server_name)
        assert (answer.why, answer.status, answer.retry_after_ms) == ("refused", 429, expected)


async def test_a_body_without_end_is_cut_off(authority: Authority) -> None:
    async def pour(request: web.Request, body: Any) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        with contextlib.suppress(ConnectionError):
            while True:
                await response.write(b" " * 65536)
                await asyncio.sleep(0)
        return response

    async with scripted_server(authority) as server, outside(authority, TableNames()) as us:
        server.on("GET", PLACE, pour)
        answer = await us.ask(server.server_name, max_bytes=1_000_000)
        assert answer.why == "bad_answer"


async def test_slow_peers_are_given_up_and_delay_nobody(authority: Authority) -> None:
    release = asyncio.Event()

    async def drip(request: web.Request, body: Any) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        with contextlib.suppress(ConnectionError):
            while not release.is_set():
                await response.write(b" ")
                await asyncio.sleep(0.02)
        return response

    async with (
        scripted_server(authority) as slow,
        scripted_server(authority) as quick,
        outside(authority, TableNames()) as us,
    ):
        slow.on("GET", PLACE, drip)
        quick.on("GET", PLACE, ANSWER)
        given_up = [us.ask(slow.server_name, timeout_seconds=1.0) for _ in range(100)]
        assert {answer.why for answer in await asyncio.gather(*given_up)} == {"timeout"}
        waiting = [asyncio.create_task(us.ask(slow.server_name)) for _ in range(100)]
        await asyncio.sleep(0.1)
        assert await us.ask(quick.server_name) == ANSWER
        assert not any(task.done() for task in waiting)
        release.set()
        await asyncio.gather(*waiting)


async def test_a_listener_that_never_speaks_tls_is_given_up(authority: Authority) -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        async with outside(authority, TableNames(), seconds=0.5) as us:
            answer = await us.ask(f"localhost:{mute.getsockname()[1]}")
            assert answer.why == "timeout"


@dataclass
class Book:
    """A `Reachability` that notes what it is told."""

    down: set[str] = field(default_factory=set)
    told: list[tuple[str, str]] = field(default_factory=list)

    def may_try(self, destination: str) -> bool:
        return destination not in self.down

    def failed(self, destination: str) -> None:
        self.told.append(("failed", destination))

    def succeeded(self, destination: str) -> None:
        self.told.append(("succeeded", destination))


async def test_who_is_down_is_left_alone_and_the_book_is_kept(authority: Authority) -> None:
    book = Book()
    async with scripted_server(authority) as server, outside(authority, TableNames(), reachability=book) as us:
        name = server.server_name
        statuses = iter((200, 403, 429, 500, 200))
        server.on("GET", PLACE, lambda r, b: web.json_response(ANSWER, status=next(statuses)))
        book.down.add(name)
        assert (await us.ask(name)).why == "backing_off"
        assert not server.requests and not book.told
        assert await us.ask(name, ignore_backoff=True) == ANSWER
        book.down.clear()
        assert [(await us.ask(name)).status for _ in range(3)] == [403, 429, 500]
        assert (await us.ask("nowhere.test:1")).why == "unreachable"
        assert [word for word, _ in book.told] == ["succeeded", "succeeded", "succeeded", "failed", "failed"]
        assert await us.ask(name) == ANSWER

        # Our own impatience is not their failure.
        book.told.clear()
        server.on("GET", PLACE, lambda request, body: asyncio.sleep(PATIENCE_SECONDS))
        assert (await us.ask(name, timeout_seconds=0.1)).why == "timeout"
        assert not book.told


async def test_trying_again_is_for_what_may_pass(authority: Authority) -> None:
    async with scripted_server(authority) as server, outside(authority, TableNames()) as us:
        statuses = iter((503, 502, 200, 403))
        server.on("GET", PLACE, lambda r, b: web.json_response(ANSWER, status=next(statuses)))
        assert await us.ask(server.server_name, retry=True) == ANSWER
        assert (await us.ask(server.server_name, retry=True)).status == 403
        assert len(server.requests) == 4


async def test_nobody_is_asked_where_there_is_nobody_to_ask(authority: Authority) -> None:
    async with outside(authority, TableNames()) as us:
        for name in ("us.test", "", "no server", "a.test:0", "gone.test"):
            answer = await us.ask(name)
            assert isinstance(answer, Failed) and answer.why == "unreachable", name
    async with outside(authority, TableNames(), enabled=False) as us:
        assert "does not federate" in (await us.ask("127.0.0.1:1")).text


async def test_one_service_of_several_may_be_down(authority: Authority) -> None:
    async with server_at(authority, "a.test") as server:
        names = TableNames({("up.test", 1): ("127.0.0.1", server.port), ("down.test", 1): ("127.0.0.1", 1)})
        names.records["_matrix-fed._tcp.a.test"] = [
            Service(1, 0, "gone.test.", 1),
            Service(2, 0, "down.test.", 1),
            Service(3, 0, "up.test.", 1),
        ]
        async with outside(authority, names) as us:
            assert await us.ask("a.test") == ANSWER


async def test_the_inside_of_the_network_is_not_reached_however_it_is_named(authority: Authority) -> None:
    async with server_at(authority, "127.0.0.1", "::1", "a.test", "localhost") as server:
        port = server.port
        to_here = ("127.0.0.1", port)
        names = TableNames({("a.test", 1): to_here, ("w.test", 443): to_here, ("a.test", 443): to_here})
        names.where["mapped.test", 1] = ("::ffff:127.0.0.1", port)
        names.records["_matrix-fed._tcp.s.test"] = [Service(1, 1, "a.test.", 1), Service(2, 2, "127.0.0.1", port)]
        async with outside(authority, names, permitted=()) as us:
            for name in (f"127.0.0.1:{port}", f"[::1]:{port}", f"localhost:{port}", "a.test:1", "s.test", "w.test"):
                answer = await us.ask(name)
                assert isinstance(answer, Failed) and answer.why == "unreachable", name
            for name in ("mapped.test:1", f"[::ffff:127.0.0.1]:{port}", f"0.0.0.0:{port}", "10.0.0.1", "169.254.1.1"):
                answer = await us.ask(name)
                assert isinstance(answer, Failed) and answer.why == "unreachable", name
        assert not server.requests
        async with outside(authority, names, permitted=("127.0.0.1/32",)) as us:
            assert await us.ask("a.test:1") == ANSWER


async def test_delegation_is_remembered_and_asked_for_again(authority: Authority) -> None:
    clock = ManualClock()
    async with server_at(authority, "a.test", "b.test") as server:
        at = ("127.0.0.1", server.port)
        names = TableNames({("a.test", 443): at, ("b.test", 1): at, ("a.test", 8448): at})
        files: list[Any] = [delegating("b.test:1", **{"Cache-Control": "max-age=3600"})]
        server.on("GET", "/.well-known/matrix/server", lambda request, body: files[-1](request, body))

        def fetched() -> int:
            return sum(path == "/.well-known/matrix/server" for _, path, _ in server.requests)

        async with outside(authority, names, clock=clock) as us:
            delegates = await asyncio.gather(*(us.well_known.delegate_of("a.test") for _ in range(10)))
            assert delegates == ["b.test:1"] * 10 and fetched() == 1
            clock.advance(3599)
            assert await us.well_known.delegate_of("a.test") == "b.test:1" and fetched() == 1
            clock.advance(2)
            assert await us.well_known.delegate_of("a.test") == "b.test:1" and fetched() == 2

            # A fault of the host does not end a delegation at once; it is asked again after pauses that grow.
            files.append(lambda request, body: web.Response(status=500))
            clock.advance(3601)
            assert await us.well_known.delegate_of("a.test") == "b.test:1" and fetched() == 3
            for pause in (60, 120, 240):
                clock.advance(pause - 1)
                assert await us.well_known.delegate_of("a.test") == "b.test:1"
                clock.advance(2)
                before = fetched()
                await us.well_known.delegate_of("a.test")
                assert fetched() == before + 1
            clock.advance(48 * 3600)
            assert await us.well_known.delegate_of("a.test") is None

            # A host that answers that there is nothing is left alone for an hour.
            files.append(lambda request, body: web.Response(status=404))
            clock.advance(3601)
            assert await us.well_known.delegate_of("a.test") is None
            before = fetched()
            clock.advance(3599)
            assert await us.well_known.delegate_of("a.test") is None and fetched() == before
            files.append(delegating("b.test:1"))
            clock.advance(2)
            assert await us.well_known.delegate_of("a.test") == "b.test:1"


async def test_where_the_file_may_lie(authority: Authority) -> None:
    async with server_at(authority, "a.test", "w.test") as server:
        at = ("127.0.0.1", server.port)
        hosts = [f"h{number}.test" for number in range(9)]
        tls = authority.server_context(*hosts)
        async with scripted_server(authority, tls=tls, strict=False) as web_server:
            there = ("127.0.0.1", web_server.port)
            names = TableNames({(host, 443): there for host in hosts} | {("w.test", 443): at})

            def moved(to: str, status: int = 302) -> Any:
                return lambda request, body: web.Response(status=status, headers={"Location": to})

            said: dict[str, Any] = {
                "h0.test": moved("/elsewhere", 308),
                "h1.test": moved("https://w.test/other", 301),
                "h2.test": moved("http://w.test/other"),
                "h3.test": moved("/.well-known/matrix/server"),
                "h4.test": moved("https://127.0.0.2/"),
                "h5.test": lambda request, body: web.Response(body=b'{"m.server":"b.test"}' + b" " * MAX_BYTES),
                "h6.test": lambda request, body: web.Response(
                    body=gzip.compress(b'{"m.server":"b.test"}'), headers={"Content-Encoding": "gzip"}
                ),
                "h7.test": lambda request, body: web.Response(text='{"m.server":"b.test"}', content_type="text/plain"),
                "h8.test": moved("https://user:pass@w.test/other"),
            }
            web_server.on("GET", "/.well-known/matrix/server", lambda r, b: said[r.host](r, b))
            web_server.on("GET", "/elsewhere", delegating("b.test"))
            server.on("GET", "/other", delegating("b.test"))
            async with outside(authority, names) as us:
                found = {host: await us.well_known.delegate_of(host) for host in hosts}
            follows = {"h0.test", "h1.test", "h7.test"}
            assert found == {host: "b.test" if host in follows else None for host in hosts}


class DnsServer(asyncio.DatagramProtocol):
    """A name server on loopback that knows a few records."""

    def __init__(self, records: dict[tuple[str, str], list[str]]) -> None:
        self.records = records
        self.asked: list[tuple[str, str]] = []

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, address: Any) -> None:
        query = dns.message.from_wire(data)
        question = query.question[0]
        name, kind = question.name.to_text(), dns.rdatatype.to_text(question.rdtype)
        self.asked.append((name, kind))
        answer = dns.message.make_response(query)
        if kind == "SRV" and name.endswith("broken.test."):
            answer.set_rcode(dns.rcode.SERVFAIL)
        elif (name, kind) in self.records:
            answer.answer.append(dns.rrset.from_text(question.name, 60, "IN", kind, *self.records[name, kind]))
        elif (name, "CNAME") in self.records:
            target = self.records[name, "CNAME"][0]
            answer.answer.append(dns.rrset.from_text(question.name, 60, "IN", "CNAME", target))
            if (target, kind) in self.records:
                answer.answer.append(dns.rrset.from_text(target, 60, "IN", kind, *self.records[target, kind]))
        elif not any(known == name for known, _ in self.records):
            answer.set_rcode(dns.rcode.NXDOMAIN)
        self.transport.sendto(answer.to_wire(), address)


async def test_names_are_looked_up_and_kept(tmp_path: Path) -> None:
    records = {
        ("a.test.", "A"): ["192.0.2.1", "192.0.2.2"],
        ("a.test.", "AAAA"): ["2001:db8::1"],
        ("c.test.", "CNAME"): ["a.test."],
        ("_matrix-fed._tcp.a.test.", "SRV"): ["10 5 8443 b.test.", "20 0 1 ."],
    }
    hosts = tmp_path / "hosts"
    hosts.write_text("# a comment\n192.0.2.77 Pinned.Test other # more\n\nfe80::1%eth0 pinned.test\nalone\n")
    loop = asyncio.get_running_loop()
    transport, server = await loop.create_datagram_endpoint(lambda: DnsServer(records), ("127.0.0.1", 0))
    try:
        resolver = dns.asyncresolver.Resolver(configure=False)
        resolver.nameservers, resolver.port = ["127.0.0.1"], transport.get_extra_info("sockname")[1]
        names = DnsNames(resolver, hosts)
        for _ in range(2):
            assert sorted(await names.addresses("a.test", 5)) == [
                ("192.0.2.1", 5),
                ("192.0.2.2", 5),
                ("2001:db8::1", 5),
            ]
        assert server.asked.count(("a.test.", "A")) == 1
        assert ("192.0.2.1", 6) in await names.addresses("c.test", 6)
        assert set(await names.services("_matrix-fed._tcp.a.test")) == {
            Service(10, 5, "b.test.", 8443),
            Service(20, 0, ".", 1),
        }
        for nothing in ("_matrix-fed._tcp.broken.test", "_matrix._tcp.gone.test", "_matrix._tcp." + "x" * 64, "a..b"):
            assert list(await names.services(nothing)) == []
        for gone in ("gone.test", "x" * 64 + ".test", "a..test", "_matrix-fed._tcp.a.test"):
            with pytest.raises(OSError, match="has no address"):
                await names.addresses(gone, 1)
        assert await names.addresses("PINNED.test", 1) == [("192.0.2.77", 1), ("fe80::1", 1)]
        assert await names.addresses("localhost", 1) == [("127.0.0.1", 1), ("::1", 1)]
    finally:
        transport.close()


async def test_a_name_server_that_does_not_answer_costs_time_and_no_more() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as mute:
        mute.bind(("127.0.0.1", 0))
        resolver = dns.asyncresolver.Resolver(configure=False)
        resolver.nameservers, resolver.port = ["127.0.0.1"], mute.getsockname()[1]
        resolver.timeout = 0.1
        names = DnsNames(resolver, Path("/nonexistent"), seconds=0.3)
        assert list(await names.services("_matrix._tcp.a.test")) == []
        with pytest.raises(OSError):
            await names.addresses("a.test", 1)
