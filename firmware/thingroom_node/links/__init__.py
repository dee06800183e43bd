"""Ways to a gateway: mqtt.py, coap.py and serial.py. All are the same to runner.py.

A link has `connect()`, `serve()` (runs until the link is lost), `send_envelope(data)`, `send_hello(data)`,
`send_ask(data)`, `leave()`, `close()`, and calls `on_answer(bytes)` for everything that comes down. Whatever goes wrong
is a LinkError. The packet formats are pure and apart: mqtt_packets.py, coap_message.py, and thingroom_wire/frames.py.
"""


class LinkError(Exception):
    """The link is lost or could not be made. `reason` is a short snake_case word for the log, `pause_ms` how long the
    other side asked to be left alone."""

    def __init__(self, reason, pause_ms=0):
        super().__init__(reason)
        self.reason = reason
        self.pause_ms = pause_ms


class Refused(Exception):
    """The gateway's endpoint answered one message with an error; `reason` is its code. Unsigned, so only a hint."""

    def __init__(self, reason):
        super().__init__(reason)
        self.reason = reason
