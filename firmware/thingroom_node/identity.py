"""Who this node is: its keys, made here on the first boot, and the gateway's, pinned at enrolment.

`identity` holds the seeds and the public keys, `gateway` the pinned keys and the downlink key that follows from them,
so that a start needs no curve arithmetic. Both are CBOR in files written atomically. May import wire and durable.
runner.py pins; node.py signs with `Identity`.
"""

from binascii import hexlify
from collections import namedtuple

from thingroom_node import durable, memory
from thingroom_wire import cbor, hkdf, keys

# What a node needs when its key is made and when it is paired, and then no more.
RARE = ("thingroom_node.enrolment", "thingroom_wire.x25519", "thingroom_wire.ed25519_points")

# The device's secrets and names: `seed` and `agreement_private` never leave the board; `kid` is `key_id` in hex.
Identity = namedtuple("Identity", ("seed", "public", "agreement_private", "agreement_public", "key_id", "kid"))

# The pinned gateway: its 32-byte public keys, the downlink key, and the mark of the pairing code it was pinned with.
Gateway = namedtuple("Gateway", ("public", "agreement_public", "downlink_key", "code_mark"))


def identity_path(directory):
    """Where the device's keys are."""
    return directory + "/identity"


def open_identity(directory):
    """The node's Identity; made from the system's randomness when there is none. Raises StorageError, OSError."""
    path = identity_path(directory)
    stored = durable.read_checked(path)
    if stored is None:
        from thingroom_node.enrolment import make_identity

        stored = make_identity()
        durable.write_atomic(path, stored)
        memory.unload(*RARE)
    made = cbor.decode(stored)
    key_id = keys.key_id(made[2])
    return Identity(made[1], made[2], made[3], made[4], key_id, hexlify(key_id).decode())


def load_gateway(directory):
    """The pinned Gateway, or None before enrolment. Raises StorageError."""
    stored = durable.read_checked(directory + "/gateway")
    if stored is None:
        return None
    pinned = cbor.decode(stored)
    return Gateway(pinned[1], pinned[2], pinned[3], pinned[4])


def pin_gateway(directory, identity, public, agreement_public, code_mark):
    """Pin the gateway's Ed25519 and X25519 public keys (32 bytes each); durable on return. Returns the Gateway.

    Raises WireError when the agreement key is no usable point, OSError.
    """
    from thingroom_node.enrolment import agree

    downlink_key = agree(identity, public, agreement_public)
    memory.unload(*RARE)
    stored = cbor.encode({1: public, 2: agreement_public, 3: downlink_key, 4: code_mark})
    durable.write_atomic(directory + "/gateway", stored)
    return Gateway(public, agreement_public, downlink_key, code_mark)


def code_mark(pairing_code):
    """A mark that tells one 16-byte pairing code from another without giving it away; b"" for no code."""
    return hkdf.hkdf_sha256(pairing_code, None, b"thingroom pairing code mark", 8) if pairing_code else b""
