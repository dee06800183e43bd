"""The federation's parts, made once and handed to handlers as `services.federation`.

May import this package, the rooms, storage, http/outgoing.py and the configuration. server.py opens it; every part of
the federation is a field here.
"""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from thingroom_common.database import Database
from thingroom_homeserver.clock import Clock
from thingroom_homeserver.config import HomeserverConfig, listeners_of
from thingroom_homeserver.core.signing import SigningKey
from thingroom_homeserver.federation.authentication import ServerAuthentication
from thingroom_homeserver.federation.backfill import Backfill
from thingroom_homeserver.federation.choosing import Choosing
from thingroom_homeserver.federation.client import FederationClient
from thingroom_homeserver.federation.connections import open_session, tls_context
from thingroom_homeserver.federation.discovery import Discovery, Names
from thingroom_homeserver.federation.dns_names import DnsNames
from thingroom_homeserver.federation.event_fetching import EventFetching
from thingroom_homeserver.federation.helping import Helping
from thingroom_homeserver.federation.inbox import Inbox
from thingroom_homeserver.federation.memberships import Memberships
from thingroom_homeserver.federation.missing import Completing
from thingroom_homeserver.federation.own_keys import OwnKeys
from thingroom_homeserver.federation.reachability import AlwaysTry, Reachability
from thingroom_homeserver.federation.server_keys import ServerKeys
from thingroom_homeserver.federation.state_fetching import StateFetching
from thingroom_homeserver.federation.waiting import Waiting
from thingroom_homeserver.federation.well_known import WellKnown
from thingroom_homeserver.http.outgoing import PermittedAddresses
from thingroom_homeserver.http.rate_limit import RateLimiter
from thingroom_homeserver.rooms.context import Rooms
from thingroom_homeserver.signing_key_file import OldKey


@dataclass(frozen=True, kw_only=True)
class Federation:
    """What deals with other homeservers. `enabled`: some listener serves them; if not, nobody is asked either."""

    enabled: bool
    own_keys: OwnKeys
    client: FederationClient
    keys: ServerKeys
    authentication: ServerAuthentication
    reachability: Reachability
    choosing: Choosing
    events: EventFetching
    states: StateFetching
    inbox: Inbox
    backfill: Backfill
    memberships: Memberships
    helping: Helping


def federates(config: HomeserverConfig) -> bool:
    """Whether some listener serves other homeservers."""
    return any("federation" in listener.serves for listener in listeners_of(config))


@contextlib.asynccontextmanager
async def opened_federation(
    config: HomeserverConfig,
    database: Database,
    clock: Clock,
    rooms: Rooms,
    rate_limiter: RateLimiter,
    signing_key: SigningKey,
    old_keys: Sequence[OldKey] = (),
    *,
    names: Names | None = None,
) -> AsyncIterator[Federation]:
    """The parts, as long as the block runs. Raises OSError, ssl.SSLError where ca_file cannot be read."""
    enabled = federates(config)
    names = names or DnsNames()
    own_keys = OwnKeys(config.server_name, signing_key, old_keys, clock)
    reachability = AlwaysTry()
    permitted = PermittedAddresses(config.outgoing_permitted_ranges)
    async with contextlib.AsyncExitStack() as stack:
        # Reading the system's authorities takes a while, and nobody needs them where nobody is asked.
        tls = tls_context(config.federation.ca_file) if enabled else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        http = await stack.enter_async_context(open_session(names, permitted, tls))
        well_known = WellKnown(http, clock)
        stack.push_async_callback(well_known.close)
        client = FederationClient(
            http,
            Discovery(names, well_known),
            own_keys,
            reachability,
            timeout_seconds=config.federation.request_timeout_seconds,
            enabled=enabled,
        )
        keys = ServerKeys(database, clock, client, own_keys, config.federation.trusted_key_servers)
        stack.push_async_callback(keys.close)
        choosing = Choosing(rooms)
        events = EventFetching(rooms, client, keys, choosing)
        states = StateFetching(rooms, client, events, choosing)
        backfill = Backfill(rooms, client, events, states, choosing)
        stack.push_async_callback(backfill.close)
        waiting = Waiting(rooms, Completing(rooms, client, events, states, choosing))
        inbox = Inbox(rooms, keys, waiting, NoEdus())
        await stack.enter_async_context(inbox.running())
        yield Federation(
            enabled=enabled,
            own_keys=own_keys,
            client=client,
            keys=keys,
            authentication=ServerAuthentication(config.server_name, keys, rate_limiter),
            reachability=reachability,
            choosing=choosing,
            events=events,
            states=states,
            inbox=inbox,
            backfill=backfill,
            memberships=Memberships(rooms, client, keys, events),
            helping=Helping(rooms, keys),
        )


class NoEdus:
    """Deals with no ephemeral message."""

    async def handle(self, origin: str, edu: object) -> None:
        pass
