"""Who a request speaks for.

May import nothing of ours at run time. Made by `accounts/authentication.py`, read by every handler.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from thingroom_homeserver.accounts.appservices import AppService


@dataclass(frozen=True, slots=True)
class Requester:
    """An authenticated user, or an application service acting as one of its users.

    `device_id` is None for an application service that named no device. `timestamp_override` is its `?ts=`,
    in milliseconds. `token_digest` identifies the session, for /logout; None for application services.
    `expires_ms`: when the token ends, None for never. `is_locked` and `is_suspended` are the account's standing.
    """

    user_id: str
    device_id: str | None = None
    is_guest: bool = False
    is_admin: bool = False
    appservice: AppService | None = None
    timestamp_override: int | None = None
    token_digest: bytes | None = None
    expires_ms: int | None = None
    is_locked: bool = False
    is_suspended: bool = False
