"""Asking the policy server of a room to sign an event.

May import core, rooms and this package. Source: Server-Server API, "Policy Servers", POST /_matrix/policy/v1/sign.
rooms/policies.py says when. This server is no policy server for others.
"""

from __future__ import annotations

from thingroom_homeserver.core.event import Event
from thingroom_homeserver.federation.client import FederationClient
from thingroom_homeserver.federation.outcomes import Failed
from thingroom_homeserver.rooms.outcomes import Refused, Why
from thingroom_homeserver.rooms.policies import KEY_ID, PolicyServer

SIGN = "/_matrix/policy/v1/sign"
SECONDS = 10.0
MAX_BYTES = 65_536
_PASSED_ON = ("errcode", "retry_after_ms")


class PolicyServers:
    """The policy servers of rooms, as this server sees them."""

    def __init__(self, client: FederationClient) -> None:
        self._client = client

    async def ask(self, server: PolicyServer, event: Event) -> str | Refused:
        """Its signature, which fits the key that the room names. What it says against the event is passed on."""
        answer = await self._client.request(
            server.name, "POST", SIGN, body=event.pdu, timeout_seconds=SECONDS, max_bytes=MAX_BYTES, ignore_backoff=True
        )
        if isinstance(answer, Failed):
            if answer.why != "refused" or answer.error is None:
                return Refused(Why.UNREACHABLE, f"The room's policy server {server.name}: {answer.text}")
            told = {name: answer.error[name] for name in _PASSED_ON if name in answer.error}
            return Refused(Why.POLICY, answer.text, told)
        of_server = answer.get(server.name)
        signature = of_server.get(KEY_ID) if isinstance(of_server, dict) else None
        if not isinstance(signature, str) or not server.has_signed(server.signed(event, signature)):
            return Refused(Why.UNREACHABLE, f"The room's policy server {server.name} gives no signature that fits")
        return signature
