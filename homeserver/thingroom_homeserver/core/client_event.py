"""Events as clients see them.

Imports event and room_rules. Source: Client-Server API, "Room event format", "Stripped state"; room version 11 on
where `redacts` is shown. What goes to other servers is `event.pdu` itself. Next: event_visibility.py.
"""

from __future__ import annotations

from thingroom_homeserver.core.canonical_json import JsonObject
from thingroom_homeserver.core.event import Event


def to_client_event(
    event: Event,
    *,
    with_room_id: bool = True,
    age: int | None = None,
    transaction_id: str | None = None,
    prev_content: JsonObject | None = None,
    replaces_state: str | None = None,
    redacted_because: JsonObject | None = None,
    membership: str | None = None,
    more_unsigned: JsonObject | None = None,
) -> JsonObject:
    """The event in the client format. The dict is new; `content` is shared, so it must not be changed.

    `with_room_id`: False inside /sync, where the room is the key. `age`: milliseconds. `transaction_id`: only for the
    device that sent the event. `redacted_because`: the redaction, itself as a client event. `membership`: that of the
    requesting user, at the event. `more_unsigned`: further keys, such as `m.relations`. What another server wrote into
    `unsigned` is not passed on.
    """
    content = event.content
    client_event: JsonObject = {
        "type": event.type,
        "sender": event.sender,
        "event_id": event.event_id,
        "origin_server_ts": event.origin_server_ts,
        "content": content,
    }
    if event.state_key is not None:
        client_event["state_key"] = event.state_key
    if with_room_id:
        client_event["room_id"] = event.room_id
    if event.redacts is not None:
        client_event["redacts"] = event.redacts
        if "redacts" not in content:
            client_event["content"] = content | {"redacts": event.redacts}
    unsigned: JsonObject = {} if more_unsigned is None else dict(more_unsigned)
    for name, value in (
        ("age", age),
        ("transaction_id", transaction_id),
        ("prev_content", prev_content),
        ("replaces_state", replaces_state),
        ("redacted_because", redacted_because),
        ("membership", membership),
    ):
        if value is not None:
            unsigned[name] = value
    if unsigned:
        client_event["unsigned"] = unsigned
    return client_event


def stripped_state(event: Event) -> JsonObject:
    """The four keys shown to somebody who is not in the room yet."""
    return {
        "type": event.type,
        "state_key": event.state_key,
        "sender": event.sender,
        "content": event.content,
    }
