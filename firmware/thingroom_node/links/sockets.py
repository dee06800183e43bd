"""Non-blocking sockets for MicroPython's asyncio, TCP and UDP, with every failure as a LinkError.

`asyncio.open_connection` leaks its socket when the attempt is cut short, and there is no datagram endpoint; hence this.
Used by mqtt.py and coap.py.
"""

import asyncio
import errno
import socket

from thingroom_node.links import LinkError
from thingroom_node.memory import unload

# Looking a name up blocks MicroPython's only thread, sampling included: so each name once, and again after a failure.
_addresses = {}
# How often an address led nowhere.
_failures = [0]


def reason_of(error):
    """Short word for an OSError."""
    return errno.errorcode.get(error.errno, "os_error_{}".format(error.errno)).lower()


async def locate(host, port, protocol):
    """`(host, port)` to connect to. "auto" is whatever gateway mDNS finds, a name in .local is looked up by it.

    `protocol` is "_tcp" or "_udp". Raises LinkError, mdns.py's time-outs over.
    """
    if host != "auto" and not host.endswith(".local"):
        return host, port
    from thingroom_node.links import mdns

    try:
        return await mdns.find(host, port, protocol)
    finally:
        unload("thingroom_node.links.mdns")


def open_socket(host, port, kind):
    """A non-blocking socket, connected or connecting to `host`. Raises LinkError."""
    key = (host, port, kind)
    sock = None
    try:
        if key not in _addresses:
            _addresses[key] = socket.getaddrinfo(host, port, 0, kind)[0]
        family, _, protocol, _, address = _addresses[key]
        sock = socket.socket(family, kind, protocol)
        sock.setblocking(False)
        sock.connect(address)
    except OSError as error:
        if error.errno != errno.EINPROGRESS:
            forget_address(host, port, kind)
            if sock is not None:
                sock.close()
            raise LinkError(reason_of(error))
    return sock


def forget_address(host, port, kind):
    """The address did not lead anywhere: look the name up again next time."""
    _addresses.pop((host, port, kind), None)
    _failures[0] += 1


def turn():
    """Which of several gateways it is to be: another one after each failure."""
    return _failures[0]


async def within(milliseconds, awaitable, reason):
    """Await with a time limit. Raises LinkError(reason) at the limit and for an OSError."""
    try:
        return await asyncio.wait_for_ms(awaitable, milliseconds)
    except asyncio.TimeoutError:
        raise LinkError(reason)
    except OSError as error:
        raise LinkError(reason_of(error))
