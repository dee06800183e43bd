"""What the endpoints that name an identity server share: the checks of what was sent, and refusals as errors.

May import outgoing/identity_server.py and the HTTP types.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from thingroom_homeserver.http.errors import MatrixError
from thingroom_homeserver.outgoing.identity_server import MAX_TOKEN_LENGTH, IdentityRefused

if TYPE_CHECKING:
    from thingroom_homeserver.services import Services


def trusted_server(services: Services, id_server: str) -> str:
    """The name, if this server asks such a one. Raises MatrixError M_SERVER_NOT_TRUSTED."""
    if not services.identity_servers.is_trusted(id_server):
        raise MatrixError(400, "M_SERVER_NOT_TRUSTED", "This server does not ask that identity server")
    return id_server


def text_field(source: dict[str, Any], name: str) -> str:
    """A string that must be there. Raises MatrixError M_MISSING_PARAM, M_BAD_JSON."""
    value = source.get(name)
    if value is None:
        raise MatrixError(400, "M_MISSING_PARAM", f"Missing parameter: {name}")
    if not isinstance(value, str) or not 0 < len(value) <= MAX_TOKEN_LENGTH:
        raise MatrixError(400, "M_BAD_JSON", f"{name} has the wrong type or length")
    return value


def identity_error(refused: IdentityRefused) -> MatrixError:
    """What the client is told. A 401 of the identity server is not about this server's token, so it becomes a 403."""
    if not refused.spoke_matrix or not 400 <= refused.status < 500:
        return MatrixError(502, "M_UNKNOWN", refused.text)
    return MatrixError(403 if refused.status == 401 else refused.status, refused.errcode, refused.text)
