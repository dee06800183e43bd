"""GET /_matrix/client/versions: what of the specification clients may count on.

A version stands here once every endpoint that it made mandatory is answered as it says; docs/matrix_coverage.md names
those that are not. Clients take a version for leave to use what came with it (v1.11: media with a token), so one too
many breaks them, and one too few only keeps them on older paths. Old clients look for the one r0 that they were written
for. The unstable features are those that clients in use still ask for by that name, and that are here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from thingroom_homeserver.http.endpoint import Auth, Endpoint, Request

if TYPE_CHECKING:
    from thingroom_homeserver.services import Services

UNSTABLE_FEATURES = dict.fromkeys(
    (
        "m.lazy_load_members",
        "org.matrix.e2ee_cross_signing",
        "org.matrix.msc3030",
        "org.matrix.msc3981",
        "org.matrix.simplified_msc3575",
        "uk.half-shot.msc2666.query_mutual_rooms",
    ),
    True,
)
VERSIONS = [
    *("r0.0.1", "r0.1.0", "r0.2.0", "r0.3.0", "r0.4.0", "r0.5.0", "r0.6.0", "r0.6.1"),
    *(f"v1.{minor}" for minor in range(1, 20)),
]


async def get_versions(request: Request, services: Services) -> dict[str, Any]:
    return {"versions": VERSIONS, "unstable_features": UNSTABLE_FEATURES}


ENDPOINTS = (Endpoint("GET", ("/_matrix/client/versions",), get_versions, auth=Auth.NONE),)
