"""EDUs of other servers: each is checked here and handed to the part of the homeserver that it is for.

A server may speak for its own users only, and of a room only while its user is in it and the room's server ACL allows
the server. What does not fit is left out without a word, as the specification has no answer for it.
May import rooms, accounts, encryption, storage and this package. Source: Server-Server API, "EDUs" and the sections on
each kind. Next: devices.py, passing.py.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from thingroom_homeserver.federation.edus.devices import DeviceEdus
from thingroom_homeserver.federation.edus.passing import PassingEdus

logger = logging.getLogger(__name__)

Handler = Callable[[str, dict[str, Any]], Awaitable[None]]


class EduHandlers:
    """What is done with each kind of EDU."""

    def __init__(self, passing: PassingEdus, devices: DeviceEdus) -> None:
        self._handlers: Mapping[str, Handler] = {
            "m.typing": passing.typing,
            "m.receipt": passing.receipts,
            "m.presence": passing.presence,
            "m.direct_to_device": devices.message,
            "m.device_list_update": devices.device_update,
            "m.signing_key_update": devices.signing_keys,
        }

    async def handle(self, origin: str, edu: object) -> None:
        """Take in one EDU that `origin` sent. What other servers send never makes it raise."""
        if not isinstance(edu, dict):
            return
        kind, content = edu.get("edu_type"), edu.get("content")
        handler = self._handlers.get(kind) if isinstance(kind, str) else None
        if handler is None or not isinstance(content, dict):
            logger.debug("an EDU of %s that is not known: %r", origin, kind)
            return
        await handler(origin, content)
