"""The checker around the test client finds what is wrong; where the specification is missing, it says so."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests import specification as checker
from tests.homeserver.running import RunningHomeserver, make_config, running_homeserver
from tests.specification import Specification, Violation

from thingroom_homeserver.client_api.whoami import ENDPOINTS as WHOAMI
from thingroom_homeserver.http.endpoint import Endpoint, Request
from thingroom_homeserver.server import ENDPOINTS

JSON = "application/json"
WHOAMI_PATH = "/_matrix/client/v3/account/whoami"


@pytest.fixture
def spec() -> Specification | None:
    return checker.specification()


def test_the_head_of_a_run_says_whether_it_checks(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("THINGROOM_SPEC", str(tmp_path))
    assert "NOT checked" in checker.state_in_words()
    (tmp_path / "api" / "client-server").mkdir(parents=True)
    assert str(tmp_path) in checker.state_in_words()


def test_wrong_answers_are_found(spec: Specification | None) -> None:
    if spec is None:
        return
    spec.check("GET", WHOAMI_PATH, 200, JSON, {"user_id": "@a:b"})
    for path, status, content_type, body in (
        (WHOAMI_PATH, 200, JSON, {"user": "@a:b"}),
        (WHOAMI_PATH, 200, JSON, {"user_id": "a"}),
        (WHOAMI_PATH, 200, "text/plain", {"user_id": "@a:b"}),
        (WHOAMI_PATH, 204, JSON, None),
        (WHOAMI_PATH, 404, JSON, {"error": "no code"}),
        (WHOAMI_PATH, 404, JSON, {"errcode": "M_NOT_FOUND"}),
        ("/_matrix/nothing", 404, JSON, {"error": "no code"}),
        ("/_matrix/client/r0/account/whoami", 200, JSON, {}),
    ):
        with pytest.raises(Violation):
            spec.check("GET", path, status, content_type, body)


def test_wrong_events_are_found(spec: Specification | None) -> None:
    if spec is None:
        return
    event = {"type": "m.room.member", "sender": "@a:b", "content": {"membership": "join"}}
    spec.check_event(event, "here")
    with pytest.raises(Violation, match=r"m\.room\.member"):
        spec.check_event({**event, "content": {"membership": "around"}}, "here")


def test_wrong_requests_of_ours_are_found(spec: Specification | None) -> None:
    if spec is None:
        return
    path = "/_matrix/app/v1/transactions/5"
    spec.check_request("PUT", path, {"events": []})
    for wrong_path, body in ((path, {"event": []}), ("/_matrix/app/v1/elsewhere", {})):
        with pytest.raises(Violation):
            spec.check_request("PUT", wrong_path, body)


def test_every_version_of_a_path_is_the_same_operation(spec: Specification | None) -> None:
    if spec is None:
        return
    for version in ("r0", "v3"):
        operation = spec.operation("GET", f"/_matrix/client/{version}/account/whoami")
        assert operation is not None and operation.path == WHOAMI_PATH
    assert spec.operation("GET", "/_matrix/nothing") is None


async def test_the_client_of_the_tests_is_held_to_it(tmp_path: Path, spec: Specification | None) -> None:
    async def wrong(request: Request, services: object) -> dict[str, object]:
        return {"user_id": 5}

    others = tuple(endpoint for endpoint in ENDPOINTS if endpoint not in WHOAMI)
    broken = Endpoint("GET", WHOAMI[0].paths, wrong)
    async with running_homeserver(make_config(tmp_path), endpoints=(*others, broken)) as server:
        await _ask(server, spec)


async def _ask(server: RunningHomeserver, spec: Specification | None) -> None:
    client = await server.register("alice")
    if spec is None:
        (await client.get("v3/account/whoami")).ok()
    else:
        with pytest.raises(Violation, match="5 is not of type 'string'"):
            await client.get("v3/account/whoami")
