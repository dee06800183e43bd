"""The section [homeserver.federation] of thingroom.toml: how other homeservers are reached and how long they are given.

May import thingroom_common.config_file. config.py holds it; federation/ reads it.
"""

from __future__ import annotations

import re
from typing import Annotated

import msgspec
from msgspec import Meta

from thingroom_common.config_file import ConfigError

_SERVER_NAME = re.compile(r"([0-9A-Za-z.-]{1,230}|\[[0-9A-Fa-f:.]{2,45}\])(:[0-9]{1,5})?")


class FederationConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How this server deals with others. It does so if one of the listeners serves federation."""

    request_timeout_seconds: Annotated[
        float, Meta(gt=0, le=600, description="How long another server may take for an ordinary answer.")
    ] = 60.0
    backoff_initial_seconds: Annotated[
        float, Meta(gt=0, le=3600, description="How long a server that did not answer is left alone at first.")
    ] = 10.0
    backoff_max_seconds: Annotated[
        float,
        Meta(gt=0, le=604_800, description="How long at most. It doubles with each failure; hearing from it ends it."),
    ] = 3600.0
    trusted_key_servers: Annotated[
        tuple[str, ...],
        Meta(description="Servers that are asked for the signing keys of those that cannot be asked themselves."),
    ] = ()


def check_federation(config: FederationConfig) -> None:
    """Refuse what the types allow but the server cannot work with. Raises ConfigError."""
    for name in config.trusted_key_servers:
        if not _SERVER_NAME.fullmatch(name):
            raise ConfigError(f'federation.trusted_key_servers: "{name}" is not a Matrix server name.')
    if config.backoff_max_seconds < config.backoff_initial_seconds:
        raise ConfigError("federation.backoff_max_seconds must not be less than backoff_initial_seconds.")
