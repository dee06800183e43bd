"""Profiles of local users: display name, avatar, time zone and custom fields.

May import storage, core and thingroom_common. client_api/profile.py calls it and carries changes into the rooms.
Source: client-server API, "Profiles".
"""

from __future__ import annotations

import re
from typing import Any

import orjson

from thingroom_common.database import Database, Transaction
from thingroom_homeserver.accounts.outcomes import Refusal, Refused
from thingroom_homeserver.core.identifiers import server_name_of
from thingroom_homeserver.storage import profiles as storage
from thingroom_homeserver.storage.accounts import find_account
from thingroom_homeserver.storage.connection import Reader

MAX_PROFILE_BYTES = 65_535
MAX_KEY_BYTES = 255
MAX_NAME_BYTES = 1000
IN_MEMBER_EVENTS = ("displayname", "avatar_url")

_KEY = re.compile(r"avatar_url|displayname|m\.tz|[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)+", re.ASCII)


class Profiles:
    """The table of profiles and its rules."""

    def __init__(self, database: Database, server_name: str) -> None:
        self._database = database
        self._server_name = server_name

    def fields_of(self, user_id: str) -> dict[str, Any] | None:
        """The whole profile of an active local account; None for anyone else."""
        return self._database.read(lambda connection: self._fields_of(connection, user_id))

    def member_fields(self, connection: Reader, user_id: str) -> dict[str, str]:
        """What member events say of a local user: displayname and avatar_url, where they are set."""
        if server_name_of(user_id) != self._server_name:
            return {}
        fields = storage.read_fields(connection, user_id)
        values = {name: orjson.loads(fields[name]) for name in IN_MEMBER_EVENTS if name in fields}
        return {name: value for name, value in values.items() if isinstance(value, str)}

    async def set_field(self, user_id: str, key: str, value: Any) -> Refused | bool:
        """Set a field. True if that changed it."""
        refused = why_unfit_key(key) or _why_unfit_value(key, value)
        if refused is not None:
            return refused
        text = orjson.dumps(value).decode()

        def write(transaction: Transaction) -> Refused | bool:
            fields = storage.read_fields(transaction, user_id)
            if fields.get(key) == text:
                return False
            fields[key] = text
            if sum(len(name.encode()) + len(held.encode()) + 4 for name, held in fields.items()) > MAX_PROFILE_BYTES:
                return Refused(Refusal.PROFILE_TOO_LARGE, "The profile would be larger than 64 KiB")
            storage.set_field(transaction, user_id, key, text)
            return True

        return await self._database.write(write)

    async def delete_field(self, user_id: str, key: str) -> Refused | bool:
        """Take a field away. True if it was there."""
        refused = why_unfit_key(key)
        if refused is not None:
            return refused

        def write(transaction: Transaction) -> bool:
            if key not in storage.read_fields(transaction, user_id):
                return False
            storage.delete_field(transaction, user_id, key)
            return True

        return await self._database.write(write)

    @staticmethod
    def _fields_of(connection: Reader, user_id: str) -> dict[str, Any] | None:
        account = find_account(connection, user_id)
        if account is None or account["deactivated"]:
            return None
        return {name: orjson.loads(text) for name, text in storage.read_fields(connection, user_id).items()}


def why_unfit_key(key: str) -> Refused | None:
    """Why there can be no field of that name, or None."""
    if len(key.encode("utf-8", "surrogatepass")) > MAX_KEY_BYTES:
        return Refused(Refusal.KEY_TOO_LARGE, f"A profile key has at most {MAX_KEY_BYTES} bytes")
    if not _KEY.fullmatch(key):
        return Refused(Refusal.INVALID, "Not a profile key")
    return None


def _why_unfit_value(key: str, value: Any) -> Refused | None:
    if key in (*IN_MEMBER_EVENTS, "m.tz"):
        if not isinstance(value, str):
            return Refused(Refusal.BAD_JSON, f"{key} must be a string")
        if len(value.encode("utf-8", "surrogatepass")) > MAX_NAME_BYTES:
            return Refused(Refusal.BAD_JSON, f"{key} has more than {MAX_NAME_BYTES} bytes")
    if key == "avatar_url" and value and not value.startswith("mxc://"):
        return Refused(Refusal.INVALID, "avatar_url must be an mxc:// URI")
    return None
