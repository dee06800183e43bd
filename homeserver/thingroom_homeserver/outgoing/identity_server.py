"""What the homeserver asks of identity servers that its users name: who has an address, keep an invite, bind, unbind.

May import core's identifiers, JSON and signing, and aiohttp. What went wrong is a value (IdentityRefused).
Users name the servers, so the session that is given must be a guarded one (guard.py), and nothing is redirected.
Source: identity service API. Used by client_api/third_party_invites.py and client_api/third_party_ids.py.
"""

from __future__ import annotations

import hashlib
import re
from base64 import urlsafe_b64encode
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import orjson

from thingroom_homeserver.core.canonical_json import CanonicalJsonError, JsonDecodeError, JsonObject, decode_json
from thingroom_homeserver.core.identifiers import is_valid_server_name, is_valid_user_id
from thingroom_homeserver.core.signing import SigningKey, sign_json

MAX_ANSWER_BYTES = 65_536
MAX_TEXT = 1000
MAX_TOKEN_LENGTH = 2000
WITHIN_SECONDS = 10.0
ANY = "*"
PATH = "/_matrix/identity/v2"
UNBIND_PATH = f"{PATH}/3pid/unbind"

_TOKEN = re.compile(r"[0-9a-zA-Z.=_-]{1,255}")
_ERRCODE = re.compile(r"[A-Z][A-Z0-9_.]{1,99}")
_HEADER_VALUE = re.compile(r"[!-~]{1,2000}")


@dataclass(frozen=True, slots=True)
class IdentityRefused:
    """`status` and `errcode` are the identity server's; 0 and "": no answer, or one that makes no sense.

    `spoke_matrix` tells an error in Matrix's words from one that says only that there is no such thing.
    """

    status: int
    errcode: str
    text: str

    @property
    def spoke_matrix(self) -> bool:
        return self.errcode != ""


@dataclass(frozen=True, slots=True)
class StoredInvite:
    """An invite that the identity server keeps: what goes into m.room.third_party_invite."""

    token: str
    content: JsonObject


@dataclass(frozen=True, slots=True)
class Bound:
    """What was bound."""

    medium: str
    address: str


_NO_ANSWER = IdentityRefused(0, "", "The identity server does not answer")
_NO_SENSE = IdentityRefused(0, "", "The identity server's answer makes no sense")


