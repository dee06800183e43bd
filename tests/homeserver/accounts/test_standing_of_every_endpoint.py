"""What guests, suspended and locked users may do, asked of every endpoint and held against the specification's lists.

A new endpoint is refused to guests and to locked users; for suspended users it has to be judged, here.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.homeserver.running import MatrixClient, RunningHomeserver, escape, make_config, running_homeserver

from thingroom_homeserver.http.endpoint import Auth, Endpoint
from thingroom_homeserver.http.restrictions import plain_path
from thingroom_homeserver.server import ENDPOINTS

WITH_TOKEN = [endpoint for endpoint in ENDPOINTS if endpoint.auth is Auth.USER]
NEEDED_IN_THE_SPECIFICATION = """
    GET:rooms/{}/state GET:rooms/{}/context/{} GET:rooms/{}/event/{} GET:rooms/{}/state/{} GET:rooms/{}/messages
    GET:rooms/{}/members GET:rooms/{}/initialSync GET:sync GET:events GET:media/download/{}/{}
    GET:media/thumbnail/{}/{} POST:rooms/{}/leave PUT:rooms/{}/send/{}/{} PUT:rooms/{}/state/{} PUT:sendToDevice/{}/{}
    GET:devices GET:devices/{} PUT:devices/{} GET:account/whoami POST:keys/upload POST:keys/query POST:keys/claim
"""
"""Joining and the display name are asked for with what they depend on, in test_guests_and_standing.py."""
BESIDES = """
    GET:rooms/{}/joined_members GET:rooms/{}/timestamp_to_event GET:rooms/{}/relations/{} GET:rooms/{}/threads
    GET:joined_rooms GET:capabilities GET:pushrules/ GET:keys/changes GET:voip/turnServer GET:user/{}/filter/{}
    GET:media/config GET:room_summary/{} POST:join/{} POST:rooms/{}/join POST:rooms/{}/forget PUT:rooms/{}/typing/{}
    POST:rooms/{}/receipt/{}/{} POST:rooms/{}/read_markers POST:user/{}/filter POST:sync POST:logout POST:logout/all
    POST:publicRooms
"""
"""What clients of guests need around that."""
SUSPENDED_MAY_NOT = """
    DELETE:directory/room/{} DELETE:profile/{}/{} POST:account/3pid/delete
    POST:createRoom POST:join/{} POST:knock/{} POST:rooms/{}/ban POST:rooms/{}/invite POST:rooms/{}/join
    POST:rooms/{}/kick POST:rooms/{}/unban POST:rooms/{}/upgrade POST:media/create POST:media/upload
    PUT:admin/lock/{} PUT:admin/suspend/{} PUT:directory/list/room/{} PUT:directory/room/{} PUT:media/upload/{}/{}
    PUT:presence/{}/status PUT:profile/{}/{} PUT:rooms/{}/redact/{}/{} PUT:rooms/{}/send/{}/{} PUT:rooms/{}/state/{}
"""


def words(text: str) -> set[str]:
    return set(re.findall(r"\S+", text))


def name_of(endpoint: Endpoint) -> str:
    return f"{endpoint.method}:{plain_path(endpoint.paths[0])}"


async def refusals(client: MatrixClient, errcode: str) -> set[str]:
    """The endpoints that answer with that."""
    refused = set()
    for endpoint in WITH_TOKEN:
        if endpoint.paths[0].endswith(("/logout", "/logout/all", "/account/deactivate")):
            continue  # these end it all; see below
        path = re.sub(r"\{(\w+)\}", lambda match: escape(f"x{match[1]}"), endpoint.paths[0])
        body = b"{}" if endpoint.method != "GET" else None
        if (await client.request(endpoint.method, path, body)).errcode == errcode:
            refused.add(name_of(endpoint))
    return refused


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[RunningHomeserver]:
    config = make_config(tmp_path / "hs", guest_access=True, admin_users=("@root:localhost",))
    async with running_homeserver(config) as running:
        yield running


async def test_guests_may_what_the_specification_lists(server: RunningHomeserver) -> None:
    guest = server.client()
    guest.token = (await guest.post("v3/register?kind=guest")).ok()["access_token"]
    refused = await refusals(guest, "M_GUEST_ACCESS_FORBIDDEN")
    allowed = {name_of(endpoint) for endpoint in WITH_TOKEN} - refused
    assert words(NEEDED_IN_THE_SPECIFICATION) <= allowed
    only_with_more = words("POST:join/{} POST:rooms/{}/join POST:account/deactivate")
    assert allowed - only_with_more <= words(NEEDED_IN_THE_SPECIFICATION) | words(BESIDES)


async def test_locked_users_may_log_out_only(server: RunningHomeserver) -> None:
    alice, root = await server.register("alice"), await server.register("root")
    (await root.put(f"v1/admin/lock/{escape(alice.user_id)}", {"locked": True})).ok()
    refused = await refusals(alice, "M_USER_LOCKED")
    left = {name_of(endpoint) for endpoint in WITH_TOKEN} - refused
    assert left == words("POST:logout POST:logout/all POST:account/deactivate")
    (await alice.post("v3/account/deactivate", {})).is_error(401, "M_USER_LOCKED")
    (await alice.post("v3/logout")).ok()


async def test_suspended_users_are_kept_from_what_the_specification_recommends(server: RunningHomeserver) -> None:
    alice, root = await server.register("alice"), await server.register("root")
    (await root.put(f"v1/admin/suspend/{escape(alice.user_id)}", {"suspended": True})).ok()
    assert await refusals(alice, "M_USER_SUSPENDED") == words(SUSPENDED_MAY_NOT)
    assert (await alice.post("v3/account/deactivate", {})).status == 401, "asks for the password"
    (await alice.post("v3/logout")).ok()
