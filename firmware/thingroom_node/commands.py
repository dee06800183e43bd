"""Which commands to carry out: ours, the pinned gateway's, fresh, and each at most once.

`Judge` decides (pure); `Journal` keeps the greatest counter and the results that are in no envelope yet, durably. A
counter is stored with the result "interrupted" before anything is done, so a reset at any instant means at worst that
the result says so. May import thingroom_wire and durable. See docs/wire_format.md, "Commands"; commander.py acts.
"""

from thingroom_node import durable, memory
from thingroom_wire import cbor, envelope
from thingroom_wire.errors import WireError
from thingroom_wire.limits import MAX_RESULTS

DONE = "done"
INTERRUPTED = "interrupted"
NONCES = 4


class Judge:
    """`dropped` maps a reason to how often it was one. `key_id` is the device's."""

    def __init__(self, key_id):
        self._key_id = key_id
        self._nonces = []
        self.dropped = {}

    def asked(self, nonce, uptime):
        """A hello with `nonce` goes out at `uptime` (ms): a command that names it is fresh, clock or not."""
        self._nonces.append((nonce, uptime))
        if len(self._nonces) > NONCES:
            del self._nonces[0]

    def judge(self, data, gateway_key, highest, moment):
        """`(Command, None)` for one to be carried out, else `(None, reason)` after counting it.

        `gateway_key` is the pinned Ed25519 key, `highest` the greatest counter taken, `moment` a clock.Moment.
        """
        # Commands are rare, and checking one takes the memory of many readings.
        from thingroom_wire import command, ed25519, keys

        try:
            return self._judge(command.parse_command(data), gateway_key, keys, ed25519, highest, moment)
        except WireError as error:
            return self._drop(error.reason)
        finally:
            memory.unload("thingroom_wire.command", "thingroom_wire.ed25519_points")

    def _judge(self, signed, gateway_key, keys, ed25519, highest, moment):
        found = signed.command
        if found.device != self._key_id:
            return self._drop("other_device")
        if signed.key_id != keys.key_id(gateway_key):
            return self._drop("other_key")
        if found.counter <= highest:
            return self._drop("repeated")
        if not ed25519.verify(gateway_key, signed.signed_bytes, signed.signature):
            return self._drop("bad_signature")
        reason = self._staleness(found, moment)
        return (found, None) if reason is None else self._drop(reason)

    def _staleness(self, found, moment):
        for nonce, asked_at in self._nonces:
            if nonce == found.nonce:
                return None if moment.uptime - asked_at <= found.within else "expired"
        if moment.unix is None:
            return "clock_unset"
        return None if moment.unix <= found.expires else "expired"

    def _drop(self, reason):
        self.dropped[reason] = self.dropped.get(reason, 0) + 1
        return None, reason


class Journal:
    """`highest` is the greatest counter taken; `results` a list of (counter, outcome) not in any envelope yet."""

    def __init__(self, path, highest, results):
        self._path = path
        self.highest = highest
        self.results = results

    @property
    def is_full(self):
        """Whether results have to get into an envelope before another command can be taken."""
        return len(self.results) >= MAX_RESULTS

    def begin(self, counter):
        """Take the command with `counter`; durable on return, as interrupted. Raises OSError: then it is not taken."""
        results = self.results + [(counter, INTERRUPTED)]
        self._save(counter, results)
        self.highest = counter
        self.results = results

    def end(self, outcome):
        """What came of the command that was begun last."""
        self.results[-1] = (self.results[-1][0], outcome)

    def reported(self, results):
        """`results` are in an envelope that is stored. Raises OSError: then the next start finds them there."""
        self.results = [result for result in self.results if result not in results]
        self._save(self.highest, self.results)

    def _save(self, highest, results):
        durable.write_atomic(self._path, cbor.encode({1: highest, 2: [list(result) for result in results]}))


def open_journal(path, newest):
    """The Journal at `path`, made when it is missing. Raises StorageError when it is damaged.

    `newest` is `(sequence, protected, payload)` of the newest envelope in the outbox, or None: results that it carries
    are reported, whether or not the journal was told before a reset.
    """
    stored = durable.read_checked(path)
    if stored is None:
        return Journal(path, 0, [])
    try:
        kept = cbor.decode(stored)
        results = envelope.parse_results(kept[2])
        told = cbor.decode(newest[1]).get(envelope.RESULTS, []) if newest is not None else []
        told = [counter for counter, _ in envelope.parse_results(told)]
    except (WireError, KeyError, TypeError, AttributeError):
        raise durable.StorageError(path + " was written by another version.")
    return Journal(path, kept[1], [result for result in results if result[0] not in told])