class IdentityServers:
    """Requests to identity servers. `trusted`: their names, or "*" for any that a user names."""

    def __init__(
        self, http: aiohttp.ClientSession, trusted: Collection[str], server_name: str, signing_key: SigningKey
    ) -> None:
        self._http = http
        self._trusted = frozenset(name.lower() for name in trusted)
        self._server_name = server_name
        self._signing_key = signing_key

    def is_trusted(self, id_server: str) -> bool:
        """Whether to ask `id_server` ("host" or "host:port") anything."""
        if not is_valid_server_name(id_server):
            return False
        return ANY in self._trusted or id_server.lower() in self._trusted

    async def lookup(self, id_server: str, token: str, medium: str, address: str) -> str | IdentityRefused | None:
        """The user who has the address; None if nobody is known to."""
        refused = _NO_SENSE
        for _ in range(2):  # the pepper may change between the two requests
            details = await self._ask(id_server, "GET", "hash_details", token=token)
            if isinstance(details, IdentityRefused):
                return details
            pepper, algorithms = details.get("lookup_pepper"), details.get("algorithms")
            if not isinstance(pepper, str) or not isinstance(algorithms, list):
                return _NO_SENSE
            algorithm = next((name for name in ("sha256", "none") if name in algorithms), None)
            if algorithm is None:
                return _NO_SENSE
            wanted = f"{address} {medium}" if algorithm == "none" else _hashed(f"{address} {medium} {pepper}")
            body = {"addresses": [wanted], "algorithm": algorithm, "pepper": pepper}
            found = await self._ask(id_server, "POST", "lookup", body, token=token)
            if isinstance(found, dict):
                mappings = found.get("mappings")
                user_id = mappings.get(wanted) if isinstance(mappings, dict) else None
                return user_id if is_valid_user_id(user_id) and isinstance(user_id, str) else None
            refused = found
            if refused.errcode != "M_INVALID_PEPPER":
                break
        return refused

    async def store_invite(self, id_server: str, token: str, invite: JsonObject) -> StoredInvite | IdentityRefused:
        """Have the invite kept and its address told. `invite`: medium, address, room_id, sender and what adorns it."""
        answer = await self._ask(id_server, "POST", "store-invite", invite, token=token)
        return answer if isinstance(answer, IdentityRefused) else _stored_invite(answer)

    async def bind(
        self, id_server: str, token: str, sid: str, client_secret: str, user_id: str
    ) -> Bound | IdentityRefused:
        """Let the identity server tell everybody that the address verified in `sid` is the user's."""
        body = {"sid": sid, "client_secret": client_secret, "mxid": user_id}
        answer = await self._ask(id_server, "POST", "3pid/bind", body, token=token)
        if isinstance(answer, IdentityRefused):
            return answer
        medium, address = answer.get("medium"), answer.get("address")
        if not (isinstance(medium, str) and isinstance(address, str) and len(medium) + len(address) <= MAX_TEXT):
            return _NO_SENSE
        return Bound(medium, address)

    async def unbind(self, id_server: str, user_id: str, medium: str, address: str) -> IdentityRefused | None:
        """Take that back, on this server's word: the request is signed. None: done."""
        body = {"mxid": user_id, "threepid": {"medium": medium, "address": address}}
        try:
            authorization = self._signed("POST", UNBIND_PATH, id_server, body)
        except CanonicalJsonError:
            return IdentityRefused(0, "", "The address cannot be signed")
        answer = await self._ask(id_server, "POST", "3pid/unbind", body, authorization=authorization)
        return answer if isinstance(answer, IdentityRefused) else None

    async def is_key_valid(self, key_validity_url: str, public_key: str) -> bool:
        """Whether the identity server still stands by a key of an invite ("/pubkey/isvalid", at the given URL)."""
        if urlsplit(key_validity_url).scheme != "https":
            return False
        answer = await self._exchange("GET", key_validity_url, None, {}, {"public_key": public_key})
        return isinstance(answer, dict) and answer.get("valid") is True

    async def _ask(
        self,
        id_server: str,
        method: str,
        path: str,
        body: JsonObject | None = None,
        *,
        token: str = "",
        authorization: str = "",
    ) -> JsonObject | IdentityRefused:
        if token and not _HEADER_VALUE.fullmatch(token):
            return IdentityRefused(401, "M_UNAUTHORIZED", "The identity server's access token is none")
        headers = {"Authorization": authorization or f"Bearer {token}"}
        return await self._exchange(method, f"https://{id_server}{PATH}/{path}", body, headers, {})

    async def _exchange(
        self, method: str, url: str, body: JsonObject | None, headers: dict[str, str], query: dict[str, str]
    ) -> JsonObject | IdentityRefused:
        data: dict[str, Any] = {}
        if body is not None:
            data = {"data": orjson.dumps(body), "headers": {"Content-Type": "application/json", **headers}}
        else:
            data = {"headers": headers}
        try:
            async with self._http.request(
                method,
                url,
                params=query,
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(total=WITHIN_SECONDS),
                **data,
            ) as response:
                answer = await _read(response)
                status = response.status
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError):
            return _NO_ANSWER
        value = _object(answer)
        if 200 <= status < 300:
            return _NO_SENSE if value is None else value
        errcode = None if value is None else value.get("errcode")
        if value is None or not isinstance(errcode, str) or not _ERRCODE.fullmatch(errcode):
            return IdentityRefused(status, "", f"The identity server answers {status}")
        text = value.get("error")
        return IdentityRefused(status, errcode, text[:MAX_TEXT] if isinstance(text, str) else "Refused")

    def _signed(self, method: str, uri: str, destination: str, content: JsonObject) -> str:
        """The Authorization header of server-server API, "Request Authentication". Raises CanonicalJsonError."""
        origin, key = self._server_name, self._signing_key
        request: JsonObject = {
            "method": method,
            "uri": uri,
            "origin": origin,
            "destination": destination,
            "content": content,
        }
        signed: Any = sign_json(request, origin, key)
        signature = signed["signatures"][origin][key.key_id]
        return f'X-Matrix origin="{origin}",destination="{destination}",key="{key.key_id}",sig="{signature}"'


async def _read(response: aiohttp.ClientResponse) -> bytes:
    """The body, cut off where it is too long to be one."""
    data = b""
    while len(data) <= MAX_ANSWER_BYTES and (more := await response.content.read(MAX_ANSWER_BYTES)):
        data += more
    return data


def _object(data: bytes) -> JsonObject | None:
    if len(data) > MAX_ANSWER_BYTES:
        return None
    try:
        value = decode_json(data)
    except JsonDecodeError:
        return None
    return value if isinstance(value, dict) else None


def _hashed(text: str) -> str:
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
    return urlsafe_b64encode(digest).rstrip(b"=").decode()


def _stored_invite(answer: JsonObject) -> StoredInvite | IdentityRefused:
    token, name, keys = answer.get("token"), answer.get("display_name"), answer.get("public_keys")
    if not (isinstance(token, str) and _TOKEN.fullmatch(token) and isinstance(name, str) and isinstance(keys, list)):
        return _NO_SENSE
    public_keys: list[dict[str, str]] = []
    for key in keys[:10]:
        public_key = key.get("public_key") if isinstance(key, dict) else None
        url = key.get("key_validity_url") if isinstance(key, dict) else None
        if not (isinstance(public_key, str) and isinstance(url, str) and len(public_key) + len(url) <= MAX_TEXT):
            return _NO_SENSE
        public_keys.append({"public_key": public_key, "key_validity_url": url})
    if not public_keys:
        return _NO_SENSE
    return StoredInvite(token, {"display_name": name[:MAX_TEXT], **public_keys[0], "public_keys": list(public_keys)})
