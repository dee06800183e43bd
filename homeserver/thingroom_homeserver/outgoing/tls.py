"""Whom outgoing requests trust: the system's certificate authorities, and those of a file.

May import the standard library. server.py makes one context and hands it to every session.
"""

from __future__ import annotations

import ssl

from thingroom_common.config_file import ConfigError


def outgoing_tls(ca_file: str) -> ssl.SSLContext | None:
    """A context that trusts the authorities of `ca_file` (PEM) too; None where there is no file. Raises ConfigError."""
    if not ca_file:
        return None
    context = ssl.create_default_context()
    try:
        context.load_verify_locations(ca_file)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f'outgoing_ca_file "{ca_file}" cannot be used: {error}.') from None
    return context
