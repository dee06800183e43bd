"""Fetches one update: judges its manifest, asks for block after block, and keeps what came on flash.

One block at a time is in memory. What is there after a reset is gone on with; the digest of the whole decides. Nothing
here waits: `ask` gives what to send, `take` takes what came, and runner.py calls `finish` when all of it is there. May
import thingroom_wire, durable, slots, install.
"""

import os
from hashlib import sha256

from thingroom_node import VERSION, durable
from thingroom_node.update import slots
from thingroom_wire import ed25519, keys, manifest
from thingroom_wire.errors import WireError

BLOCK = 512
# How often what has come is made durable.
SYNC_BYTES = 4096
AGAIN_MS = (3_000, 60_000)
# What stays free for readings and for the file system itself.
SPARE_BYTES = 32 * 1024


class Judge:
    """Which manifests to believe; `dropped` is the reason of the last one that was not, or None."""

    def __init__(self, key_id, gateway_key, root, slot):
        self._key_id = key_id
        self._gateway_key = gateway_key
        self._root = root
        self._slot = slot
        self.dropped = None

    def judge(self, data):
        """The Manifest in `data` if it is to be carried out, and a reason when it is to be answered with that.

        `(None, None)`: nothing to do. `(Manifest, "")`: fetch it. `(Manifest, reason)`: refuse it.
        """
        self.dropped = None
        try:
            signed = manifest.parse_manifest(data)
        except WireError as error:
            return self._drop(error.reason)
        found = signed.manifest
        if found.device != self._key_id:
            return self._drop("other_device")
        if signed.key_id != keys.key_id(self._gateway_key):
            return self._drop("other_key")
        state = slots.read(self._root, self._slot)
        if found.counter <= state["counter"]:
            return self._drop("repeated")
        if state["trial"]:
            return self._drop("on_trial")
        if not ed25519.verify(self._gateway_key, signed.signed_bytes, signed.signature):
            return self._drop("bad_signature")
        if found.number < max(state["floor"], release_number(VERSION)):
            return found, "old_version"
        if found.kind != manifest.FILES or found.architecture != slots.architecture():
            return found, "wrong_architecture"
        return found, ""

    def _drop(self, reason):
        self.dropped = reason
        return None, None


def release_number(version):
    """What versions are compared by: 0.12.3 is 12003; what follows the numbers does not count."""
    number = 0
    parts = (version.split("-")[0].split("+")[0] + ".0.0").split(".")
    for part in parts[:3]:
        number = number * 1000 + int(part)
    return number


class Session:
    """One update under way. `downlink_key` and `key_id` are the device's; `data` is the manifest as it came."""

    def __init__(self, root, slot, found, data, key_id, downlink_key):
        """Make room for it, or find what of it is there. Raises OSError."""
        self.manifest = found
        self._root = root
        self._slot = slot
        self._key_id = key_id
        self._key = downlink_key
        self._path = root + "/app/bundle"
        self._file = None
        self._unsynced = 0
        self._asked_at = None
        self._again_ms = AGAIN_MS[0]
        self.outcome = None
        self._begin(data)
        self.offset = durable.size_of(self._path) if durable.exists(self._path) else 0
        if self.offset > found.size:
            self._restart()
        self.was_resumed = self.offset > 0

    def _begin(self, data):
        mark = self._root + "/state/update"
        digest = sha256(data).digest()
        try:
            is_same = durable.read_checked(mark) == digest
        except durable.StorageError:
            is_same = False
        if is_same:
            return
        # First: what there is belongs to no update any more.
        durable.remove(self._path)
        durable.make_directory(self._root + "/app")
        for _ in slots.wipe(self._root + "/app/" + slots.other(self._slot)):
            continue
        durable.make_directory(self._root + "/state")
        durable.write_atomic(mark, digest)

    @property
    def has_room(self):
        """Whether the storage holds what is to come, once in the bundle and once unpacked."""
        if not hasattr(os, "statvfs"):
            return True
        found = os.statvfs(self._root or "/")
        return found[0] * found[3] >= 2 * self.manifest.size - self.offset + SPARE_BYTES

    @property
    def is_complete(self):
        """Whether all of it is there."""
        return self.offset >= self.manifest.size

    def ask(self, now):
        """The question for the next block, when it is time to send it; else None."""
        if self.wait_ms(now) or self.is_complete or self.outcome is not None:
            return None
        if self._asked_at is not None:
            self._again_ms = min(2 * self._again_ms, AGAIN_MS[1])
        self._asked_at = now
        wanted = manifest.Ask(self.manifest.counter, self.offset, min(BLOCK, self.manifest.size - self.offset))
        return manifest.encode_ask(self._key, self._key_id, wanted)

    def wait_ms(self, now):
        """Until when there is nothing to send."""
        if self._asked_at is None or self.is_complete:
            return 0
        return max(0, self._asked_at + self._again_ms - now)

    def retry(self):
        """There is a new link: what was asked over the old one is not answered."""
        self._asked_at = None

    def take(self, data):
        """Take `data` if it is a block; False if it is another message. Raises OSError."""
        try:
            block = manifest.parse_block(data, self._key)
        except WireError as error:
            return error.reason != "bad_content_type" and error.reason != "wrong_tag"
        if block.counter != self.manifest.counter or self.outcome is not None:
            return True
        if block.data is None:
            self.outcome = "cancelled"
        elif block.offset == self.offset and self.offset + len(block.data) <= self.manifest.size:
            self._keep(block.data)
        return True

    def _keep(self, data):
        if self._file is None:
            self._file = open(self._path, "ab")
        self._file.write(data)
        self.offset += len(data)
        self._unsynced += len(data)
        if self._unsynced >= SYNC_BYTES or self.is_complete:
            durable.sync(self._file)
            self._unsynced = 0
        self._asked_at = None
        self._again_ms = AGAIN_MS[0]

    def _restart(self):
        self.close()
        durable.remove(self._path)
        self.offset = 0
        self.was_resumed = False

    def close(self):
        """Close the file."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def fail(self, reason):
        """Give it up for `reason`; durable on return. Raises OSError."""
        self.close()
        state = slots.read(self._root, self._slot)
        state["counter"] = self.manifest.counter
        state["outcome"] = reason
        slots.write(self._root, state)
        durable.remove(self._path)
        durable.remove(self._root + "/state/update")

    def finish(self):
        """All of it is there: check and unpack it. A generator that yields while there is more to do.

        `outcome` is then "" when the other slot is on trial from the next start on, or why not; None: fetch it again.
        Raises OSError.
        """
        from thingroom_node.update import install

        self.close()
        yield from install.check(self._path, self.manifest, self)
        if self.outcome == "bad_digest" and self.was_resumed:
            # What a loss of power left may be anything: once more, from the beginning.
            self.outcome = None
            self._restart()
            return
        if self.outcome:
            return
        yield from install.unpack(self._path, self._root + "/app/" + slots.other(self._slot), self)
        if self.outcome:
            return
        # First: after a cut here it is fetched again; the other way round the bundle would stay for good.
        durable.remove(self._path)
        durable.remove(self._root + "/state/update")
        install.put_on_trial(self._root, self._slot, self.manifest)


def refuse(root, slot, found, reason):
    """Note that the update `found` is not taken; durable on return. Raises OSError."""
    state = slots.read(root, slot)
    state["counter"] = found.counter
    state["outcome"] = reason
    slots.write(root, state)
