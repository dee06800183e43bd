"""GET /_matrix/key/v2/query/{serverName} and POST /_matrix/key/v2/query: what is known here of other servers' keys."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from thingroom_homeserver.core.canonical_json import MAX_INTEGER
from thingroom_homeserver.core.identifiers import is_valid_server_name
from thingroom_homeserver.http.endpoint import Auth, Endpoint, Request
from thingroom_homeserver.http.errors import MatrixError

if TYPE_CHECKING:
    from thingroom_homeserver.services import Services

MAX_SERVERS = 50
MAX_KEYS = 100
ANSWER_SECONDS = 15.0
"""After that the answer goes out with what is known."""


async def get_keys(request: Request, services: Services) -> dict[str, Any]:
    name = request.path["serverName"]
    if not is_valid_server_name(name):
        raise MatrixError(400, "M_INVALID_PARAM", "serverName is not a server name")
    until = request.query_int("minimum_valid_until_ts", highest=MAX_INTEGER)
    wanted = {"": services.clock.now_ms() if until is None else until}
    return await _answer(services, {name: wanted})


async def post_keys(request: Request, services: Services) -> dict[str, Any]:
    asked = request.body_field("server_keys", dict)
    if len(asked) > MAX_SERVERS:
        raise MatrixError(400, "M_TOO_LARGE", f"At most {MAX_SERVERS} servers can be asked for")
    now_ms = services.clock.now_ms()
    return await _answer(services, {name: _wanted(criteria, now_ms) for name, criteria in asked.items()})


def _wanted(criteria: object, now_ms: int) -> dict[str, int]:
    """Key ids, and until when each should be valid. Raises MatrixError M_BAD_JSON."""
    if not isinstance(criteria, dict) or len(criteria) > MAX_KEYS:
        raise MatrixError(400, "M_BAD_JSON", f"server_keys must hold objects of at most {MAX_KEYS} keys")
    wanted = {}
    for key_id, each in criteria.items():
        until = each.get("minimum_valid_until_ts", now_ms) if isinstance(each, dict) else None
        if type(until) is not int or abs(until) > MAX_INTEGER:
            raise MatrixError(400, "M_BAD_JSON", "minimum_valid_until_ts must be a time in milliseconds")
        wanted[key_id] = until
    return wanted or {"": now_ms}


async def _answer(services: Services, asked: Mapping[str, Mapping[str, int]]) -> dict[str, Any]:
    keys = services.federation.keys
    found = await asyncio.gather(
        *(keys.documents(name, wanted, within_seconds=ANSWER_SECONDS) for name, wanted in asked.items())
    )
    signed = services.federation.own_keys.signed
    return {"server_keys": [signed(document) for documents in found for document in documents]}


ENDPOINTS = (
    Endpoint("GET", ("/_matrix/key/v2/query/{serverName}",), get_keys, auth=Auth.NONE, limit="key_query"),
    Endpoint("POST", ("/_matrix/key/v2/query",), post_keys, auth=Auth.NONE, limit="key_query"),
)
