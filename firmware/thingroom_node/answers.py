"""What comes down: an answer is believed only when its MAC, its key id, its ranges and its nonce are right. Pure.

Everything else is dropped and counted by reason. `Judge` holds the nonces that are outstanding and the counts.
May import thingroom_wire. runner.py acts on what `judge` returns. See docs/wire_format.md, "The answer" and "Pairing".
"""

from collections import namedtuple

from thingroom_wire import cose, downlink
from thingroom_wire.errors import WireError

MAX_ANSWER = 4096
NONCES = 4
NONCE_LIFE_MS = 120_000
MAX_PAUSE_MS = 600_000

# An answer that is ours: settled ranges, refused ranges with their reason, the time and the uptime at which it was
# asked for (both None without a nonce), the gateway's keys (both None outside pairing), commands as bytes, and for how
# long to be quiet (ms, 0 for not at all).
Believed = namedtuple(
    "Believed", ("acknowledged", "refused", "time", "asked_at", "gateway_key", "agreement_key", "commands", "pause")
)


class Judge:
    """Decides what to believe. `dropped` maps a reason to how often it was one."""

    def __init__(self, key_id):
        self._key_id = key_id
        self._nonces = []
        self.dropped = {}

    def asked(self, nonce, uptime):
        """A hello with `nonce` goes out at `uptime` (ms)."""
        self._nonces.append((nonce, uptime))
        if len(self._nonces) > NONCES:
            del self._nonces[0]

    def judge(self, data, key, last_number, uptime):
        """The Believed answer in `data` (bytes) under the MAC key `key`, or None after counting why not.

        `last_number` is the greatest number that we gave out: an answer about greater ones is not about us.
        """
        if len(data) > MAX_ANSWER:
            return self.drop("too_large")
        try:
            if cose.parse_mac0(data).protected.get(cose.KEY_ID) != self._key_id:
                return self.drop("wrong_key_id")
            answer = downlink.parse_answer(data, key)
        except WireError as error:
            return self.drop(error.reason)
        for entry in list(answer.acknowledged) + list(answer.refused):
            if not 1 <= entry[0] <= entry[1] <= last_number:
                return self.drop("impossible_range")
        asked_at = None
        if answer.nonce is not None:
            asked_at = self._take_nonce(answer.nonce, uptime)
            if asked_at is None:
                return self.drop("replayed")
        elif answer.gateway_key is not None:
            return self.drop("no_nonce")
        time = answer.time if asked_at is not None else None
        gateway_keys = answer.gateway_key, answer.agreement_key
        # It carries no nonce and may be an old one: believed, but not for long.
        pause = min(answer.pause or 0, MAX_PAUSE_MS)
        return Believed(answer.acknowledged, answer.refused, time, asked_at, *gateway_keys, answer.commands, pause)

    def drop(self, reason):
        """Count a message that is not believed. Returns None."""
        self.dropped[reason] = self.dropped.get(reason, 0) + 1

    def _take_nonce(self, nonce, uptime):
        for index, (known, asked_at) in enumerate(self._nonces):
            if known == nonce:
                del self._nonces[index]
                return asked_at if uptime - asked_at <= NONCE_LIFE_MS else None
        return None
