"""Whether we may listen at an address: asked before the server starts, so that the answer names the key to change.

aiocoap would share a taken port with its owner (SO_REUSEPORT) and amqtt logs a stack trace; a socket of our own just
tells. May import the standard library and thingroom_common's ConfigError.
"""

from __future__ import annotations

import errno
import os
import socket

from thingroom_common.config_file import ConfigError


def check_listening(what: str, section: str, host: str, port: int, kind: socket.SocketKind, both: str = "") -> None:
    """Raises ConfigError, one sentence with `section`'s key, if `what` cannot listen at that address. Port 0: any.

    `both` is the key where host and port are one key.
    """
    try:
        addresses = socket.getaddrinfo(host or None, port, type=kind, flags=socket.AI_PASSIVE)
        for family, _, protocol, _, address in addresses:
            try:
                probe = socket.socket(family, kind, protocol)
            except OSError as error:
                if error.errno == errno.EAFNOSUPPORT:
                    continue
                raise
            with probe:
                if kind == socket.SOCK_STREAM:
                    # As servers do: what lingers of closed connections is no hindrance.
                    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(address)
    except OSError as error:
        key = both or ("port" if error.errno in (errno.EADDRINUSE, errno.EACCES) else "host")
        reason = error.strerror if isinstance(error, socket.gaierror) else os.strerror(error.errno or 0)
        raise ConfigError(
            f"{what} cannot listen on {host}:{port} ({reason}): change {key} in [{section}], or end what is there."
        ) from None
