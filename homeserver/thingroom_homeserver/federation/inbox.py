"""The inbox: what other servers send is checked, taken in or kept until it can be, and answered for.

Owns the tasks that complete waiting events; each is due to one room and one server, so that neither a slow room nor a
flooding server holds up the others. May import rooms, storage, core and this package. Next: intake.py, missing.py.
"""

from __future__ import annotations

from collections.abc import Sequence

from thingroom_homeserver.core.canonical_json import JsonObject

PduResult = dict[str, str]
"""{} for an event that is taken in or waits on disk; {"error": why} for one that was dropped or rejected."""


class Inbox:
    """Everything that arrives with `/send`, and single events that other requests bring."""

    async def receive(self, origin: str, room_id: str, pdus: Sequence[JsonObject]) -> dict[str, PduResult]:
        """Check PDUs of one room and take them in. When this returns, what is not refused is on disk.

        By event id; what is too malformed to have one is left out. The room must be known here.
        """
        raise NotImplementedError
