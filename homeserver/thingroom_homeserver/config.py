"""The section [homeserver] of thingroom.toml, as frozen structs, and the checks that types alone cannot make.

May import thingroom_common.config_file. `server.py` reads the result; nothing else loads configuration.
"""

from __future__ import annotations

import ipaddress
import re
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from thingroom_common.addresses import check_metrics_listener, host_and_port
from thingroom_common.config_file import ConfigError, load
from thingroom_homeserver.config_accounts import (
    Cas,
    Email,
    RegistrationSteps,
    TokenLifetimes,
    Turn,
    check_accounts,
)
from thingroom_homeserver.config_federation import FederationConfig, check_federation
from thingroom_homeserver.config_media import MediaConfig
from thingroom_homeserver.core.signing import decode_base64

_SERVER_NAME = re.compile(r"([0-9A-Za-z.-]{1,230}|\[[0-9A-Fa-f:.]{2,45}\])(:[0-9]{1,5})?")


class PasswordCost(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What one guess at a password costs (argon2id, RFC 9106)."""

    memory_kib: Annotated[int, Meta(ge=8, le=4_194_304, description="Memory for one password hash, in KiB.")] = 19_456
    passes: Annotated[int, Meta(ge=1, le=64, description="Passes over that memory.")] = 2


class Listener(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One address that the server answers at."""

    address: Annotated[str, Meta(description='Where to listen, as "host:port" (IPv6: "[::1]:8008").')] = (
        "127.0.0.1:8008"
    )
    tls_certificate: Annotated[
        str,
        Meta(
            description="The certificate chain (PEM) for HTTPS. Empty: plain HTTP, which beyond loopback\n"
            "should sit behind a reverse proxy that speaks TLS. SIGHUP reads it again."
        ),
    ] = ""
    tls_key: Annotated[str, Meta(description="The certificate's private key (PEM).")] = ""
    serves: Annotated[
        tuple[Literal["client", "federation"], ...],
        Meta(min_length=1, description="Whom the address is for: clients, other homeservers, or both."),
    ] = ("client",)

    def __str__(self) -> str:
        return self.address


class Support(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Whom to ask for help: /.well-known/matrix/support, which is there if any of these is set."""

    page: Annotated[str, Meta(description="A web page about this server.")] = ""
    matrix_id: Annotated[str, Meta(description='The administrator\'s Matrix id, as "@name:server".')] = ""
    email: Annotated[str, Meta(description="The administrator's email address.")] = ""


class HomeserverConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Everything that can be set about the homeserver."""

    server_name: Annotated[
        str,
        Meta(description="The part after the colon in user ids and aliases. It can never be changed later."),
    ] = "localhost"
    listeners: Annotated[
        tuple[Listener | str, ...],
        Meta(
            min_length=1,
            description="Where to listen: a table for each address. Addresses that need no more can be a\n"
            'list of strings instead, in [homeserver]: ["127.0.0.1:8008"].',
        ),
    ] = (Listener(),)
    data_directory: Annotated[
        str,
        Meta(
            description="Where the database and the signing key live. It must exist.\n"
            "A relative path is taken from the folder of this file."
        ),
    ] = "data/homeserver"
    public_base_url: Annotated[
        str, Meta(description="What clients reach the server by, for /.well-known/matrix/client. Empty: not published.")
    ] = ""
    trust_forwarded_for: Annotated[
        bool, Meta(description="Take a client's address from X-Forwarded-For (only behind a proxy that sets it).")
    ] = False
    registration: Annotated[
        Literal["off", "open", "shared_secret"],
        Meta(
            description='Who may make an account: "off" nobody, "open" anyone who can reach the server,\n'
            '"shared_secret" whoever knows registration_shared_secret (thingroom homeserver admin create-user).'
        ),
    ] = "off"
    registration_shared_secret: Annotated[
        str, Meta(description="The secret for registration over HTTP. Empty: none.")
    ] = ""
    admin_users: Annotated[
        tuple[str, ...], Meta(description="User ids that count as administrators, besides those made with --admin.")
    ] = ()
    guest_access: Annotated[bool, Meta(description="Whether people may look around without an account.")] = False
    trusted_client_urls: Annotated[
        tuple[str, ...],
        Meta(description="Clients that people are sent back to without being asked, by the start of their URLs."),
    ] = ()
    default_room_version: Annotated[str, Meta(description="The version of rooms made here.")] = "12"
    appservice_files: Annotated[
        tuple[str, ...],
        Meta(description="Registration files (YAML or JSON) of application services, such as the gateway's."),
    ] = ()
    rate_limits: Annotated[bool, Meta(description="Whether clients that ask too much are told to wait.")] = True
    presence: Annotated[
        bool, Meta(description="Whether users who share a room are told who is online, idle or offline.")
    ] = True
    max_body_bytes: Annotated[
        int, Meta(ge=65_536, le=1_073_741_824, description="The largest JSON body that is read, in bytes.")
    ] = 1_048_576
    max_upload_bytes: Annotated[
        int, Meta(ge=65_536, description="The largest file that clients may upload, in bytes.")
    ] = 52_428_800
    access_token_in_query: Annotated[
        bool, Meta(description="Whether old clients may send their token as ?access_token= (a proxy may log it).")
    ] = True
    federation_address: Annotated[
        str,
        Meta(description='What other homeservers reach this one by ("host:port"), for /.well-known/matrix/server.'),
    ] = ""
    metrics_listener: Annotated[
        str,
        Meta(description='Where Prometheus finds /metrics, as "host:port"; it asks for no password. Empty: nowhere.'),
    ] = ""
    metrics_beyond_loopback: Annotated[
        bool, Meta(description="Let metrics_listener be an address that others can reach.")
    ] = False
    log_format: Annotated[
        Literal["text", "json"], Meta(description='How log lines are written: "text" is key=value.')
    ] = "text"
    log_requests: Annotated[bool, Meta(description="Log a line for each request, without its query.")] = False
    outgoing_permitted_ranges: Annotated[
        tuple[str, ...],
        Meta(
            description="Private addresses that the server may connect to where others name them (push gateways,\n"
            'identity servers, homeservers), such as "10.0.0.0/8" or "127.0.0.1". Public addresses always are.\n'
            "Previews show users what they find, and have media.preview_permitted_networks of their own."
        ),
    ] = ()
    outgoing_ca_file: Annotated[
        str,
        Meta(
            description="Authorities (PEM) that outgoing requests trust besides the system's, for private networks:\n"
            "homeservers, push gateways, identity servers, pages to preview, CAS. Certificates are always verified."
        ),
    ] = ""
    identity_servers: Annotated[
        tuple[str, ...],
        Meta(
            description='Identity servers ("host" or "host:port") that are asked when users name them, to invite by\n'
            'email address. "*": any, as the specification has it, for it is the users who trust them.'
        ),
    ] = ("*",)
    advertised_identity_server: Annotated[
        str, Meta(description="The URL of the identity server in /.well-known/matrix/client. Empty: none.")
    ] = ""
    password_cost: PasswordCost = PasswordCost()
    media: MediaConfig = MediaConfig()
    policy_server_key: Annotated[
        str,
        Meta(
            description="The public key (ed25519, unpadded base64) of a policy server that runs under server_name,\n"
            "for /.well-known/matrix/policy_server. Empty: there is none."
        ),
    ] = ""
    federation: FederationConfig = FederationConfig()
    support: Support = Support()
    registration_steps: RegistrationSteps = RegistrationSteps()
    token_lifetimes: TokenLifetimes = TokenLifetimes()
    email: Email = Email()
    cas: Cas = Cas()
    turn: Turn = Turn()


class _File(msgspec.Struct, frozen=True, kw_only=True):
    """thingroom.toml as this program sees it: the other sections belong to other programs."""

    homeserver: HomeserverConfig


def load_config(path: Path) -> HomeserverConfig:
    """Read the [homeserver] section of `path`, with its paths made absolute. Raises ConfigError."""
    config = with_absolute_paths(load(path, _File).homeserver, path.resolve().parent)
    check_config(config)
    return config


def with_absolute_paths(config: HomeserverConfig, base: Path) -> HomeserverConfig:
    """The paths in `config` as they are seen from the folder `base`."""
    return msgspec.structs.replace(
        config,
        data_directory=str(base / config.data_directory),
        appservice_files=tuple(str(base / name) for name in config.appservice_files),
        listeners=tuple(_with_files_from(base, listener) for listener in listeners_of(config)),
        outgoing_ca_file=str(base / config.outgoing_ca_file) if config.outgoing_ca_file else "",
        email=msgspec.structs.replace(
            config.email, ca_file=str(base / config.email.ca_file) if config.email.ca_file else ""
        ),
    )


def check_config(config: HomeserverConfig) -> None:
    """Refuse what the types allow but the server cannot work with. Raises ConfigError."""
    if not _SERVER_NAME.fullmatch(config.server_name):
        raise ConfigError(f'server_name "{config.server_name}" is not a Matrix server name.')
    for listener in listeners_of(config):
        listener_address(listener)
        if bool(listener.tls_certificate) != bool(listener.tls_key):
            raise ConfigError(f"listeners: {listener.address} needs both tls_certificate and tls_key, or neither.")
    check_metrics_listener(config.metrics_listener, config.metrics_beyond_loopback)
    if config.registration == "shared_secret" and not config.registration_shared_secret:
        raise ConfigError('registration is "shared_secret", but registration_shared_secret is empty.')
    if config.policy_server_key and len(decode_base64(config.policy_server_key) or b"") != 32:
        raise ConfigError("policy_server_key is not an ed25519 key in base64.")
    _check_ranges("outgoing_permitted_ranges", config.outgoing_permitted_ranges)
    _check_ranges("preview_permitted_networks", config.media.preview_permitted_networks)
    if config.public_base_url and not config.public_base_url.startswith(("http://", "https://")):
        raise ConfigError("public_base_url must start with http:// or https://.")
    check_federation(config.federation)
    check_accounts(
        config.public_base_url,
        config.email,
        config.cas,
        config.turn,
        config.registration_steps,
        config.trusted_client_urls,
    )


def _check_ranges(key: str, ranges: tuple[str, ...]) -> None:
    for text in ranges:
        try:
            ipaddress.ip_network(text, strict=False)
        except ValueError:
            raise ConfigError(f'{key}: "{text}" is not an address range, such as 192.168.1.0/24.') from None


def listener_address(listener: Listener | str, key: str = "listeners") -> tuple[str, int]:
    """("127.0.0.1", 8008) from "127.0.0.1:8008", or from a listener there. Raises ConfigError."""
    return host_and_port(listener if isinstance(listener, str) else listener.address, key)


def listeners_of(config: HomeserverConfig) -> tuple[Listener, ...]:
    """The listeners, those that are written as strings too."""
    return tuple(Listener(address=each) if isinstance(each, str) else each for each in config.listeners)


def local_url(config: HomeserverConfig) -> str:
    """How programs on this machine reach the server: by the first listener for clients, a plain one if there is one."""
    listeners = [listener for listener in listeners_of(config) if "client" in listener.serves]
    if not listeners:
        raise ConfigError("listeners: none of them serves clients.")
    listener = min(listeners, key=lambda listener: bool(listener.tls_certificate))
    host, port = listener_address(listener)
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - what is matched, not bound
    scheme = "https" if listener.tls_certificate else "http"
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}"


def _with_files_from(base: Path, listener: Listener) -> Listener:
    files = {name: getattr(listener, name) for name in ("tls_certificate", "tls_key")}
    return msgspec.structs.replace(listener, **{name: str(base / file) for name, file in files.items() if file})
