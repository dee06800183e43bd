"""The trie of routes, the token buckets and the body parser, by themselves."""

from __future__ import annotations

import json
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.homeserver.running import ManualClock, escape

from thingroom_homeserver.http.errors import MatrixError
from thingroom_homeserver.http.json_body import parse_json_object
from thingroom_homeserver.http.rate_limit import RATES, Rate, RateLimiter
from thingroom_homeserver.http.routes import Found, Routes, UndecodablePath, WrongMethod
from thingroom_homeserver.server import ENDPOINTS, FEDERATION_ENDPOINTS


def table(*rows: tuple[str, str]) -> Routes[str]:
    routes: Routes[str] = Routes()
    for method, path in rows:
        routes.add(method, path, f"{method} {path}")
    return routes


ROUTES = table(
    ("GET", "/a"),
    ("GET", "/rooms/{room}/state"),
    ("GET", "/rooms/{room}/state/{type}"),
    ("PUT", "/rooms/{room}/state/{type}/{key}"),
    ("GET", "/rooms/{room}/state/{type}/{key}"),
    ("POST", "/rooms/all/{thing}"),
    ("GET", "/rules/"),
)


@pytest.mark.parametrize(
    ("method", "path", "target", "parameters"),
    [
        ("GET", "/a", "GET /a", {}),
        ("GET", "/rooms/!r/state", "GET /rooms/{room}/state", {"room": "!r"}),
        ("GET", "/rooms/all/state", "GET /rooms/{room}/state", {"room": "all"}),
        ("POST", "/rooms/all/state", "POST /rooms/all/{thing}", {"thing": "state"}),
        ("PUT", "/rooms/r/state/t/", "PUT /rooms/{room}/state/{type}/{key}", {"room": "r", "type": "t", "key": ""}),
        ("GET", "/rooms/a%2Fb/state/%C3%BC", "GET /rooms/{room}/state/{type}", {"room": "a/b", "type": "ü"}),
        ("GET", "/rules/", "GET /rules/", {}),
    ],
)
def test_found(method: str, path: str, target: str, parameters: dict[str, str]) -> None:
    assert ROUTES.find(method, path) == Found(target, parameters)


def test_not_found() -> None:
    for path in ("", "/", "/b", "/a/", "/rooms", "/rooms/r/state/t/k/more", "/rules", "/rooms//state"):
        assert ROUTES.find("GET", path) is None
    assert ROUTES.find("DELETE", "/rooms/r/state/t/k") == WrongMethod(("GET", "PUT"))
    assert ROUTES.find("DELETE", "/rooms/all/state") == WrongMethod(("GET", "POST"))
    with pytest.raises(UndecodablePath):
        ROUTES.find("GET", "/rooms/%80/state")


def test_every_limit_of_an_endpoint_has_a_rate() -> None:
    limits = {endpoint.limit for endpoint in (*ENDPOINTS, *FEDERATION_ENDPOINTS)}
    assert limits - {None} <= set(RATES)


def test_two_targets_for_one_path_are_a_bug() -> None:
    with pytest.raises(ValueError, match="two endpoints"):
        table(("GET", "/x/{a}"), ("GET", "/x/{b}"))


@given(st.text(), st.text())
def test_any_parameter_comes_back(room: str, key: str) -> None:
    try:
        path = f"/rooms/{escape(room)}/state/t/{escape(key)}"
    except UnicodeEncodeError:
        return
    found = Found("GET /rooms/{room}/state/{type}/{key}", {"room": room, "type": "t", "key": key})
    assert ROUTES.find("GET", path) == (found if room else None)


@given(st.text(alphabet=string.printable + "ü\ud800", max_size=60))
def test_any_path_has_an_answer(path: str) -> None:
    try:
        found = ROUTES.find("GET", path)
    except UndecodablePath:
        return
    assert found is None or isinstance(found, Found | WrongMethod)


@given(st.binary(max_size=200))
def test_any_body_is_an_object_or_an_error(data: bytes) -> None:
    try:
        assert isinstance(parse_json_object(data), dict)
    except MatrixError as error:
        assert error.status == 400
        assert error.errcode in ("M_NOT_JSON", "M_BAD_JSON")


@given(st.dictionaries(st.text(alphabet=string.ascii_letters), st.none() | st.integers(-(2**53), 2**53) | st.text()))
def test_an_object_comes_back(value: dict[str, object]) -> None:
    try:
        data = json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return
    assert parse_json_object(data) == value


def test_a_bucket_empties_and_refills() -> None:
    clock = ManualClock()
    limiter = RateLimiter(clock, rates={"kind": Rate(2.0, 3)})
    assert [limiter.take("kind", "alice") for _ in range(3)] == [0.0, 0.0, 0.0]
    assert limiter.take("kind", "alice") == pytest.approx(0.5)
    assert limiter.take("kind", "bob") == 0.0
    clock.advance(0.5)
    assert limiter.take("kind", "alice") == 0.0
    assert limiter.take("kind", "alice") > 0
    limiter.give_back("kind", "alice")
    assert limiter.take("kind", "alice") == 0.0
    clock.advance(1000)
    assert [limiter.take("kind", "alice") > 0 for _ in range(4)] == [False, False, False, True]


def test_without_limits_nobody_waits() -> None:
    limiter = RateLimiter(ManualClock(), enabled=False)
    assert not any(limiter.take("login", "alice") for _ in range(1000))


def test_there_are_never_too_many_buckets() -> None:
    limiter = RateLimiter(ManualClock(), rates={"kind": Rate(1.0, 2)}, max_buckets=10)
    for number in range(100):
        assert limiter.take("kind", str(number)) == 0.0
        assert len(limiter._buckets) <= 10
