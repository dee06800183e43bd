"""The parts of the homeserver that what other servers send is handed to, in one value.

May import accounts and encryption. Made in server.py for service.py.
"""

from __future__ import annotations

from dataclasses import dataclass

from thingroom_homeserver.accounts.presence import Presence
from thingroom_homeserver.accounts.receipts import Receipts
from thingroom_homeserver.accounts.typing import Typing
from thingroom_homeserver.encryption.cross_signing import CrossSigning
from thingroom_homeserver.encryption.device_lists import DeviceLists
from thingroom_homeserver.encryption.to_device import ToDevice


@dataclass(frozen=True, kw_only=True)
class LocalParts:
    """What users of other servers reach here."""

    receipts: Receipts
    typing: Typing
    presence: Presence
    to_device: ToDevice
    device_lists: DeviceLists
    cross_signing: CrossSigning
