"""From a server name to where it is asked: every step of "Resolving server names", and what .well-known files mean."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.federation.table_names import TableNames

from thingroom_homeserver.federation.discovery import (
    Discovery,
    HostAndPort,
    Route,
    Service,
    Target,
    in_order,
    split_server_name,
)
from thingroom_homeserver.federation.well_known import lifetime, parse_delegation

NOW_MS = 1_760_000_000_000


@dataclass
class Delegates:
    """What .well-known files say."""

    table: dict[str, str] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    async def delegate_of(self, host: str) -> str | None:
        self.asked.append(host)
        return self.table.get(host)


FED, OLD = "_matrix-fed._tcp.", "_matrix._tcp."


@pytest.mark.parametrize(
    ("name", "delegate", "records", "expected"),
    [
        # 1. IP literals
        ("1.2.3.4", None, {}, Route((Target("1.2.3.4", 8448),), "1.2.3.4", "1.2.3.4")),
        ("1.2.3.4:99", None, {}, Route((Target("1.2.3.4", 99),), "1.2.3.4:99", "1.2.3.4")),
        ("[2001:db8::1]", None, {}, Route((Target("2001:db8::1", 8448),), "[2001:db8::1]", "2001:db8::1")),
        ("[2001:db8::1]:99", None, {}, Route((Target("2001:db8::1", 99),), "[2001:db8::1]:99", "2001:db8::1")),
        # 2. an explicit port: neither .well-known nor SRV
        (
            "a.test:443",
            "b.test",
            {FED + "a.test": ("c.test", 1)},
            Route((Target("a.test", 443),), "a.test:443", "a.test"),
        ),
        # 3. delegation: to an IP literal, to a port, by the service, by the old service, to the default port
        ("a.test", "1.2.3.4", {}, Route((Target("1.2.3.4", 8448),), "1.2.3.4", "1.2.3.4")),
        ("a.test", "[::5]:99", {}, Route((Target("::5", 99),), "[::5]:99", "::5")),
        (
            "a.test",
            "b.test:443",
            {FED + "b.test": ("c.test", 1)},
            Route((Target("b.test", 443),), "b.test:443", "b.test"),
        ),
        (
            "a.test",
            "b.test",
            {FED + "b.test": ("c.test", 1), OLD + "b.test": ("d.test", 2)},
            Route((Target("c.test", 1),), "b.test", "b.test"),
        ),
        ("a.test", "b.test", {OLD + "b.test": ("d.test", 2)}, Route((Target("d.test", 2),), "b.test", "b.test")),
        ("a.test", "b.test", {FED + "a.test": ("c.test", 1)}, Route((Target("b.test", 8448),), "b.test", "b.test")),
        # 4. to 6. no delegation, or none that makes sense
        (
            "a.test",
            None,
            {FED + "a.test": ("c.test", 1), OLD + "a.test": ("d.test", 2)},
            Route((Target("c.test", 1),), "a.test", "a.test"),
        ),
        ("a.test", None, {OLD + "a.test": ("d.test", 2)}, Route((Target("d.test", 2),), "a.test", "a.test")),
        ("a.test", None, {}, Route((Target("a.test", 8448),), "a.test", "a.test")),
        ("a.test", "not a name", {}, Route((Target("a.test", 8448),), "a.test", "a.test")),
        ("a.test", "b.test:99999", {}, Route((Target("a.test", 8448),), "a.test", "a.test")),
        ("A.Test", None, {}, Route((Target("a.test", 8448),), "A.Test", "a.test")),
        # a service that says that it is not there
        ("a.test", None, {FED + "a.test": (".", 0)}, None),
        # what is no server name
        ("", None, {}, None),
        ("a b", None, {}, None),
        ("a.test:0", None, {}, None),
        ("a.test:65536", None, {}, None),
        ("[::1", None, {}, None),
        ("a.test/path", None, {}, None),
        ("user@a.test", None, {}, None),
    ],
)
async def test_the_steps(
    name: str, delegate: str | None, records: dict[str, tuple[str, int]], expected: Route | None
) -> None:
    services = {record: [Service(10, 5, host + ".", port)] for record, (host, port) in records.items()}
    names, delegates = TableNames(records=services), Delegates({} if delegate is None else {"a.test": delegate})
    assert await Discovery(names, delegates).route_to(name) == expected
    if ":" in name or name[:1].isdigit():
        assert not delegates.asked and not names.asked


async def test_services_are_tried_by_priority_and_chosen_by_weight() -> None:
    services = [Service(20, 0, "last.test.", 1), Service(10, 1, "light.test.", 2), Service(10, 99, "heavy.test.", 3)]
    first = {"light.test": 0, "heavy.test": 0}
    for seed in range(200):
        discovery = Discovery(TableNames(records={FED + "a.test": services}), Delegates(), choose=random.Random(seed))
        route = await discovery.route_to("a.test")
        assert route is not None and [target.host for target in route.targets][2] == "last.test"
        first[route.targets[0].host] += 1
    assert (first["heavy.test"] > 180 and first["light.test"] > 0) or first["heavy.test"] == 200


@given(st.lists(st.builds(Service, st.integers(0, 3), st.integers(0, 65535), st.sampled_from("abc"), st.just(1))))
def test_every_service_has_its_turn(services: list[Service]) -> None:
    ordered = in_order(services, random.Random(1))
    assert sorted(map(repr, ordered)) == sorted(map(repr, services))
    assert [each.priority for each in ordered] == sorted(each.priority for each in services)


@given(st.text(max_size=300))
def test_any_text_is_a_server_name_or_not(text: str) -> None:
    split = split_server_name(text)
    assert split is None or (isinstance(split, HostAndPort) and (split.port is None or 0 < split.port < 65536))


@pytest.mark.parametrize(
    ("data", "delegate"),
    [
        (b'{"m.server": "b.test"}', "b.test"),
        (b'{"m.server": "b.test:443", "more": 1}', "b.test:443"),
        (b'{"m.server": "[::1]:443"}', "[::1]:443"),
        (b'{"m.server": ""}', None),
        (b'{"m.server": "https://b.test"}', None),
        (b'{"m.server": 5}', None),
        (b'{"m.homeserver": {}}', None),
        (b'["m.server"]', None),
        (b"not JSON", None),
        (b"", None),
        (b'{"m.server": "b.test", "x": ' + b"[" * 100 + b"]" * 100 + b"}", None),
    ],
)
def test_what_a_file_says(data: bytes, delegate: str | None) -> None:
    assert parse_delegation(data) == delegate


@given(st.binary(max_size=200))
def test_any_file_is_read_or_ignored(data: bytes) -> None:
    assert isinstance(parse_delegation(data), str | None)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, 24 * 3600),
        ({"Cache-Control": "max-age=7200"}, 7200),
        ({"Cache-Control": 'public, Max-Age="7200"'}, 7200),
        ({"Cache-Control": "max-age=99999999999999999999"}, 48 * 3600),
        ({"Cache-Control": "max-age=0"}, 300),
        ({"Cache-Control": "no-store"}, 300),
        ({"Cache-Control": "max-age=soon"}, 24 * 3600),
        ({"Expires": "Thu, 09 Oct 2025 10:53:20 GMT"}, 2 * 3600),
        ({"Expires": "Thu, 09 Oct 2025 10:53:20 GMT", "Cache-Control": "max-age=7000"}, 7000),
        ({"Expires": "0"}, 300),
        ({"Expires": "Thu, 01 Jan 2099 00:00:00 GMT"}, 48 * 3600),
    ],
)
def test_how_long_it_is_believed(headers: dict[str, str], seconds: float) -> None:
    assert lifetime(headers, NOW_MS) == seconds


@given(st.text(max_size=100), st.text(max_size=100))
def test_any_header_gives_a_lifetime_within_the_bounds(control: str, expires: str) -> None:
    assert 300 <= lifetime({"Cache-Control": control, "Expires": expires}, NOW_MS) <= 48 * 3600
