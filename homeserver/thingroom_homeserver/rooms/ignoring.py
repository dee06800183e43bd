"""Whom a user ignores, and what of them the user is therefore not told: messages and invites, never other state.

May import core and storage. Source: Client-Server API, "Ignoring Users". Used by every read of a timeline.
"""

from __future__ import annotations

import orjson

from thingroom_homeserver.core.event import Event
from thingroom_homeserver.storage.account_data import read_data
from thingroom_homeserver.storage.connection import Reader

IGNORED_USER_LIST = "m.ignored_user_list"


def ignored_users(connection: Reader, user_id: str) -> frozenset[str]:
    """Whom the user ignores."""
    text = read_data(connection, user_id, "", IGNORED_USER_LIST)
    ignored = None if text is None else orjson.loads(text).get("ignored_users")
    return frozenset(ignored) - {user_id} if isinstance(ignored, dict) else frozenset()


def is_unheard(event: Event, ignored: frozenset[str]) -> bool:
    """Whether the event is kept from who ignores these users."""
    return event.sender in ignored and not event.is_state
