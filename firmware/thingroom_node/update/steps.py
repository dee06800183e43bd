"""What runner.py does about an update: begin one, go on with it, restart into it. May import session, slots, board."""

import asyncio

from thingroom_node import board
from thingroom_node.update import session, slots


def begin(data, under_way, key_id, gateway, emit):
    """The gateway announces the update whose manifest is `data`, while `under_way` (a Session or None) is going on.

    Returns `(Session, counter, "")` of what is to be fetched, `(None, counter, reason)` of what was refused, or None.
    """
    root, slot = slots.where()
    judge = session.Judge(key_id, gateway.public, root, slot)
    found, reason = judge.judge(data)
    if found is None:
        if judge.dropped != "repeated":
            emit({"event": "update", "dropped": judge.dropped})
        return None
    if under_way is not None and under_way.manifest == found:
        return None
    try:
        if reason:
            session.refuse(root, slot, found, reason)
            emit({"event": "update", "outcome": reason, "version": found.version})
            return None, found.counter, reason
        if under_way is not None:
            under_way.close()
        new = session.Session(root, slot, found, data, key_id, gateway.downlink_key)
    except OSError as error:
        emit({"event": "update", "dropped": "storage_failed", "detail": str(error)})
        return None
    emit({"event": "update", "version": found.version, "size": found.size, "offset": new.offset})
    if not new.has_room:
        new.outcome = "no_space"
    return new, found.counter, ""


async def step(under_way, link, now, emit):
    """One step of the Session `under_way`. Returns whether there is more to do at once, None when it is over.

    Raises OSError, LinkError, Refused. Does not return when the new version is to be started.
    """
    if under_way.outcome is None and under_way.is_complete:
        for _ in under_way.finish():
            await asyncio.sleep_ms(0)
        if under_way.outcome == "":
            emit({"event": "update", "restart": under_way.manifest.version})
            board.reset()
    if under_way.outcome:
        under_way.fail(under_way.outcome)
        return None
    ask = under_way.ask(now)
    if ask is None:
        return False
    await link.send_ask(ask)
    return True
