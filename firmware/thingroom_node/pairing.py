"""Being paired: asking until the gateway proves that it knows the code, and pinning its keys. Loaded only meanwhile.

May import thingroom_wire, identity and links. runner.py keeps the link that this asks over. See docs/wire_format.md,
"Pairing".
"""

from thingroom_node import identity
from thingroom_node.linker import random_below
from thingroom_node.links import Refused
from thingroom_node.links.backoff import Backoff
from thingroom_wire import hello, keys
from thingroom_wire.errors import WireError

PAUSE_MS = (3_000, 60_000)


class Pairing:
    """`keys` are the PairingKeys of the settings' code."""

    def __init__(self, settings, own, emit):
        self.keys = keys.pairing_keys(settings.pairing_code)
        self._settings = settings
        self._own = own
        self._emit = emit

    async def ask(self, link, make_hello, is_wanted, wait):
        """Ask again and again, less and less often, for as long as `is_wanted()`.

        `make_hello(pairing)` gives a Hello, `wait(milliseconds)` waits, shorter when the gateway answers.
        """
        again = Backoff(random_below, PAUSE_MS[0], PAUSE_MS[1])
        while is_wanted():
            signed = hello.encode_hello(self._own.seed, make_hello(True))
            try:
                await link.send_hello(hello.encode_pairing_hello(self.keys.device, self._own.key_id, signed))
            except Refused as error:
                self._emit({"event": "pairing_refused", "reason": error.reason})
            if is_wanted():
                await wait(again.next_ms())

    def pin(self, believed, judge):
        """Pin the gateway of a Believed answer. Returns the Gateway, or None after `judge` has counted why not."""
        if believed.gateway_key is None or believed.agreement_key is None:
            return judge.drop("no_gateway_keys")
        mark = identity.code_mark(self._settings.pairing_code)
        directory = self._settings.directory
        try:
            return identity.pin_gateway(directory, self._own, believed.gateway_key, believed.agreement_key, mark)
        except WireError as error:
            return judge.drop(error.reason)
