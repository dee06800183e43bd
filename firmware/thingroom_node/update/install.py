"""Turns a bundle that has come whole into a slot: its digest, its files one by one, and the slot goes on trial.

The steps are generators that yield now and then, so that readings go on meanwhile. Each may be cut at any byte and is
done again from its beginning; the slot that runs is not touched. May import durable, slots.
"""

from hashlib import sha256

from thingroom_node import durable
from thingroom_node.update import slots

PIECE = 512


def check(path, manifest, session):
    """Set `session.outcome` to "" or "bad_digest"."""
    digest = sha256()
    with open(path, "rb") as file:
        while piece := file.read(PIECE):
            digest.update(piece)
            yield
    session.outcome = "" if digest.digest() == manifest.digest else "bad_digest"


def unpack(path, folder, session):
    """Write the bundle's files into the empty `folder`. Sets `session.outcome` when it is no bundle."""
    yield from slots.wipe(folder)
    with open(path, "rb") as bundle:
        while length := bundle.read(1):
            name = bundle.read(length[0]).decode()
            size = int.from_bytes(bundle.read(4), "big")
            if not is_safe(name):
                session.outcome = "bad_bundle"
                return
            target = folder + "/" + name
            durable.make_directory(target[: target.rfind("/")])
            with open(target, "wb") as file:
                while size:
                    piece = bundle.read(min(size, PIECE))
                    if not piece:
                        session.outcome = "bad_bundle"
                        return
                    file.write(piece)
                    size -= len(piece)
                durable.sync(file)
            yield
    session.outcome = ""


def is_safe(name):
    """Whether `name` stays within its folder."""
    return bool(name) and name[0] != "/" and ".." not in name.split("/")


def put_on_trial(root, slot, manifest):
    """From the next start on the other slot is tried; durable on return. Raises OSError."""
    state = slots.read(root, slot)
    state["active"] = slot
    state["trial"] = slots.other(slot)
    state["tries"] = 0
    state["reason"] = state["outcome"] = ""
    state["counter"] = manifest.counter
    state["number"] = manifest.number
    state["patience"] = manifest.patience
    slots.write(root, state)
