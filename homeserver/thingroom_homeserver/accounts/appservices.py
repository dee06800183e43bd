"""Who the application services are: registration files, namespaces and tokens.

May import core and thingroom_common. Delivery of events to them is in appservice_api/.
Source: application service API, "Registration".
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from thingroom_common.config_file import ConfigError
from thingroom_homeserver.core.identifiers import is_valid_new_localpart, server_name_of


class _Namespace(msgspec.Struct, frozen=True):
    regex: str
    exclusive: bool = False


class _Namespaces(msgspec.Struct, frozen=True):
    users: list[_Namespace] = []
    aliases: list[_Namespace] = []
    rooms: list[_Namespace] = []


class _Registration(msgspec.Struct, frozen=True):
    """The file's shape (definitions/registration.yaml) and the names that shipped bridges write for what came later.
    Other keys are other servers' and are ignored."""

    id: str
    url: str | None
    as_token: str
    hs_token: str
    sender_localpart: str
    namespaces: _Namespaces
    rate_limited: bool = True
    receive_ephemeral: bool = False
    push_ephemeral: bool = msgspec.field(name="de.sorunome.msc2409.push_ephemeral", default=False)
    device_extensions: bool = msgspec.field(name="org.matrix.msc3202", default=False)
    manages_devices: bool = msgspec.field(name="io.element.msc4190", default=False)
    protocols: list[str] | None = None


class Namespace:
    """A list of regular expressions. Like other servers' they must match from the start, not to the end."""

    def __init__(self, entries: Sequence[tuple[str, bool]]) -> None:
        self._all = tuple(re.compile(regex) for regex, _ in entries)
        self._exclusive = tuple(re.compile(regex) for regex, exclusive in entries if exclusive)

    def __bool__(self) -> bool:
        return bool(self._all)

    def covers(self, identifier: str) -> bool:
        return any(regex.match(identifier) for regex in self._all)

    def reserves(self, identifier: str) -> bool:
        """Whether an exclusive entry matches."""
        return any(regex.match(identifier) for regex in self._exclusive)


@dataclass(frozen=True, eq=False)
class AppService:
    """One registered application service. `sender` is its own user id; `url` is None if it wants no traffic.

    `receives_ephemeral`: it is told of receipts, typing and presence, `early_names` also under the name of the draft.
    `receives_encryption`: it is told what its users' devices need (MSC3202). `manages_devices`: it promised never to
    log in as its users (MSC4190).
    """

    id: str
    url: str | None
    as_token_digest: bytes = field(repr=False)
    hs_token: str = field(repr=False)
    sender: str
    users: Namespace
    aliases: Namespace
    rooms: Namespace
    rate_limited: bool
    receives_ephemeral: bool
    early_names: bool
    receives_encryption: bool
    manages_devices: bool
    protocols: tuple[str, ...]
    namespaces_digest: bytes

    def covers_user(self, user_id: str) -> bool:
        """Whether it may act as, and is interested in, this user. Local users only."""
        if user_id == self.sender:
            return True
        return self.users.covers(user_id) and server_name_of(user_id) == server_name_of(self.sender)

    def has_to_itself(self, user_id: str) -> bool:
        """Whether the user is its own bot or in one of its exclusive namespaces."""
        return user_id == self.sender or (self.users.reserves(user_id) and self.covers_user(user_id))


class AppServices:
    """All application services of the configuration."""

    def __init__(self, appservices: Iterable[AppService] = ()) -> None:
        self._by_id = {appservice.id: appservice for appservice in appservices}
        self._by_token = {appservice.as_token_digest: appservice for appservice in self._by_id.values()}
        self._listeners: dict[str, Callable[[], None]] = {}

    def __iter__(self) -> Iterator[AppService]:
        return iter(self._by_id.values())

    def on_request(self, appservice_id: str, listener: Callable[[], None]) -> None:
        """Call `listener` for each request the application service makes; it must be quick."""
        self._listeners[appservice_id] = listener

    def heard_from(self, appservice_id: str) -> None:
        """The application service made a request."""
        listener = self._listeners.get(appservice_id)
        if listener is not None:
            listener()

    def find(self, appservice_id: str) -> AppService | None:
        return self._by_id.get(appservice_id)

    def with_token(self, digest: bytes) -> AppService | None:
        """The application service whose as_token has this SHA-256 digest."""
        return self._by_token.get(digest)

    def owner_of_user(self, user_id: str, asks: AppService | None = None) -> str | None:
        """The id of the application service, other than the one that asks, that has the user id to itself."""
        for appservice in self._by_id.values():
            if appservice is not asks and (user_id == appservice.sender or appservice.users.reserves(user_id)):
                return appservice.id
        return None

    def owner_of_alias(self, alias: str, asks: AppService | None = None) -> str | None:
        """The id of the application service, other than the one that asks, that has the alias to itself."""
        for appservice in self._by_id.values():
            if appservice is not asks and appservice.aliases.reserves(alias):
                return appservice.id
        return None


def network_instance_id(appservice_id: str, network_id: str) -> str:
    """What clients name a third-party network by: unique over all application services."""
    return f"{appservice_id}|{network_id}"


def load_appservices(paths: Iterable[str], server_name: str) -> AppServices:
    """Read registration files, YAML or JSON. Raises ConfigError: unreadable, wrong, or ids and tokens not unique."""
    appservices: list[AppService] = []
    for path in map(Path, paths):
        appservice = _load(path, server_name)
        for other in appservices:
            if other.id == appservice.id or other.as_token_digest == appservice.as_token_digest:
                raise ConfigError(f"{path}: another application service has the same id or as_token.")
        appservices.append(appservice)
    return AppServices(appservices)


def _load(path: Path, server_name: str) -> AppService:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}.") from None
    try:
        registration = msgspec.convert(_decoded(path, data), _Registration)
        namespaces = [
            Namespace([(entry.regex, entry.exclusive) for entry in entries])
            for entries in (
                registration.namespaces.users,
                registration.namespaces.aliases,
                registration.namespaces.rooms,
            )
        ]
    except (ValueError, re.error) as error:
        raise ConfigError(f"{path}: {' '.join(str(error).split())}.") from None
    if not is_valid_new_localpart(registration.sender_localpart, server_name):
        raise ConfigError(f"{path}: sender_localpart is not a valid username.")
    if not registration.as_token or not registration.hs_token:
        raise ConfigError(f"{path}: as_token and hs_token must not be empty.")
    if registration.url and not registration.url.startswith(("http://", "https://")):
        raise ConfigError(f"{path}: url must start with http:// or https://.")
    return AppService(
        id=registration.id,
        url=registration.url.rstrip("/") if registration.url else None,
        as_token_digest=hashlib.sha256(registration.as_token.encode()).digest(),
        hs_token=registration.hs_token,
        sender=f"@{registration.sender_localpart}:{server_name}",
        users=namespaces[0],
        aliases=namespaces[1],
        rooms=namespaces[2],
        rate_limited=registration.rate_limited,
        receives_ephemeral=registration.receive_ephemeral or registration.push_ephemeral,
        early_names=registration.push_ephemeral,
        receives_encryption=registration.device_extensions,
        manages_devices=registration.manages_devices,
        protocols=tuple(registration.protocols or ()),
        namespaces_digest=hashlib.sha256(
            msgspec.json.encode((registration.sender_localpart, registration.namespaces))
        ).digest(),
    )


def _decoded(path: Path, data: bytes) -> Any:
    if path.suffix == ".json":
        return msgspec.json.decode(data)
    from msgspec import yaml

    return yaml.decode(data)
