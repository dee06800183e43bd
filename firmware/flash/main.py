"""Chooses which of the two slots runs, /app/a or /app/b, and goes back to the one before when a new one does not live.

No update touches this file. /state/slot says what there is, as JSON and its CRC-32 (thingroom_node/update/slots.py has
what each word means). A slot on trial is started TRIES times at most; the version in it confirms itself when a reading
that it took has reached the gateway. Written so that losing power at any instant is harmless.
"""

import json
import os
import sys
from binascii import crc32

TRIES = 4
# A version on trial that still is after so long has hung; it gives up by itself long before.
GUARD_MS = 1_800_000

ROOT = globals().get("__file__", "").rpartition("/")[0]
STATE = ROOT + "/state/slot"
FIRST = {"active": "a", "trial": "", "tries": 0, "reason": "", "outcome": ""}


def exists(path):
    try:
        os.stat(path)
    except OSError:
        return False
    return True


def read():
    for path in (STATE, STATE + ".new"):
        try:
            with open(path, "rb") as file:
                data = file.read(1024)
            if crc32(data[:-4]).to_bytes(4, "big") == data[-4:]:
                return json.loads(data[:-4])
        except (OSError, ValueError):
            continue
    first = FIRST.copy()
    if not exists(ROOT + "/app/a"):
        first["active"] = "b"
    return first


def write(state):
    data = json.dumps(state).encode()
    with open(STATE + ".new", "wb") as file:
        file.write(data)
        file.write(crc32(data).to_bytes(4, "big"))
        file.flush()
        if hasattr(os, "fsync"):
            os.fsync(file.fileno())
    os.rename(STATE + ".new", STATE)


def choose():
    """The slot to start. One on trial is counted first: if that cannot be written, it is not started."""
    state = read()
    slot = state["trial"]
    if not slot:
        return state["active"]
    try:
        if state["tries"] >= TRIES or not exists(ROOT + "/app/" + slot):
            state["outcome"] = state["reason"] or "did_not_start"
            state["trial"] = state["reason"] = ""
            write(state)
            return state["active"]
        state["tries"] += 1
        write(state)
        return slot
    except OSError as error:
        sys.print_exception(error, sys.stderr)
        return state["active"]


def guard():
    """Reset when the version on trial is still on trial long after."""
    try:
        import machine

        def late(_):
            if read()["trial"]:
                machine.reset()

        machine.Timer(-1).init(mode=machine.Timer.ONE_SHOT, period=GUARD_MS, callback=late)
    except Exception as error:
        print("no guard:", error)


def start():
    slot = choose()
    sys.path.insert(0, ROOT + "/app/" + slot)
    if sys.platform in ("linux", "darwin"):
        sys.argv.append(ROOT + "/node.json")
        from thingroom_node import unix_main  # noqa: F401 - it does not return
    if read()["trial"]:
        guard()
    from thingroom_node import board_main

    board_main.main()


try:
    start()
except Exception as error:
    sys.print_exception(error, sys.stderr)
    if sys.platform in ("linux", "darwin"):
        sys.exit(1)
    import time

    import machine

    time.sleep_ms(5000)
    machine.reset()
