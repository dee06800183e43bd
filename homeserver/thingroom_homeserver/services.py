"""Everything that handlers may call, built once in server.py.

May import every part of the homeserver, for types only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from thingroom_common.database import Database
    from thingroom_homeserver.accounts.accounts import Accounts
    from thingroom_homeserver.accounts.appservices import AppServices
    from thingroom_homeserver.clock import Clock
    from thingroom_homeserver.config import HomeserverConfig
    from thingroom_homeserver.core.signing import SigningKey
    from thingroom_homeserver.http.authentication import Authentication
    from thingroom_homeserver.http.interactive_auth import InteractiveAuth
    from thingroom_homeserver.http.logins import Logins
    from thingroom_homeserver.http.rate_limit import RateLimiter


@dataclass(frozen=True, kw_only=True)
class Services:
    """The homeserver's collaborators."""

    config: HomeserverConfig
    database: Database
    clock: Clock
    signing_key: SigningKey
    rate_limiter: RateLimiter
    authentication: Authentication
    accounts: Accounts
    logins: Logins
    interactive_auth: InteractiveAuth
    appservices: AppServices
    rooms: Any
