"""/_synapse/admin/v1/register: making accounts with a shared secret, as Synapse's register_new_matrix_user does it.

Not in the specification. Off unless registration_shared_secret is set and registration is not "off".
The MAC is HMAC-SHA1 over nonce, username, password and "admin" or "notadmin", with NUL between them.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import TYPE_CHECKING, Any

from thingroom_homeserver.client_api.checks import granted
from thingroom_homeserver.client_api.login import session_json
from thingroom_homeserver.http.endpoint import Auth, Endpoint, Request
from thingroom_homeserver.http.errors import MatrixError

if TYPE_CHECKING:
    from thingroom_homeserver.services import Services

PATH = "/_synapse/admin/v1/register"


async def get_nonce(request: Request, services: Services) -> dict[str, Any]:
    _secret_of(services)
    return {"nonce": services.nonces.make()}


async def register_with_secret(request: Request, services: Services) -> dict[str, Any]:
    secret = _secret_of(services)
    nonce, name, password, mac = (request.body_field(key, str) for key in ("nonce", "username", "password", "mac"))
    is_admin = request.body_field("admin", bool, False)
    if not services.nonces.use(nonce):
        raise MatrixError(400, "M_UNKNOWN", "Unrecognised nonce")
    if not hmac.compare_digest(registration_mac(secret, nonce, name, password, is_admin=is_admin), mac.encode()):
        raise MatrixError(403, "M_FORBIDDEN", "HMAC incorrect")
    user_id = granted(await services.accounts.create_account(name, password, is_admin=is_admin))
    displayname = request.body_field("displayname", str, None)
    if displayname is not None:
        granted(await services.profiles.set_field(user_id, "displayname", displayname))
    return session_json(granted(await services.accounts.open_session(user_id, request.address)), services)


def registration_mac(secret: str, nonce: str, name: str, password: str, *, is_admin: bool) -> bytes:
    """The MAC that proves knowledge of the secret, in hex."""
    parts = (nonce, name, password, "admin" if is_admin else "notadmin")
    message = b"\0".join(part.encode("utf-8", "surrogatepass") for part in parts)
    return hmac.new(secret.encode(), message, hashlib.sha1).hexdigest().encode()


def _secret_of(services: Services) -> str:
    if services.config.registration == "off" or not services.config.registration_shared_secret:
        raise MatrixError(403, "M_FORBIDDEN", "Shared secret registration is not enabled")
    return services.config.registration_shared_secret


ENDPOINTS = (
    Endpoint("GET", (PATH,), get_nonce, auth=Auth.NONE, limit="registration"),
    Endpoint("POST", (PATH,), register_with_secret, auth=Auth.NONE, limit="registration"),
)
