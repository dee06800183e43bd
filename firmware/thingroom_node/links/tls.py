"""TLS for a link's socket: the other side's certificate has to be vouched for by the owner's, and be for its name.

A board trusts nobody by itself: `ca` is all. Certificates go to Mbed TLS one by one in DER, which every port can read.
Loaded only where the settings say `tls`. A board's Mbed TLS that looks at dates needs the chip's clock set.
"""

import asyncio
import select
import ssl
from binascii import a2b_base64

from thingroom_node.links import LinkError

MAX_CA = 16_384
POLL_MS = 20
_BEGIN, _END = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"


def certificates(ca):
    """The certificates in `ca`, a path or PEM itself, in DER. Raises LinkError."""
    try:
        if _BEGIN not in ca:
            with open(ca) as file:
                ca = file.read(MAX_CA)
        found = [a2b_base64(part.partition(_END)[0].strip()) for part in ca.split(_BEGIN)[1:]]
    except (OSError, ValueError):
        raise LinkError("ca_unreadable")
    if not found:
        raise LinkError("ca_unreadable")
    return found


async def wrap(sock, name, ca):
    """`sock` (non-blocking, connecting) under TLS; reads and writes do the handshake. Raises LinkError, OSError.

    Has no time-out of its own: the caller's ends it.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.verify_mode = ssl.CERT_REQUIRED
    for der in certificates(ca):
        try:
            context.load_verify_locations(cadata=der)
        except ValueError:
            raise LinkError("ca_unreadable")
    poll = select.poll()
    poll.register(sock, select.POLLOUT)
    while not poll.poll(0):
        await asyncio.sleep_ms(POLL_MS)
    return context.wrap_socket(sock, server_hostname=name, do_handshake_on_connect=False)
