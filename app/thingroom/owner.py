"""The owner's account on the embedded homeserver: made on the first start, and a member of the gateway's rooms.

The gateway invites the owner as it would on any homeserver. Here we know the owner's password, so `accept_invites`
answers for them and the rooms are simply there when a client signs in.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import secrets
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp

from thingroom.config import write_private

# Without the letters and digits that people mistake for one another.
_ALPHABET = "abcdefghijkmnpqrstuvwxyz23456789"
_DEVICE = "THINGROOMRUN"


class OwnerError(Exception):
    """The account cannot be used; the message is a sentence with the cure."""


@dataclass(frozen=True)
class Owner:
    """Sign-in details."""

    user_id: str
    password: str


async def ensure_owner(session: aiohttp.ClientSession, base_url: str, name: str, secret: str, file: Path) -> Owner:
    """The owner as remembered in `file`, or a new account. Raises OwnerError, aiohttp.ClientError."""
    if file.exists():
        remembered = json.loads(file.read_text(encoding="utf-8"))
        return Owner(remembered["user_id"], remembered["password"])
    password = "-".join("".join(secrets.choice(_ALPHABET) for _ in range(5)) for _ in range(4))
    url = f"{base_url}/_synapse/admin/v1/register"
    async with session.get(url) as response:
        nonce = (await response.json())["nonce"]
    mac = hmac.new(secret.encode(), "\0".join((nonce, name, password, "admin")).encode(), hashlib.sha1).hexdigest()
    body = {
        "nonce": nonce,
        "username": name,
        "password": password,
        "admin": True,
        "mac": mac,
        "displayname": name.capitalize(),
    }
    async with session.post(url, json=body) as response:
        answer = await response.json()
        if response.status != HTTPStatus.OK:
            raise OwnerError(
                f"The account {name} could not be made: {answer.get('error')} "
                f"If it is yours already, put its user_id and password into {file}."
            )
    owner = Owner(answer["user_id"], password)
    write_private(file, json.dumps({"user_id": owner.user_id, "password": owner.password}))
    return owner


async def accept_invites(session: aiohttp.ClientSession, base_url: str, owner: Owner, inviter: str) -> None:
    """Join, for as long as it runs, every room to which `inviter` invites the owner. Ends only when cancelled."""
    since: str | None = None
    token: str | None = None
    while True:
        try:
            if token is None:
                token = await _login(session, base_url, owner)
            headers = {"Authorization": f"Bearer {token}"}
            answer = await _sync(session, base_url, headers, since)
            if answer is None:
                token = None
                await asyncio.sleep(5)
                continue
            for room_id, room in answer.get("rooms", {}).get("invite", {}).items():
                if _invited_by(room, owner.user_id) == inviter:
                    async with session.post(
                        f"{base_url}/_matrix/client/v3/rooms/{quote(room_id)}/join", headers=headers, json={}
                    ):
                        pass
            since = answer["next_batch"]
        except (aiohttp.ClientError, TimeoutError):
            await asyncio.sleep(1)


def _invited_by(room: dict[str, Any], user_id: str) -> str | None:
    for event in room.get("invite_state", {}).get("events", []):
        if event.get("type") == "m.room.member" and event.get("state_key") == user_id:
            return str(event.get("sender"))
    return None


async def _login(session: aiohttp.ClientSession, base_url: str, owner: Owner) -> str | None:
    body = {
        "type": "m.login.password",
        "identifier": {"type": "m.id.user", "user": owner.user_id},
        "password": owner.password,
        "device_id": _DEVICE,
        "initial_device_display_name": "thingroom run",
    }
    async with session.post(f"{base_url}/_matrix/client/v3/login", json=body) as response:
        return (await response.json())["access_token"] if response.status == HTTPStatus.OK else None


async def _sync(
    session: aiohttp.ClientSession, base_url: str, headers: dict[str, str], since: str | None
) -> dict[str, Any] | None:
    """One long poll that brings invites and little else; None where the token is no longer good."""
    only_invites = {"room": {"timeline": {"limit": 1}, "state": {"types": []}, "ephemeral": {"types": []}}}
    query = {"timeout": "30000", "filter": json.dumps(only_invites), "set_presence": "offline"}
    if since is not None:
        query["since"] = since
    async with session.get(
        f"{base_url}/_matrix/client/v3/sync", params=query, headers=headers, timeout=aiohttp.ClientTimeout(total=60)
    ) as response:
        return await response.json() if response.status == HTTPStatus.OK else None
