"""Numbering: a sample becomes a numbered envelope whose header, payload and place in the chain are fixed. Pure.

Time, storage and keys are handed in. The signature comes later, when the envelope is sent (`sign`), with the same
result as often as it is made. May import thingroom_wire. See docs/wire_format.md, "A reading". runner.py calls this.
"""

from collections import namedtuple

from thingroom_wire import cose, ed25519, envelope, senml

# An envelope without its signature: the number, the protected header and the payload as bytes.
Numbered = namedtuple("Numbered", ("sequence", "protected", "payload"))


class Numbering:
    """Gives numbers out, each once, and chains the envelopes.

    `counters` has `reserved`, `boot` and `reserve(sequence, predecessor)`; `newest` is `(sequence, protected, payload)`
    of the newest record that the outbox holds, or None; `base_name` is the SenML base name.
    """

    def __init__(self, key_id, base_name, counters, newest):
        self._key_id = key_id
        self._base_name = base_name
        self._counters = counters
        self._predecessor = counters.predecessor
        last = counters.reserved
        if newest is not None:
            sequence, protected, payload = newest
            last = max(last, sequence)
            if self._predecessor is None or sequence > self._predecessor[0]:
                self._predecessor = (sequence, envelope.digest(protected, payload))
        self._next = last + 1

    @property
    def last(self):
        """The greatest number that may have been used."""
        return self._next - 1

    def number(self, records, moment, results=(), boot=None):
        """Make the next envelope from SenML `records` taken at `moment` (a clock.Moment), and `results` of commands.

        `boot` counts the start that `moment` is of; None: this one.

        Call `chain` once it is stored; if storing fails, its number is skipped. Raises OSError when no numbers can be
        reserved.
        """
        sequence = self._next
        if sequence > self._counters.reserved:
            self._counters.reserve(sequence, self._predecessor)
        self._next = sequence + 1
        clock = envelope.Clock(moment.state, self._counters.boot if boot is None else boot, moment.uptime)
        header = envelope.Header(self._key_id, sequence, self._predecessor, clock)
        protected = envelope.protected_header(header, results)
        return Numbered(sequence, protected, senml.encode_pack(self._base_name, moment.unix, records))

    def chain(self, numbered):
        """`numbered` is stored: the next envelope names it as its predecessor."""
        self._predecessor = (numbered.sequence, envelope.digest(numbered.protected, numbered.payload))


def sign(identity, protected, payload):
    """The COSE_Sign1 bytes of an envelope, ready to be sent."""
    signature = ed25519.sign(identity.seed, cose.sig_structure(protected, payload), identity.public)
    return cose.encode_sign1(protected, payload, signature)
