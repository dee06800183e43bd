"""Whether a server has signed an event that it need not have signed for the event to count.

May import core and server_keys.py. Used where an invite goes to and fro between two servers.
"""

from __future__ import annotations

from thingroom_homeserver.core.event import Event
from thingroom_homeserver.core.signing import verify_event
from thingroom_homeserver.federation.server_keys import ServerKeys, signing_key_ids


async def is_signed_by(keys: ServerKeys, event: Event, server_name: str) -> bool:
    """Whether the event bears a valid signature of that server by a key that its room version counts."""
    for key_id in signing_key_ids(event.pdu, server_name):
        valid_at = event.origin_server_ts if event.rules.enforce_key_validity else None
        key = await keys.public_key(server_name, key_id, valid_at)
        if key is not None and verify_event(event.pdu, server_name, key_id, key, event.rules):
            return True
    return False
