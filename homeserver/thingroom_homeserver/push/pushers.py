"""Where users want to be told of notifications: the pushers that their apps set.

May import storage. Source: Client-Server API, "Push Notifications" (GET /pushers, POST /pushers/set).
Next: delivery.py, which is told of new ones.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson
from yarl import URL

from thingroom_common.database import Database, Transaction
from thingroom_homeserver.accounts.outcomes import Refusal, Refused
from thingroom_homeserver.clock import Clock
from thingroom_homeserver.storage import pushers as storage
from thingroom_homeserver.storage.positions import current_position

MAX_PUSHKEY_BYTES = 512
MAX_APP_ID_LENGTH = 64
MAX_FIELDS_BYTES = 16_384
MAX_PUSHERS = 50
GATEWAY_PATH = "/_matrix/push/v1/notify"


class Pushers:
    """The table of pushers. `on_set(id, user id)` hears of each that is set."""

    def __init__(self, database: Database, clock: Clock, on_set: Callable[[int, str], None]) -> None:
        self._database = database
        self._clock = clock
        self._on_set = on_set

    def list_of(self, user_id: str) -> list[dict[str, Any]]:
        """As GET /pushers tells them."""
        rows = self._database.read(lambda connection: storage.pushers_of(connection, user_id))
        return [{"pushkey": row.pushkey, "app_id": row.app_id, **orjson.loads(row.fields)} for row in rows]

    async def set(
        self, user_id: str, device_id: str, app_id: str, pushkey: str, fields: dict[str, Any], *, append: bool
    ) -> Refused | None:
        """Make or update the user's pusher with that key. Not `append`: other users lose theirs with that key.

        `fields`: kind, app_display_name, device_display_name, lang, data, and profile_tag if there is one.
        """
        text = orjson.dumps(fields).decode()
        if len(text.encode()) > MAX_FIELDS_BYTES:
            return Refused(Refusal.TOO_LARGE, f"A pusher has at most {MAX_FIELDS_BYTES} bytes")
        now_ms = self._clock.now_ms()

        def write(transaction: Transaction) -> Refused | None:
            own = {(row.app_id, row.pushkey) for row in storage.pushers_of(transaction, user_id)}
            if (app_id, pushkey) not in own and len(own) >= MAX_PUSHERS:
                return Refused(Refusal.INVALID, f"You have {MAX_PUSHERS} pushers already")
            if not append:
                storage.delete_others(transaction, user_id, app_id, pushkey)
            pusher_id = storage.set_pusher(
                transaction,
                user_id,
                device_id,
                app_id,
                pushkey,
                fields=text,
                now_ms=now_ms,
                position=current_position(transaction),
            )
            transaction.after_commit(lambda: self._on_set(pusher_id, user_id))
            return None

        return await self._database.write(write)

    async def delete(self, user_id: str, app_id: str, pushkey: str) -> None:
        """Remove the user's pusher with that key; an unknown one is ignored."""
        await self._database.write(lambda transaction: storage.delete_pusher(transaction, user_id, app_id, pushkey))


def why_unfit_key(app_id: str, pushkey: str) -> Refused | None:
    """Why no pusher can have that key, or None."""
    if not 0 < len(pushkey.encode("utf-8", "surrogatepass")) <= MAX_PUSHKEY_BYTES:
        return Refused(Refusal.INVALID, f"A pushkey has 1 to {MAX_PUSHKEY_BYTES} bytes")
    if not 0 < len(app_id) <= MAX_APP_ID_LENGTH:
        return Refused(Refusal.INVALID, f"An app_id has 1 to {MAX_APP_ID_LENGTH} characters")
    return None


def why_unfit_url(text: str) -> Refused | None:
    """Why a push gateway cannot have that URL, or None."""
    refused = Refused(Refusal.INVALID, f"data.url must be an HTTP or HTTPS URL with the path {GATEWAY_PATH}")
    try:
        url = URL(text)
        fits = url.scheme in ("http", "https") and bool(url.host) and url.raw_path == GATEWAY_PATH
        return None if fits and url.user is None and url.password is None and url.port else refused
    except ValueError:
        return refused
