"""What happens once in a node's life: its keys are made, and a key is agreed upon with the gateway.

May import thingroom_wire. identity.py loads this when it is needed and keeps what comes out.
"""

import os

from thingroom_wire import cbor, ed25519, keys, x25519


def make_identity():
    """New keys from the system's randomness, as CBOR."""
    seed = os.urandom(32)
    private = os.urandom(32)
    return cbor.encode({1: seed, 2: ed25519.public_key(seed), 3: private, 4: x25519.public_key(private)})


def agree(identity, public, agreement_public):
    """The downlink key with the gateway whose Ed25519 and X25519 keys are given. Raises WireError."""
    shared = x25519.shared_secret(identity.agreement_private, agreement_public)
    return keys.downlink_key(shared, identity.key_id, keys.key_id(public))
