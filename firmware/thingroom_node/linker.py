"""Makes the links that runner.py asks for, of the kind that the settings name; the other kinds are not loaded.

May import links. composition.py makes a Linker before the rest takes memory.
"""

import os


def load_link(kind):
    """The class of the link called `kind`: mqtt, coap or serial."""
    if kind == "coap":
        from thingroom_node.links.coap import CoapLink

        return CoapLink
    if kind == "serial":
        from thingroom_node.links.serial import SerialLink

        return SerialLink
    from thingroom_node.links.mqtt import MqttLink

    return MqttLink


class Linker:
    """Calling it gives a link. `open_port` is a serial link's way to its line, `kid` the device's key id in hex."""

    def __init__(self, settings, kid, uptime, open_port):
        self._class = load_link(settings.link)
        self._kind = settings.link
        self._host = settings.host
        self._port = settings.port
        self._kid = kid
        self._uptime = uptime
        self._open_port = open_port
        self._mqtt = settings.mqtt_version, settings.ca if settings.tls else None

    def __call__(self, username, password, on_answer, pairing):
        """A link that is not connected yet."""
        if self._kind == "coap":
            return self._class(self._host, self._port, on_answer, random_below)
        if self._kind == "serial":
            return self._class(self._open_port, on_answer, self._uptime)
        return self._class(
            self._host, self._port, self._kid, username, password, on_answer, self._uptime, pairing, *self._mqtt
        )


def random_below(limit):
    """A random integer from 0 to limit-1 out of the system's randomness; good enough for jitter."""
    return int.from_bytes(os.urandom(4), "big") % limit
