"""GET /_matrix/client/versions: what of the specification clients may count on.

A version stands here once every endpoint that it made mandatory is answered as it says; docs/matrix_coverage.md names
those that are not. Clients take a version for leave to use what came with it (v1.11: media with a token), so one too
many breaks them, and one too few only keeps them on older paths. r0.6.1 stands for the paths that begin with r0.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from thingroom_homeserver.http.endpoint import Auth, Endpoint, Request

if TYPE_CHECKING:
    from thingroom_homeserver.services import Services

UNSTABLE_FEATURES = {"org.matrix.simplified_msc3575": True}
VERSIONS = ["r0.6.1", *(f"v1.{minor}" for minor in range(1, 18))]


async def get_versions(request: Request, services: Services) -> dict[str, Any]:
    return {"versions": VERSIONS, "unstable_features": UNSTABLE_FEATURES}


ENDPOINTS = (Endpoint("GET", ("/_matrix/client/versions",), get_versions, auth=Auth.NONE),)
