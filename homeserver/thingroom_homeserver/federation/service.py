"""The federation's parts, made once and handed to handlers as `services.federation`.

May import this package, rooms, accounts, encryption, storage, outgoing/guard.py and the configuration. server.py opens
it; every part of the federation is a field here.
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
from thingroom_homeserver.encryption.remote_devices import RemoteDevices
from thingroom_homeserver.federation.arriving import Arriving
from thingroom_homeserver.federation.authentication import ServerAuthentication
from thingroom_homeserver.federation.backfill import Backfill
from thingroom_homeserver.federation.choosing import Choosing
from thingroom_homeserver.federation.client import FederationClient
from thingroom_homeserver.federation.connections import open_session
from thingroom_homeserver.federation.discovery import Discovery, Names
from thingroom_homeserver.federation.dns_names import DnsNames
from thingroom_homeserver.federation.edus.devices import DeviceEdus
from thingroom_homeserver.federation.edus.handlers import EduHandlers
from thingroom_homeserver.federation.edus.outgoing import Outgoing
from thingroom_homeserver.federation.edus.passing import PassingEdus
from thingroom_homeserver.federation.event_fetching import EventFetching
from thingroom_homeserver.federation.helping import Helping
from thingroom_homeserver.federation.inbox import Inbox
from thingroom_homeserver.federation.key_validity import KeyValidity
from thingroom_homeserver.federation.local_parts import LocalParts
from thingroom_homeserver.federation.memberships import Memberships
from thingroom_homeserver.federation.missing import Completing
from thingroom_homeserver.federation.own_keys import OwnKeys
from thingroom_homeserver.federation.policy_servers import PolicyServers
from thingroom_homeserver.federation.remote_directory import RemoteDirectory
from thingroom_homeserver.federation.remote_keys import RemoteKeys
from thingroom_homeserver.federation.remote_media import MediaFetching
from thingroom_homeserver.federation.remote_profiles import RemoteProfiles
from thingroom_homeserver.federation.remote_spaces import RemoteSpaces
from thingroom_homeserver.federation.sender.book import DestinationBook
from thingroom_homeserver.federation.sender.kit import Kit
from thingroom_homeserver.federation.sender.sender import Sender
from thingroom_homeserver.federation.server_keys import ServerKeys
from thingroom_homeserver.federation.state_fetching import StateFetching
from thingroom_homeserver.federation.time_search import TimeSearch
from thingroom_homeserver.federation.traffic import Traffic
from thingroom_homeserver.federation.waiting import Waiting
from thingroom_homeserver.federation.well_known import WellKnown
from thingroom_homeserver.http.rate_limit import RateLimiter
from thingroom_homeserver.outgoing.guard import Guard
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
    reachability: DestinationBook
    choosing: Choosing
    events: EventFetching
    states: StateFetching
    inbox: Inbox
    backfill: Backfill
    time_search: TimeSearch
    memberships: Memberships
    helping: Helping
    sender: Sender
    edus: EduHandlers
    remote_keys: RemoteKeys
    remote_profiles: RemoteProfiles
    media: MediaFetching
    directory: RemoteDirectory
    spaces: RemoteSpaces
    traffic: Traffic

    async def try_again(self, server_name: str) -> None:
        """An administrator says that the server is up again."""
        self.reachability.succeeded(server_name)
        if self.enabled:
            self.sender.try_again(server_name)


def federates(config: HomeserverConfig) -> bool:
    """Whether some listener serves other homeservers."""
    return any("federation" in listener.serves for listener in listeners_of(config))


@contextlib.asynccontextmanager
async def opened_federation(
    config: HomeserverConfig,
    database: Database,
    clock: Clock,
    rooms: Rooms,
    local: LocalParts,
    rate_limiter: RateLimiter,
    signing_key: SigningKey,
    old_keys: Sequence[OldKey] = (),
    *,
    tls: ssl.SSLContext | None = None,
    names: Names | None = None,
) -> AsyncIterator[Federation]:
    """The parts, as long as the block runs. `tls`: whom its requests trust (None: the system's authorities)."""
    enabled = federates(config)
    names = names or DnsNames()
    own_keys = OwnKeys(config.server_name, signing_key, old_keys, clock)
    reachability = DestinationBook(
        database,
        clock,
        initial_seconds=config.federation.backoff_initial_seconds,
        max_seconds=config.federation.backoff_max_seconds,
    )
    guard = Guard(config.outgoing_permitted_ranges)
    async with contextlib.AsyncExitStack() as stack:
        http = await stack.enter_async_context(open_session(names, guard, tls))
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
        rooms.policies.ask_through(PolicyServers(client))
        keys = ServerKeys(database, clock, client, own_keys, config.federation.trusted_key_servers)
        stack.push_async_callback(keys.close)
        choosing = Choosing(rooms)
        events = EventFetching(rooms, client, keys, choosing)
        states = StateFetching(rooms, client, events, choosing)
        backfill = Backfill(rooms, client, events, states, choosing)
        stack.push_async_callback(backfill.close)
        waiting = Waiting(rooms, Completing(rooms, client, events, states, choosing))
        remote_devices = RemoteDevices(database, local.device_lists)
        remote_keys = RemoteKeys(database, client, remote_devices, local.cross_signing, config.server_name)
        stack.push_async_callback(remote_keys.close)
        remote_profiles = RemoteProfiles(database, rooms.events, client, clock)
        stack.push_async_callback(remote_profiles.close)
        spaces = RemoteSpaces(client, clock, config.server_name)
        stack.push_async_callback(spaces.close)
        edus = EduHandlers(PassingEdus(rooms, local), DeviceEdus(rooms, local, remote_devices, remote_keys))
        arriving = Arriving()
        inbox = Inbox(rooms, keys, waiting, edus, arriving)
        await stack.enter_async_context(inbox.running())
        traffic = Traffic()
        sender = Sender(
            Kit(
                rooms,
                database,
                clock,
                client,
                reachability,
                local.presence,
                refused_initial_seconds=config.federation.backoff_initial_seconds,
                refused_max_seconds=config.federation.backoff_max_seconds,
                traffic=traffic,
            )
        )
        key_validity = KeyValidity(http if enabled else None)
        again_seconds = config.federation.backoff_initial_seconds
        memberships = Memberships(rooms, client, keys, events, arriving, key_validity, again_seconds)
        authentication = ServerAuthentication(config.server_name, keys, rate_limiter)
        if enabled:
            authentication.on_heard_from(sender.heard_from)
            Outgoing(rooms, sender).attach(local)
            await stack.enter_async_context(sender.running())
            await stack.enter_async_context(memberships.leaving.running())
        yield Federation(
            enabled=enabled,
            own_keys=own_keys,
            client=client,
            keys=keys,
            authentication=authentication,
            reachability=reachability,
            choosing=choosing,
            events=events,
            states=states,
            inbox=inbox,
            backfill=backfill,
            time_search=TimeSearch(rooms, client, events, states, choosing),
            memberships=memberships,
            helping=Helping(rooms, keys),
            sender=sender,
            edus=edus,
            remote_keys=remote_keys,
            remote_profiles=remote_profiles,
            media=MediaFetching(client, http),
            directory=RemoteDirectory(client),
            spaces=spaces,
            traffic=traffic,
        )
