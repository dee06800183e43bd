"""The parts of the configuration that concern signing in: who may register, mail, CAS, TURN, how long tokens last.

May import thingroom_common.config_file and msgspec. config.py puts them into the whole.
"""

from __future__ import annotations

from typing import Annotated, Literal
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta

from thingroom_common.config_file import ConfigError


class TermsPolicy(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A document that people agree to before they get an account."""

    id: str
    version: str
    name: str
    url: str
    language: str = "en"


class RegistrationSteps(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What open registration asks for besides a name and a password."""

    token: Annotated[
        bool, Meta(description="Ask for a token of `thingroom homeserver admin registration-token make`.")
    ] = False
    email: Annotated[bool, Meta(description="Ask for an email address, which is verified; needs [email].")] = False
    terms: Annotated[
        tuple[TermsPolicy, ...],
        Meta(description="Documents to agree to: tables with id, version, name, url and language."),
    ] = ()


class TokenLifetimes(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How long tokens are good for, in seconds. 0: for ever."""

    access: Annotated[
        int, Meta(ge=0, description="Access tokens of clients that can refresh them, in seconds. 0: for ever.")
    ] = 300
    access_without_refresh: Annotated[
        int,
        Meta(ge=0, description="Access tokens of clients that cannot refresh them, in seconds. 0: for ever."),
    ] = 0
    refresh: Annotated[int, Meta(ge=0, description="Refresh tokens that are not used, in seconds. 0: for ever.")] = 0
    login: Annotated[int, Meta(ge=5, le=3600, description="Tokens that sign another client in, once, in seconds.")] = (
        120
    )


class Email(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The SMTP server that verification and password reset mails go through."""

    host: Annotated[str, Meta(description="The SMTP server. Empty: no mail is sent, nothing asks for addresses.")] = ""
    port: Annotated[int, Meta(ge=1, le=65_535, description="Its port.")] = 587
    security: Annotated[
        Literal["starttls", "tls", "none"],
        Meta(description='"starttls" and "tls" verify the certificate; "none" is for a server on this machine.'),
    ] = "starttls"
    ca_file: Annotated[str, Meta(description="Certificates to trust instead of the system's. Empty: the system's.")] = (
        ""
    )
    username: Annotated[str, Meta(description="The name to log in with. Empty: without a login.")] = ""
    password: Annotated[str, Meta(description="Its password.")] = ""
    sender: Annotated[str, Meta(description='Who the mails are from, such as "Matrix <matrix@example.org>".')] = ""


class Cas(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Signing in through a Central Authentication Service (CAS protocol 2 or 3)."""

    server_url: Annotated[
        str, Meta(description="The CAS server, to which /login and /serviceValidate are added. Empty: no CAS.")
    ] = ""
    name: Annotated[str, Meta(description="What the button in clients says.")] = "CAS"
    create_accounts: Annotated[bool, Meta(description="Make accounts for people who sign in the first time.")] = True
    adopt_accounts: Annotated[
        bool,
        Meta(
            description="Let whoever CAS calls alice sign in to an account alice that was there before.\n"
            "Only safe where nobody can choose their name at the CAS server."
        ),
    ] = False


class Turn(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The TURN server that calls are relayed by."""

    uris: Annotated[
        tuple[str, ...], Meta(description='Such as "turn:turn.example.org:3478?transport=udp". Empty: none.')
    ] = ()
    shared_secret: Annotated[str, Meta(description="coturn's static-auth-secret.")] = ""
    lifetime: Annotated[int, Meta(ge=60, description="How long credentials are good for, in seconds.")] = 86_400


def check_accounts(
    public_base_url: str, email: Email, cas: Cas, turn: Turn, steps: RegistrationSteps, trusted_urls: tuple[str, ...]
) -> None:
    """Refuse what the types allow but signing in cannot work with. Raises ConfigError."""
    if email.host and not (email.sender and public_base_url):
        raise ConfigError("[email] needs its sender, and public_base_url for the links in mails.")
    if steps.email and not email.host:
        raise ConfigError("registration_steps.email needs [email].")
    if cas.server_url and not public_base_url:
        raise ConfigError("[cas] needs public_base_url, where people come back to.")
    if cas.server_url and not cas.server_url.startswith(("http://", "https://")):
        raise ConfigError("cas.server_url must start with http:// or https://.")
    if turn.uris and not turn.shared_secret:
        raise ConfigError("[turn] needs its shared_secret.")
    for url in trusted_urls:
        if not urlsplit(url).scheme:
            raise ConfigError(f'trusted_client_urls: "{url}" is not a URL.')
    for policy in steps.terms:
        if not policy.url.startswith(("http://", "https://")):
            raise ConfigError(f'terms: "{policy.url}" must start with http:// or https://.')
