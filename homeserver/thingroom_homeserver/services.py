"""Everything that handlers may call, built once in server.py.

May import every part of the homeserver, for types only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from thingroom_common.database import Database
    from thingroom_homeserver.accounts.account_data import AccountData
    from thingroom_homeserver.accounts.accounts import Accounts
    from thingroom_homeserver.accounts.addresses import Addresses
    from thingroom_homeserver.accounts.appservices import AppServices
    from thingroom_homeserver.accounts.bindings import Bindings
    from thingroom_homeserver.accounts.directory import Directory
    from thingroom_homeserver.accounts.external_ids import ExternalIds
    from thingroom_homeserver.accounts.filters import Filters
    from thingroom_homeserver.accounts.nonces import Nonces
    from thingroom_homeserver.accounts.presence import Presence
    from thingroom_homeserver.accounts.profiles import Profiles
    from thingroom_homeserver.accounts.receipts import Receipts
    from thingroom_homeserver.accounts.refreshing import Refreshing
    from thingroom_homeserver.accounts.registration_tokens import RegistrationTokens
    from thingroom_homeserver.accounts.short_tokens import ShortTokens
    from thingroom_homeserver.accounts.standing import Standing
    from thingroom_homeserver.accounts.typing import Typing
    from thingroom_homeserver.appservice_api.http_client import AppServiceClient
    from thingroom_homeserver.appservice_api.queries import Queries
    from thingroom_homeserver.appservice_api.third_party import ThirdParty
    from thingroom_homeserver.client_api.single_sign_on_state import SingleSignOn
    from thingroom_homeserver.clock import Clock
    from thingroom_homeserver.config import HomeserverConfig
    from thingroom_homeserver.core.signing import SigningKey
    from thingroom_homeserver.encryption.cross_signing import CrossSigning
    from thingroom_homeserver.encryption.device_keys import DeviceKeys
    from thingroom_homeserver.encryption.device_lists import DeviceLists
    from thingroom_homeserver.encryption.key_backup import KeyBackups
    from thingroom_homeserver.encryption.to_device import ToDevice
    from thingroom_homeserver.federation.service import Federation
    from thingroom_homeserver.http.authentication import Authentication
    from thingroom_homeserver.http.interactive_auth import InteractiveAuth
    from thingroom_homeserver.http.logins import Logins
    from thingroom_homeserver.http.rate_limit import RateLimiter
    from thingroom_homeserver.media.previews import Previews
    from thingroom_homeserver.media.repository import MediaRepository
    from thingroom_homeserver.media.thumbnails import Thumbnails
    from thingroom_homeserver.metrics import Metrics
    from thingroom_homeserver.notifier import Notifier
    from thingroom_homeserver.outgoing.identity_server import IdentityServers
    from thingroom_homeserver.push.service import Push
    from thingroom_homeserver.rooms.context import Rooms
    from thingroom_homeserver.sliding.ports import SlidingSources
    from thingroom_homeserver.sync.request import SyncSources


@dataclass(frozen=True, kw_only=True)
class Services:
    """The homeserver's collaborators."""

    config: HomeserverConfig
    database: Database
    clock: Clock
    metrics: Metrics
    signing_key: SigningKey
    rate_limiter: RateLimiter
    authentication: Authentication
    accounts: Accounts
    logins: Logins
    interactive_auth: InteractiveAuth
    nonces: Nonces
    refreshing: Refreshing
    short_tokens: ShortTokens
    registration_tokens: RegistrationTokens
    addresses: Addresses
    external_ids: ExternalIds
    identity_servers: IdentityServers
    bindings: Bindings
    standing: Standing
    single_sign_on: SingleSignOn
    appservices: AppServices
    appservice_client: AppServiceClient
    queries: Queries
    third_party: ThirdParty
    profiles: Profiles
    directory: Directory
    filters: Filters
    rooms: Rooms
    federation: Federation
    notifier: Notifier
    account_data: AccountData
    receipts: Receipts
    typing: Typing
    presence: Presence
    device_keys: DeviceKeys
    media: MediaRepository
    thumbnails: Thumbnails
    previews: Previews | None
    legacy_media: bool
    device_lists: DeviceLists
    cross_signing: CrossSigning
    to_device: ToDevice
    key_backups: KeyBackups
    push: Push
    sync: SyncSources
    sliding: SlidingSources
