"""A sliding sync as a client sees it: an answer at once if there is news, else when there is, or after the timeout.

May import sliding. Next: answer.py, connections.py, ../notifier.py.
"""

from __future__ import annotations

import time
from dataclasses import replace

from thingroom_homeserver.rooms.present import JsonObject
from thingroom_homeserver.sliding.answer import Asker, build_answer, settle
from thingroom_homeserver.sliding.connections import Connection, Pos, parse_pos
from thingroom_homeserver.sliding.extensions import to_device_position
from thingroom_homeserver.sliding.ports import SlidingSources
from thingroom_homeserver.sliding.request import SlidingWish


async def sliding_sync(
    sources: SlidingSources, asker: Asker, pos_text: str | None, wish: SlidingWish, wait_seconds: float
) -> JsonObject | None:
    """The answer; None: the connection is not known (M_UNKNOWN_POS). The first answer of a connection never waits."""
    deadline = time.monotonic() + wait_seconds
    notifier, typing = sources.rooms.notifier, sources.typing
    device = asker.device_id or ""
    pos = None if pos_text is None else parse_pos(pos_text)
    connection = Connection(asker.user_id, device, wish.conn_id)
    if pos_text is not None:
        found = None
        if pos is not None and pos.position <= notifier.position:
            found = sources.connections.find(asker.user_id, device, wish.conn_id, pos)
        if found is None:
            return None
        connection = found
    turn = connection.turn
    if pos is not None:
        await sources.connections.touch(connection)
        await _drop_received(sources, asker, wish)
    while True:
        answer = await build_answer(sources, asker, connection, pos, wish)
        if pos is not None and connection.turn != turn:
            # The client gave this request up and sent another, whose answer counts.
            return {"pos": pos_text, "lists": {}, "rooms": {}, "extensions": {}}
        remaining = deadline - time.monotonic()
        if answer.has_news or pos is None or remaining <= 0 or notifier.closed:
            state = await sources.connections.save(connection, answer.told, answer.extensions)
            if state is None:
                return None
            answered = Pos(answer.upto, answer.ephemeral, connection.number, state)
            settle(connection, answered, wish, answer)
            return {"pos": str(answered), **answer.body}
        if not answer.told and answer.extensions == connection.extensions:
            pos = replace(pos, position=answer.upto, ephemeral=answer.ephemeral)
            settle(connection, pos, wish, answer)
        # Building may have let others run: wait only if nothing happened since it looked.
        if notifier.position == answer.upto and typing.position == answer.ephemeral:
            await notifier.wait(asker.user_id, remaining)


async def _drop_received(sources: SlidingSources, asker: Asker, wish: SlidingWish) -> None:
    """The client says up to where it has its to-device messages: those need not be kept."""
    if sources.to_device is None or asker.device_id is None or "to_device" not in wish.extensions.enabled:
        return
    position = min(to_device_position(wish.extensions), sources.rooms.notifier.position)
    if position:
        await sources.to_device.acknowledge(asker.user_id, asker.device_id, position)
